//! Jinja templates of the configuration, checked when the task is built and not in the middle of a run.

use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior, Value};

use super::{Problem, Record, Result, TaskError};
use crate::jinja;

/// A compiled template that has rendered once already.
#[derive(Clone, Debug)]
pub(super) struct Template {
    key: &'static str,
    env: Environment<'static>,
}

impl Template {
    /// Compiles `source` and renders it with `sample`, whose names are the variables it may use.
    /// As in chat templates, a line that holds only a block leaves no empty line behind, and text has Python's methods.
    ///
    /// # Errors
    /// If it does not compile, uses another variable, fails on the sample, or does not use one of `required`
    /// (of all, if that is empty), without which renderings would be the same that should differ.
    pub(super) fn compile(key: &'static str, source: &str, sample: &Value, required: &[&str]) -> Result<Self, Problem> {
        let problem = |message: String| Problem::new(key, message);
        let failed = |error: minijinja::Error| Problem::new(key, reason(&error));
        let mut env = jinja::engine().map_err(failed)?;
        env.set_undefined_behavior(UndefinedBehavior::Strict);
        env.add_template_owned(key, jinja::normalised(source).into_owned()).map_err(failed)?;

        let known: Vec<String> = sample.try_iter().map_err(failed)?.map(|name| name.to_string()).collect();
        let globals: Vec<&str> = env.globals().map(|(name, _)| name).collect();
        let used = env.get_template(key).map_err(failed)?.undeclared_variables(false);
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
        let template = Self { key, env };
        template.try_render(sample).map_err(failed)?;
        Ok(template)
    }

    /// Renders the template with the fields of `record` and what else it is given, which wins.
    ///
    /// # Errors
    /// [`TaskError::Template`] if the template fails on them.
    pub(super) fn render<const N: usize>(&self, record: &Record, more: [(&str, Value); N]) -> Result<String> {
        let fields = record.fields().iter().map(|(name, value)| (name.clone(), Value::from(Serde(value))));
        let context = Value::from_pairs(fields.chain(more.map(|(name, value)| (name.to_owned(), value))));
        self.try_render(&context).map_err(|error| TaskError::Template { key: self.key, reason: reason(&error) })
    }

    fn try_render(&self, context: &Value) -> Result<String, minijinja::Error> {
        self.env.get_template(self.key)?.render(context.clone())
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

/// The engine's message with the line but without the template's name, which is the key and said already.
fn reason(error: &minijinja::Error) -> String {
    let mut reason = error.kind().to_string();
    if let Some(detail) = error.detail() {
        reason += &format!(": {detail}");
    }
    if let Some(line) = error.line() {
        reason += &format!(" (line {line} of the template)");
    }
    reason
}

#[cfg(test)]
mod tests {
    use super::*;
    use minijinja::context;

    fn compile(source: &str) -> Result<Template, String> {
        let sample = context! { puzzle => "0", examples => Vec::<Value>::new() };
        Template::compile("task.x.template", source, &sample, &["puzzle"]).map_err(|problem| problem.to_string())
    }

    #[test]
    fn mistakes_are_found_before_the_run_and_name_the_key() {
        let message = |source| compile(source).unwrap_err();
        assert_eq!(
            message("{{ puzle }} {{ puzzle }}"),
            "task.x.template: the template uses `puzle`, but it has only `puzzle`, `examples`"
        );
        assert_eq!(message("fill it in"), "task.x.template: the template does not use `puzzle`");
        assert!(message("ab\n{% for %}{{ puzzle }}").ends_with("(line 2 of the template)"));
        assert!(message("{{ puzzle }}{{ examples[0].solution }}").starts_with("task.x.template: undefined value"));
        assert!(message("{{ puzzle | shout }}").starts_with("task.x.template: unknown filter"));
    }

    #[test]
    fn text_is_not_escaped_and_block_lines_vanish() {
        let template =
            compile("<answer>{{ puzzle }}</answer>\n  {% for i in range(2) %}\n{{ i }}\n  {% endfor %}\n.").unwrap();
        let rendered = template.render(&Record::from([("puzzle", "<&>".to_owned())]), []);
        assert_eq!(rendered.unwrap(), "<answer><&></answer>\n0\n1\n.");
    }

    #[test]
    fn line_breaks_of_windows_and_escapes_for_html_reached_the_prompt() {
        let template = compile("a\r\n{% if true %}\r\n{{ puzzle | tojson }}\r{% endif %}").unwrap();
        let rendered = template.render(&Record::from([("puzzle", "<'&>".to_owned())]), []);
        assert_eq!(rendered.unwrap(), "a\n\"<'&>\"\n");
    }

    #[test]
    fn a_failure_on_a_record_names_the_key() {
        let template = compile("{{ 1 // (puzzle | length) }}").unwrap();
        let message = template.render(&Record::from([("puzzle", String::new())]), []).unwrap_err().to_string();
        assert!(message.starts_with("task.x.template fails on a record: "), "{message}");
    }
}
