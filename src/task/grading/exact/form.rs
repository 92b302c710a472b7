//! The form in which two LaTeX texts are compared that are no numbers: not algebra, so `x+1` and `1+x` differ.
//!
//! White space is gone but between digits, words are what they say, a product with a number has no sign (`2 \cdot x` is
//! `2x`), and a slash between plain factors is a fraction (`2\pi/3` is `\frac{2\pi}{3}`).

use crate::task::grading::clean::tree::{Node, parse, print, tidy};

/// Commands that are a factor, as a letter is.
const FACTORS: [&str; 32] = [
    r"\alpha",
    r"\beta",
    r"\gamma",
    r"\delta",
    r"\epsilon",
    r"\varepsilon",
    r"\zeta",
    r"\eta",
    r"\theta",
    r"\iota",
    r"\kappa",
    r"\lambda",
    r"\mu",
    r"\nu",
    r"\xi",
    r"\pi",
    r"\rho",
    r"\sigma",
    r"\tau",
    r"\upsilon",
    r"\phi",
    r"\varphi",
    r"\chi",
    r"\psi",
    r"\omega",
    r"\Gamma",
    r"\Delta",
    r"\Sigma",
    r"\Phi",
    r"\Omega",
    r"\infty",
    r"\ell",
];

/// Commands that a product ends at, as it does at a plus.
const BETWEEN: [&str; 12] =
    [r"\pm", r"\mp", r"\cup", r"\cap", r"\in", r"\le", r"\ge", r"\ne", r"\to", r"\{", r"\}", r"\\"];

/// The form of a clean text; a text that cannot be read is its own.
pub(super) fn form(text: &str) -> String {
    match parse(text) {
        Some(nodes) => print(&formed(tidy(nodes))),
        None => text.to_owned(),
    }
}

fn formed(nodes: Vec<Node>) -> Vec<Node> {
    let inner: Vec<Node> = nodes
        .into_iter()
        .flat_map(|node| match node {
            Node::Text(words) => {
                words.chars().map(|c| if c.is_whitespace() { Node::Space } else { Node::Char(c) }).collect()
            }
            Node::Group(inside) => vec![Node::Group(formed(inside))],
            Node::Frac(above, below) => vec![Node::Frac(formed(above), formed(below))],
            Node::Root(degree, inside) => vec![Node::Root(degree.map(formed), formed(inside))],
            Node::Script(script, inside) => vec![Node::Script(script, formed(inside))],
            node => vec![node],
        })
        .collect();
    let mut nodes = without_slashes(without_product_signs(without_spaces(inner)));
    // `\frac{-a}{b}` is `-\frac{a}{b}`
    if let Some(Node::Frac(above, _)) = nodes.first_mut()
        && above.first() == Some(&Node::Char('-'))
        && !above[1..].iter().any(ends_product)
    {
        above.remove(0);
        nodes.insert(0, Node::Char('-'));
    }
    nodes
}

/// Spaces stay between digits: `1 2` is not 12.
fn without_spaces(nodes: Vec<Node>) -> Vec<Node> {
    let mut out: Vec<Node> = Vec::with_capacity(nodes.len());
    for node in nodes {
        if out.last() == Some(&Node::Space) {
            let before = out.len().checked_sub(2).and_then(|at| out.get(at));
            if node == Node::Space || !(node.is_digit() && before.is_some_and(Node::is_digit)) {
                out.pop();
            }
        }
        out.push(node);
    }
    out.pop_if(|last| *last == Node::Space);
    out
}

/// Behind a digit every sign of a product is `·`, and before what is no number there is none. Elsewhere a cross and a
/// point may be two products.
fn without_product_signs(nodes: Vec<Node>) -> Vec<Node> {
    let mut out: Vec<Node> = Vec::with_capacity(nodes.len());
    let mut rest = nodes.into_iter().peekable();
    while let Some(node) = rest.next() {
        if matches!(node, Node::Char('×' | '·' | '*')) && out.last().is_some_and(Node::is_digit) {
            match rest.peek() {
                Some(next) if is_factor(next) && !next.is_digit() && !matches!(next, Node::Char('.')) => {}
                _ => out.push(Node::Char('·')),
            }
        } else {
            out.push(node);
        }
    }
    out
}

