//! A compiled template that always ends: its source and its work are bounded, and it has stack for what they allow.
//!
//! Templates come with models that anybody made. Two nested loops, a text that is doubled sixty times or a thousand
//! minus signs in a row would else hang a run, take all memory or overflow the stack, which nothing can catch. The
//! engine counts its work, but not what it takes to write or join lists of lists; that is watched while it is done.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use minijinja::{Environment, Error, ErrorKind, Value};

use super::tags::{Piece, code_bytes, pieces};
use crate::foreign::{Unfinished, bounded};

/// Bytes of a source; templates of published models have up to a tenth of it. Every tag may nest one level deeper.
const LONGEST_SOURCE: usize = 128 << 10;

/// Bytes of one tag or expression, without the texts in it; those of published models have some hundred. Every byte may
/// be an operator: the engine folds those of constants in a time that grows with their cube.
const LONGEST_TAG: usize = 2 << 10;

/// What one rendering may use up: an instruction costs one, and so do 64 bytes of what it makes. Every instruction may
/// nest a value one level deeper; [`DEEP_STACK`](crate::foreign::DEEP_STACK) has more than a KiB for each.
const FUEL: u64 = 400_000;

/// The name that a template has for the engine; without an ending that would turn HTML escapes on.
const NAME: &str = "template";

/// A template and the engine that renders it.
#[derive(Clone, Debug)]
pub struct Compiled {
    env: Arc<Environment<'static>>,
}

impl Compiled {
    /// Compiles `source` for the functions, filters and globals of `env`.
    ///
    /// # Errors
    /// A source that is no template, or too long for one.
    pub fn new(mut env: Environment<'static>, source: String) -> Result<Self, Failure> {
        if source.len() > LONGEST_SOURCE {
            return Err(too_long("it", source.len(), LONGEST_SOURCE));
        }
        let tags = pieces(&source).map(|piece| if let Piece::Tag(tag) = piece { code_bytes(tag) } else { 0 });
        if let Some(bytes) = tags.max().filter(|&bytes| bytes > LONGEST_TAG) {
            return Err(too_long("an expression outside of its texts", bytes, LONGEST_TAG));
        }
        env.set_fuel(Some(FUEL));
        bounded(move || {
            env.add_template_owned(NAME, source)?;
            Ok(Self { env: Arc::new(env) })
        })?
    }

    /// Renders the template.
    ///
    /// # Errors
    /// If it fails, raises an exception, or takes more work or memory than a template may.
    pub fn render(&self, context: &Value) -> Result<String, Failure> {
        let (env, context) = (Arc::clone(&self.env), context.clone());
        bounded(move || Ok(env.get_template(NAME)?.render(context)?))?
    }

    /// The variables that the template uses and does not set itself.
    ///
    /// # Errors
    /// If the engine cannot say.
    pub fn variables(&self) -> Result<HashSet<String>, Failure> {
        let env = Arc::clone(&self.env);
        bounded(move || Ok(env.get_template(NAME)?.undeclared_variables(false)))?
    }

    /// The names that every template of the engine knows.
    pub fn globals(&self) -> impl Iterator<Item = &str> {
        self.env.globals().map(|(name, _)| name)
    }
}

fn too_long(what: &str, bytes: usize, most: usize) -> Failure {
    let detail = format!("{what} has {bytes} bytes, and at most {most} are read");
    Failure { kind: ErrorKind::SyntaxError, detail: Some(detail), line: None }
}

/// Why a template failed: what is to be said of the engine's error, which itself may hold values too deep to be dropped
/// on any stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    kind: ErrorKind,
    detail: Option<String>,
    line: Option<usize>,
}

impl Failure {
    /// What kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The engine's message beside the kind.
    pub fn detail(&self) -> Option<&str> {
        self.detail.as_deref()
    }

    /// The line of the template, from 1.
    pub fn line(&self) -> Option<usize> {
        self.line
    }

    /// The message without the line.
    pub fn reason(&self) -> String {
        match (&self.detail, self.kind) {
            (_, ErrorKind::OutOfFuel) => {
                format!("it takes more than {FUEL} steps, or makes more than {} MiB", (FUEL * 64) >> 20)
            }
            (Some(detail), kind) => format!("{kind}: {detail}"),
            (None, kind) => kind.to_string(),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { kind: error.kind(), detail: error.detail().map(str::to_owned), line: error.line() }
    }
}

impl From<Unfinished> for Failure {
    fn from(unfinished: Unfinished) -> Self {
        Self { kind: ErrorKind::InvalidOperation, detail: Some(unfinished.to_string()), line: None }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason())?;
        self.line.map_or(Ok(()), |line| write!(f, " (line {line})"))
    }
}

#[cfg(test)]
mod tests;
