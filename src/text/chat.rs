//! A checkpoint's own chat template, rendered the way `transformers` renders it.

mod clock;
mod generation;
mod source;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use minijinja::value::Serde;
use minijinja::{Environment, Error, ErrorKind, Value, context};
use serde::{Deserialize, Serialize};

use super::settings::Settings;
use super::{Result, TextError};
use crate::jinja::{self, Compiled, Failure};
pub use source::TEMPLATES_FOLDER;

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// Who speaks: `system`, `user` or `assistant`.
    pub role: String,
    /// What is said.
    pub content: String,
}

impl Message {
    /// A turn of the user.
    pub fn user(content: impl Into<String>) -> Self {
        Self { role: "user".into(), content: content.into() }
    }
}

/// A compiled chat template.
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    file: PathBuf,
    template: Compiled,
    /// Given to the template beside the conversation.
    variables: BTreeMap<String, serde_json::Value>,
}

impl ChatTemplate {
    /// Loads the template of a model folder: `chat_template.jinja`, or else `chat_template` in
    /// `tokenizer_config.json`, a string or several by name of which one is `default`. `None` if the folder has neither.
    ///
    /// # Errors
    /// If a file cannot be read, or the template does not compile.
    pub fn load(dir: &Path) -> Result<Option<Self>> {
        Self::with_settings(dir, &Settings::load(dir)?)
    }

    pub(super) fn with_settings(dir: &Path, settings: &Settings) -> Result<Option<Self>> {
        let Some((file, source)) = source::find(dir, settings)? else { return Ok(None) };
        let invalid = |failure: Failure| TextError::Invalid { file: file.clone(), reason: failure.to_string() };
        let mut env = environment().map_err(|error| invalid(error.into()))?;
        for (name, token) in settings.special_tokens()? {
            env.add_global(name, token.content);
        }
        let more: Vec<String> = settings.additional_special_tokens()?.into_iter().map(|token| token.content).collect();
        if !more.is_empty() {
            env.add_global("additional_special_tokens", more);
        }
        let source = generation::without_tags(&jinja::normalised(&source));
        let template = Compiled::new(env, source).map_err(invalid)?;
        let unset = unset_tokens(&template).map_err(invalid)?;
        if !unset.is_empty() {
            let names = unset.join(", ");
            tracing::warn!("the chat template of {} uses {names}, which the model does not set", file.display());
        }
        Ok(Some(Self { file, template, variables: BTreeMap::new() }))
    }

    /// The template with variables that it is given beside the conversation, such as `enable_thinking`.
    pub fn with_variables(self, variables: BTreeMap<String, serde_json::Value>) -> Self {
        Self { variables, ..self }
    }

    /// Renders a conversation, followed by the header of the assistant's turn if `add_generation_prompt`. There are no
    /// tools and no documents, which `transformers` gives to every template as none.
    ///
    /// # Errors
    /// If the template fails or raises an exception, for instance at a role it does not know.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String> {
        let own = context! { messages => Serde(messages), tools => (), documents => (), add_generation_prompt };
        let context = context! { ..own, ..Value::from(Serde(&self.variables)) };
        let chat = |failure: Failure| TextError::Chat { file: self.file.clone(), reason: failure.to_string() };
        self.template.render(&context).map_err(chat)
    }
}

/// The special tokens that a template names and nobody sets: empty text, in `transformers`, too.
fn unset_tokens(template: &Compiled) -> Result<Vec<String>, Failure> {
    let set: Vec<&str> = template.globals().collect();
    let used = template.variables()?.into_iter();
    let mut unset: Vec<String> =
        used.filter(|name| name.ends_with("_token") && !set.contains(&name.as_str())).collect();
    unset.sort();
    Ok(unset)
}

