//! Jinja templates of the configuration, checked when the task is built and not in the middle of a run.

mod context;

use minijinja::{ErrorKind, UndefinedBehavior, Value};

pub(super) use context::Given;
use context::{Context, holds_null};

use super::{Problem, Record, Result, TaskError};
use crate::jinja::{self, Compiled, Failure};

/// The variable that holds worked examples.
pub(super) const EXAMPLES: &str = "examples";

/// What is wrong with a template that prints a null.
const PRINTS_NULL: &str = "it prints a null";

/// A compiled template that has been tried already.
#[derive(Clone, Debug)]
pub(super) struct Template {
    key: &'static str,
    compiled: Compiled,
}

impl Template {
    /// Compiles `source` and renders it with `sample`, whose names are the variables it may use.
    /// As in chat templates, a line that holds only a block leaves no empty line behind, and text has Python's methods.
    ///
    /// # Errors
    /// If it does not compile, uses another variable, fails on the sample, or does not use one of `required`
    /// (of all, if that is empty), without which renderings would be the same that should differ. What the sample's
    /// values lack or leave null is no mistake of the template: rendering says it of the record where it is so.
    pub(super) fn compile(key: &'static str, source: &str, sample: &Value, required: &[&str]) -> Result<Self, Problem> {
        let problem = |message: String| Problem::new(key, message);
        let failed = |failure: Failure| Problem::new(key, reason(&failure));
        let mut env = jinja::engine().map_err(|error| failed(error.into()))?;
        env.set_undefined_behavior(UndefinedBehavior::Strict);
        // For messages: the engine then says which expression is undefined.
        env.set_debug(true);
        env.add_test("none", context::is_none);
        env.set_formatter(|out, state, value| match holds_null(value) {
            true => Err(minijinja::Error::new(ErrorKind::InvalidOperation, PRINTS_NULL)),
            false => jinja::print(out, state, value),
        });
        let compiled = Compiled::new(env, jinja::normalised(source).into_owned()).map_err(failed)?;

        let names = sample.try_iter().map_err(|error| failed(error.into()))?;
        let known: Vec<String> = names.map(|name| name.to_string()).collect();
        let globals: Vec<&str> = compiled.globals().collect();
        let used = compiled.variables().map_err(failed)?;
        let is_known = |name: &str| known.iter().any(|k| k == name) || globals.contains(&name);
        let mut unknown: Vec<&str> = used.iter().map(String::as_str).filter(|name| !is_known(name)).collect();
        unknown.sort_unstable();
        if !unknown.is_empty() {
            let (unknown, known) = (unknown.join("`, `"), known.join("`, `"));
            return Err(problem(format!("the template uses `{unknown}`, but it has only `{known}`")));
        }
        if let Some(unused) = required.iter().find(|name| !used.contains(**name)) {
            return Err(problem(format!("the template does not use `{unused}`")));
        }
        if required.is_empty() && !known.iter().any(|name| used.contains(name)) {
            return Err(problem(format!("the template uses none of `{}`", known.join("`, `"))));
        }
        let template = Self { key, compiled };
        let is_of_a_record = |name: &str| begins_with(name, &known) && !begins_with(name, &[EXAMPLES]);
        match template.try_render(sample) {
            Err(error) if !prints_null(&error) && !undefined(&error).is_some_and(is_of_a_record) => Err(failed(error)),
            _ => Ok(template),
        }
    }

    /// Renders the template with the fields of `record` and what else it is given, which wins.
    ///
    /// # Errors
    /// With the place of the record: [`TaskError::NotInRecord`] and [`TaskError::PrintsNull`], which name the field, and
    /// [`TaskError::Template`] for whatever else fails.
    pub(super) fn render(&self, record: &Record, more: &[(&'static str, Given<'_>)]) -> Result<String> {
        let context = Context { record, more };
        let rendered = self.try_render(&context.plain());
        if context.has_null()
            && let Some(printed) = self.printed_null(&context, &rendered)
        {
            return Err(printed);
        }
        rendered.map_err(|error| self.explain(&context, &error))
    }

    /// The error for a null of the records that has become text, if one has.
    fn printed_null(&self, context: &Context<'_, '_>, plain: &Result<String, Failure>) -> Option<TaskError> {
        let (values, traces) = context.traced();
        let traced = self.try_render(&values);
        let printed = context.printed(&traces)?;
        // Where the two differ the null was compared or written as JSON, and what was traced is not what is rendered.
        let is_so = match (plain, &traced) {
            (Ok(plain), Ok(traced)) => plain == traced,
            (Ok(_), Err(_)) => false,
            (Err(error), _) => prints_null(error),
        };
        let error = TaskError::PrintsNull { key: self.key, field: printed.field };
        is_so.then(|| printed.record.located(error))
    }

    /// The error for what failed, with its place.
    fn explain(&self, context: &Context<'_, '_>, error: &Failure) -> TaskError {
        let record = context.record;
        if let Some(name) = undefined(error) {
            let lacks = |record: &Record, field: &str| {
                let (field, present) = (field.to_owned(), record.field_names());
                record.located(TaskError::NotInRecord { key: self.key, field, present })
            };
            let is_whole = name.chars().all(|c| c.is_alphanumeric() || c == '_');
            let is_field = record.fields().keys().any(|field| begins_with(name, &[field]));
            // A part of something else: of an example, or of what the template made itself.
            let field = name.rsplit_once('.').map_or(name, |(_, field)| field);
            match context.example_without(field) {
                _ if is_whole || is_field => return lacks(record, name),
                Some(example) => return lacks(example, field),
                None => {}
            }
        }
        let mut reason = reason(error);
        let nulls: Vec<&str> =
            record.fields().iter().filter(|(_, v)| v.is_null()).map(|(name, _)| name.as_str()).collect();
        if !nulls.is_empty() {
            reason += &format!("; null in this record: {}", nulls.join(", "));
        }
        record.located(TaskError::Template { key: self.key, reason })
    }

    fn try_render(&self, context: &Value) -> Result<String, Failure> {
        self.compiled.render(context)
    }
}

/// Templates that all compiled.
///
/// # Errors
/// [`TaskError::Config`] with the problems of all that did not.
pub(super) fn compile_all<const N: usize>(compiled: [Result<Template, Problem>; N]) -> Result<[Template; N]> {
    let problems: Vec<Problem> = compiled.iter().filter_map(|result| result.as_ref().err().cloned()).collect();
    let templates: Vec<Template> = compiled.into_iter().flatten().collect();
    templates.try_into().map_err(|_| TaskError::Config(problems))
}

fn prints_null(error: &Failure) -> bool {
    error.detail() == Some(PRINTS_NULL)
}

/// The expression that was found undefined, such as `meta.author`.
fn undefined(error: &Failure) -> Option<&str> {
    let before = error.detail().filter(|_| error.kind() == ErrorKind::UndefinedError)?.split_once("` is undefined")?.0;
    before.rsplit_once('`').map(|(_, expression)| expression)
}

/// Whether an expression is one of the names, or a part of what it holds.
fn begins_with(expression: &str, names: &[impl AsRef<str>]) -> bool {
    let first = expression.split(['.', '[']).next().unwrap_or_default();
    names.iter().any(|name| name.as_ref() == first)
}

/// What failed and the line of the template, whose key is said already.
fn reason(failure: &Failure) -> String {
    let line = failure.line().map(|line| format!(" (line {line} of the template)")).unwrap_or_default();
    failure.reason() + &line
}

#[cfg(test)]
mod tests;
