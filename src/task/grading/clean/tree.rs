//! LaTeX as a tree, as far as an answer needs it: read, tidied, written in one way.

mod commands;
mod tidy;

pub use tidy::tidy;

/// The deepest nesting of braces that is read.
const MAX_DEPTH: usize = 64;

/// Commands whose backslash may be doubled, as it is where a text was escaped once too often. `\\` alone ends a row.
const DOUBLED: [&str; 14] =
    ["frac", "dfrac", "tfrac", "sqrt", "pi", "text", "left", "right", "infty", "cup", "cdot", "times", "theta", "circ"];

/// A piece of LaTeX.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// White space.
    Space,
    /// A character that stands for itself.
    Char(char),
    /// A command with its backslash, such as `\pi`, `\{` or `\\`.
    Command(String),
    /// What stands in braces.
    Group(Vec<Node>),
    /// `\text{..}` and its kind.
    Text(String),
    /// `\frac{..}{..}`.
    Frac(Vec<Node>, Vec<Node>),
    /// `\sqrt{..}`, with its degree where it has one.
    Root(Option<Vec<Node>>, Vec<Node>),
    /// `^` or `_` with what is raised or lowered.
    Script(char, Vec<Node>),
}

impl Node {
    /// Whether it is a digit.
    pub fn is_digit(&self) -> bool {
        matches!(self, Node::Char(c) if c.is_ascii_digit())
    }

    /// Whether it is a command of letters, which takes no letter right behind it.
    pub fn is_word(&self) -> bool {
        matches!(self, Node::Command(name) if name.ends_with(|c: char| c.is_ascii_alphabetic()))
    }
}

/// Spaces, characters, commands and groups of a text; `None` if its braces do not balance or nest too deeply, or a
/// backslash ends it.
pub fn parse(text: &str) -> Option<Vec<Node>> {
    let mut open: Vec<Vec<Node>> = Vec::new();
    let mut nodes = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '{' if open.len() == MAX_DEPTH => return None,
            '{' => open.push(std::mem::take(&mut nodes)),
            '}' => {
                let inside = std::mem::replace(&mut nodes, open.pop()?);
                nodes.push(Node::Group(inside));
            }
            '\\' => {
                let doubled = rest.strip_prefix('\\').filter(|name| DOUBLED.contains(&&name[..word_length(name)]));
                rest = doubled.unwrap_or(rest);
                let length = word_length(rest).max(rest.chars().next()?.len_utf8());
                nodes.push(Node::Command(format!("\\{}", &rest[..length])));
                rest = &rest[length..];
            }
            _ if c.is_whitespace() => nodes.push(Node::Space),
            _ => nodes.push(Node::Char(c)),
        }
    }
    open.is_empty().then_some(nodes)
}

fn word_length(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_alphabetic).count()
}

/// The text of tidied nodes, without white space at its ends and where a command's end needs none.
pub fn print(nodes: &[Node]) -> String {
    let mut out = String::new();
    // Whether a letter would lengthen the command before it.
    let mut after_word = false;
    let mut space = false;
    for node in nodes {
        if *node == Node::Space {
            space = true;
            continue;
        }
        let piece = written(node);
        let lengthens = after_word && piece.starts_with(|c: char| c.is_ascii_alphabetic());
        if lengthens || (space && !after_word && !out.is_empty()) {
            out.push(' ');
        }
        out += &piece;
        space = false;
        after_word =
            node.is_word() || matches!(node, Node::Script(_, inside) if matches!(&inside[..], [n] if n.is_word()));
    }
    out
}

fn written(node: &Node) -> String {
    match node {
        Node::Space => " ".into(),
        Node::Char(c) => c.to_string(),
        Node::Command(name) => name.clone(),
        Node::Group(inside) => format!("{{{}}}", print(inside)),
        Node::Text(words) => format!(r"\text{{{words}}}"),
        Node::Frac(above, below) => format!(r"\frac{{{}}}{{{}}}", print(above), print(below)),
        Node::Root(None, inside) => format!(r"\sqrt{{{}}}", print(inside)),
        Node::Root(Some(degree), inside) => format!(r"\sqrt[{}]{{{}}}", print(degree), print(inside)),
        Node::Script(script, inside) => match &inside[..] {
            [Node::Char(_) | Node::Command(_)] => format!("{script}{}", print(inside)),
            _ => format!("{script}{{{}}}", print(inside)),
        },
    }
}