/// An engine that behaves like the Jinja of `transformers`: templates can raise exceptions, ask for the date, and mark
/// what the assistant said.
fn environment() -> Result<Environment<'static>, Error> {
    let mut env = jinja::engine()?;
    env.add_function("raise_exception", |message: Value| -> Result<String, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, message.to_string()))
    });
    env.add_function("strftime_now", |format: &str| clock::strftime(chrono::Local::now().naive_local(), format));
    Ok(env)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// A template in our own words that writes what LLaDA-8B-Instruct expects.
    const LLADA: &str = "{%- if messages[0].role not in ['system', 'user'] -%}
    {{ raise_exception('a conversation starts with ' + messages[0].role) }}
{%- endif -%}
{{ bos_token }}
{%- for turn in messages %}
    {{- '<|start_header_id|>' + turn['role'] + '<|end_header_id|>\n\n' + turn['content'].strip() + '<|eot_id|>' }}
{%- endfor %}
{% if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
{%- endif %}";

    const ONE_TURN: &str = "<|startoftext|><|start_header_id|>user<|end_header_id|>\n\nHi & <b>?<|eot_id|>";

    fn folder(files: &[(&str, String)]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        dir
    }

    fn load(config: Value) -> Result<Option<ChatTemplate>> {
        ChatTemplate::load(folder(&[("tokenizer_config.json", config.to_string())]).path())
    }

    fn render(template: &ChatTemplate) -> String {
        template.render(&[Message::user(" Hi & <b>?\n")], true).unwrap()
    }

    #[test]
    fn one_user_turn_renders_as_llada_expects() {
        let template = load(json!({"chat_template": LLADA, "bos_token": "<|startoftext|>"})).unwrap().unwrap();
        assert_eq!(render(&template), format!("{ONE_TURN}<|start_header_id|>assistant<|end_header_id|>\n\n"));
        assert_eq!(template.render(&[Message::user("Hi & <b>?")], false).unwrap(), ONE_TURN);
    }

    #[test]
    fn every_place_of_a_template_is_read() {
        let template = "{{ bos_token }}{{ messages[0].content | trim }}{{ eos_token }}";
        let bos = json!({"content": "<s>", "lstrip": false});
        let named = json!([{"name": "tool_use", "template": "no"}, {"name": "default", "template": template}]);
        for value in [json!(template), named] {
            let loaded = load(json!({"chat_template": value, "bos_token": bos, "eos_token": "</s>"}));
            assert_eq!(render(&loaded.unwrap().unwrap()), "<s>Hi & <b>?</s>");
        }
        let config = json!({"chat_template": "no", "eos_token": "</s>", "bos_token": bos}).to_string();
        let dir = folder(&[("tokenizer_config.json", config), ("chat_template.jinja", template.into())]);
        assert_eq!(render(&ChatTemplate::load(dir.path()).unwrap().unwrap()), "<s>Hi & <b>?</s>");
    }

    fn rendered(template: &str) -> String {
        render(&load(json!({"chat_template": template, "bos_token": "<s>"})).unwrap().unwrap())
    }

    #[test]
    fn tools_and_documents_were_undefined_instead_of_none() {
        assert_eq!(
            rendered("{% if tools is not none %}TOOLS{% endif %}{% if not documents is defined %}no{% endif %}."),
            "."
        );
        assert_eq!(
            rendered("{{ tools is iterable }}{{ tools is mapping }}{{ documents is string }}"),
            "FalseFalseFalse"
        );
        assert_eq!(rendered("{{ tools or 'none' }} {{ tools | tojson }} {{ tools == none }}"), "none null True");
        // what the template is not given is undefined there, too
        assert_eq!(rendered("{{ continue_final_message is defined }}{{ enable_thinking is defined }}"), "FalseFalse");
    }

    #[test]
    fn line_breaks_of_windows_reached_the_prompt() {
        let template = "{% for m in messages %}\r\n{{ m.role }}:\r\n{% endfor %}\r\na:\r\n";
        assert_eq!(rendered(template), "user:\na:");
        assert_eq!(rendered("a\rb{{ '\\r' }}"), "a\nb\r", "an escape stays");
        let dir = folder(&[("chat_template.jinja", template.into())]);
        assert_eq!(render(&ChatTemplate::load(dir.path()).unwrap().unwrap()), "user:\na:");
    }

    #[test]
    fn tokens_of_special_tokens_map_json_were_empty() {
        let map = json!({"bos_token": {"content": "<s>"}, "additional_special_tokens": ["<a>", "<b>"]}).to_string();
        let template = "{{ bos_token }}{{ additional_special_tokens | join }}{{ eos_token }}".to_owned();
        let dir = folder(&[("special_tokens_map.json", map), ("chat_template.jinja", template)]);
        let template = ChatTemplate::load(dir.path()).unwrap().unwrap();
        assert_eq!(render(&template), "<s><a><b>");
        assert_eq!(unset_tokens(&template.template).unwrap(), ["eos_token"]);
    }

    #[test]
    fn a_template_that_marks_what_the_assistant_says_could_not_be_opened() {
        let template = "{% for m in messages %}\n  {%- generation %}\n{{ m.content | trim }}{{ loop.last }}\n  \
                        {% endgeneration -%}\n{% endfor %}\n";
        assert_eq!(rendered(template), "Hi & <b>?True\n");
    }

    #[test]
    fn a_template_could_not_ask_for_the_date() {
        let year = rendered("{{ strftime_now('%Y') }}");
        assert!(year.parse::<u32>().is_ok_and(|year| year > 2024), "{year}");
        assert_eq!(rendered("{{ strftime_now is defined }}"), "True");
    }

    #[cfg(unix)]
    #[test]
    fn a_link_to_nowhere_gave_prompts_without_the_template() {
        for name in ["chat_template.jinja", "tokenizer_config.json", "special_tokens_map.json"] {
            let dir = folder(&[]);
            std::os::unix::fs::symlink("../blobs/gone", dir.path().join(name)).unwrap();
            let message = ChatTemplate::load(dir.path()).unwrap_err().to_string();
            assert!(
                message.ends_with(&format!("{name} cannot be read: it is a link to ../blobs/gone, which is not there")),
                "{message}"
            );
        }
    }

    #[test]
    fn block_lines_leave_no_trace() {
        let template = "{% for m in messages %}\n  {% if true %}\n{{ m.role }}\n  {% endif %}\n{% endfor %}\n";
        assert_eq!(render(&load(json!({"chat_template": template})).unwrap().unwrap()), "user\n");
    }

    #[test]
    fn a_folder_without_a_template_has_none() {
        assert!(ChatTemplate::load(folder(&[]).path()).unwrap().is_none());
        assert!(load(json!({"eos_token": "</s>"})).unwrap().is_none());
        assert!(load(json!({"chat_template": null})).unwrap().is_none());
    }

    #[test]
    fn an_exception_of_the_template_is_an_error_with_its_message() {
        let template = load(json!({"chat_template": LLADA})).unwrap().unwrap();
        let turn = Message { role: "tool".into(), content: String::new() };
        let message = template.render(&[turn], true).unwrap_err().to_string();
        assert!(message.contains("tokenizer_config.json") && message.contains("starts with tool"), "{message}");
    }

    #[test]
    fn broken_files_are_named() {
        let message = |result: Result<Option<ChatTemplate>>| result.unwrap_err().to_string();
        assert!(message(load(json!({"chat_template": "{% if"}))).contains("tokenizer_config.json is not valid"));
        assert!(message(load(json!({"chat_template": []}))).contains("`default`"));
        assert!(message(load(json!({"chat_template": 1}))).contains("neither"));
        let dir = folder(&[("tokenizer_config.json", "{".into())]);
        assert!(message(ChatTemplate::load(dir.path())).contains("tokenizer_config.json is not valid"));
        let dir = folder(&[("chat_template.jinja", "{% if".into())]);
        assert!(message(ChatTemplate::load(dir.path())).contains("chat_template.jinja is not valid"));
    }
}
