//! One way to write each thing: arguments in their places, looks gone.

use std::iter::Peekable;
use std::vec::IntoIter;

use super::commands::{Command, command};
use super::{Node, print};

type Nodes = Peekable<IntoIter<Node>>;

/// Nodes as [`parse`](super::parse) gives them, with fractions, roots, scripts and words as such, and without what only
/// changes the looks.
pub fn tidy(nodes: Vec<Node>) -> Vec<Node> {
    let mut rest = nodes.into_iter().peekable();
    let mut out = Vec::new();
    while rest.peek().is_some() {
        item(&mut rest, &mut out);
    }
    out
}

/// Moves the next node, with its arguments, to the end of `out`.
fn item(rest: &mut Nodes, out: &mut Vec<Node>) {
    match rest.next() {
        // The end of a command of letters is all that a space behind it marks.
        Some(Node::Space | Node::Char('~'))
            if out.last().is_some_and(|last| *last != Node::Space && !last.is_word()) =>
        {
            out.push(Node::Space);
        }
        None | Some(Node::Space | Node::Char('~')) => {}
        Some(Node::Char(script @ ('^' | '_'))) => match argument(rest) {
            Some(inside) => out.push(Node::Script(script, inside)),
            None => out.push(Node::Char(script)),
        },
        Some(Node::Group(inside)) => group(tidy(inside), rest, out),
        Some(Node::Command(name)) => of_command(name, rest, out),
        Some(node) => out.push(node),
    }
}

/// Takes the braces away where that changes nothing: not from the argument of a command, not between the digits of
/// `4{10}`, which is hardly meant for 410, and not from what is raised to a power as one.
fn group(inside: Vec<Node>, rest: &mut Nodes, out: &mut Vec<Node>) {
    let argument = out.last().is_some_and(|last| last.is_word() || matches!(last, Node::Group(_)));
    let raised = inside.len() > 1 && matches!(rest.peek(), Some(Node::Char('^' | '_')));
    let digits = |a: Option<&Node>, b: Option<&Node>| a.is_some_and(Node::is_digit) && b.is_some_and(Node::is_digit);
    let joins = digits(out.last(), inside.first()) || digits(inside.last(), rest.peek());
    if argument || raised || joins { out.push(Node::Group(inside)) } else { out.extend(inside) }
}

fn of_command(name: String, rest: &mut Nodes, out: &mut Vec<Node>) {
    match command(&name) {
        Command::Nothing => {}
        Command::Delimiter => drop(rest.next_if_eq(&Node::Char('.'))),
        Command::Space => {
            if out.last().is_some_and(|last| *last != Node::Space) {
                out.push(Node::Space);
            }
        }
        Command::Tight => while rest.next_if_eq(&Node::Space).is_some() {},
        Command::Char(c) => out.push(Node::Char(c)),
        Command::Named(other) => out.push(Node::Command(other.into())),
        Command::Degree => out.push(Node::Script('^', vec![Node::Command(r"\circ".into())])),
        Command::Face => match argument(rest) {
            Some(inside) => out.extend(inside),
            None => out.push(Node::Command(name)),
        },
        Command::Words => match argument(rest) {
            Some(inside) => {
                let words = print(&inside);
                match words.contains(char::is_alphabetic) {
                    true => out.push(Node::Text(words)),
                    false => out.extend(inside),
                }
            }
            None => out.push(Node::Command(name)),
        },
        Command::Frac => match (argument(rest), argument(rest)) {
            (Some(above), Some(below)) => out.push(Node::Frac(above, below)),
            (above, _) => {
                out.push(Node::Command(r"\frac".into()));
                out.extend(above.map(Node::Group));
            }
        },
        Command::Root => {
            let degree = degree(rest);
            match argument(rest) {
                Some(inside) => out.push(Node::Root(degree, inside)),
                None => {
                    out.push(Node::Command(name));
                    out.extend(degree.into_iter().flatten());
                }
            }
        }
        Command::Kept => out.push(Node::Command(name)),
    }
}

/// What a command takes: a group, else the next thing, whatever it is. `None` where there is nothing to take.
fn argument(rest: &mut Nodes) -> Option<Vec<Node>> {
    while rest.next_if_eq(&Node::Space).is_some() {}
    match rest.peek()? {
        // `x^^2` and `\sqrt^2` are nothing
        Node::Char('^' | '_') => None,
        Node::Group(_) => match rest.next()? {
            Node::Group(inside) => Some(tidy(inside)),
            _ => None,
        },
        _ => {
            let mut out = Vec::new();
            item(rest, &mut out);
            Some(out)
        }
    }
}

/// The `[3]` of `\sqrt[3]{..}`.
fn degree(rest: &mut Nodes) -> Option<Vec<Node>> {
    rest.next_if_eq(&Node::Char('['))?;
    let inside: Vec<Node> = std::iter::from_fn(|| rest.next_if(|node| *node != Node::Char(']'))).collect();
    rest.next_if_eq(&Node::Char(']'));
    Some(tidy(inside))
}