fn without_slashes(mut nodes: Vec<Node>) -> Vec<Node> {
    let mut from = 0;
    while let Some(at) = nodes[from..].iter().position(|node| *node == Node::Char('/')).map(|at| from + at) {
        match (product_before(&nodes, at), factor_behind(&nodes, at + 1)) {
            (Some(start), Some(end)) => {
                let below = unwrapped(nodes[at + 1..end].to_vec());
                let above = unwrapped(nodes[start..at].to_vec());
                nodes.splice(start..end, [Node::Frac(above, below)]);
                from = start + 1;
            }
            _ => from = at + 1,
        }
    }
    nodes
}

/// Where the product begins that ends at `end`; `None` if there is none, or something else than plain factors in it.
fn product_before(nodes: &[Node], end: usize) -> Option<usize> {
    let mut start = end;
    while let Some(at) = start.checked_sub(1) {
        match &nodes[at] {
            Node::Char(')') => start = opening(nodes, at)?,
            node if is_factor(node) => start = at,
            node if ends_product(node) => break,
            // the argument of what stands before, as in `\begin{pmatrix}`
            Node::Group(_) => break,
            _ => return None,
        }
    }
    (start < end).then_some(start)
}

/// Where the one factor ends that begins at `start`; `None` if there is none or if another follows: what is below in
/// `1/2x` is not sure.
fn factor_behind(nodes: &[Node], start: usize) -> Option<usize> {
    let digits = nodes[start..].iter().take_while(|node| node.is_digit() || **node == Node::Char('.')).count();
    let mut end = match nodes.get(start)? {
        _ if digits > 0 => start + digits,
        Node::Char('(') => closing(nodes, start)? + 1,
        node if is_factor(node) && !matches!(node, Node::Script(..)) => start + 1,
        _ => return None,
    };
    end += nodes[end..].iter().take_while(|node| matches!(node, Node::Script(..))).count();
    let next = nodes.get(end);
    next.is_none_or(|next| ends_product(next) || matches!(next, Node::Char('/' | ')'))).then_some(end)
}

/// A factor, or part of one, that is one node.
fn is_factor(node: &Node) -> bool {
    match node {
        Node::Char(c) => c.is_alphanumeric() || *c == '.',
        Node::Command(name) => FACTORS.contains(&name.as_str()),
        Node::Frac(..) | Node::Root(..) | Node::Script(..) => true,
        Node::Space | Node::Group(_) | Node::Text(_) => false,
    }
}

fn ends_product(node: &Node) -> bool {
    match node {
        Node::Char(c) => "+-=<>,;:|&([])".contains(*c),
        Node::Command(name) => BETWEEN.contains(&name.as_str()),
        _ => false,
    }
}

/// The parenthesis that opens what the one at `close` closes.
fn opening(nodes: &[Node], close: usize) -> Option<usize> {
    let mut depth = 0usize;
    for at in (0..=close).rev() {
        match nodes[at] {
            Node::Char(')') => depth += 1,
            Node::Char('(') => depth = depth.checked_sub(1)?,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// The parenthesis that closes what the one at `open` opens.
fn closing(nodes: &[Node], open: usize) -> Option<usize> {
    let mut depth = 0usize;
    for (at, node) in nodes.iter().enumerate().skip(open) {
        match node {
            Node::Char('(') => depth += 1,
            Node::Char(')') => depth = depth.checked_sub(1)?,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

/// Without the parentheses around all of it, which the line of a fraction replaces.
fn unwrapped(mut nodes: Vec<Node>) -> Vec<Node> {
    if nodes.first() == Some(&Node::Char('(')) && closing(&nodes, 0) == Some(nodes.len() - 1) {
        nodes.pop();
        nodes.remove(0);
    }
    nodes
}
