//! A checkpoint's own chat template, rendered the way `transformers` renders it.

use std::path::{Path, PathBuf};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, Error, ErrorKind, context};
use serde::Serialize;
use serde_json::Value;

use super::{Result, TextError};

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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
    env: Environment<'static>,
}

impl ChatTemplate {
    /// Loads the template of a model folder: `chat_template.jinja`, or else `chat_template` in
    /// `tokenizer_config.json`, a string or a list of `{name, template}` with one named `default`.
    /// `None` if the folder has neither.
    ///
    /// # Errors
    /// If a file cannot be read, or the template does not compile.
    pub fn load(dir: &Path) -> Result<Option<Self>> {
        let config_file = dir.join("tokenizer_config.json");
        let config = match read(&config_file)? {
            Some(text) => serde_json::from_str(&text)
                .map_err(|error| TextError::Invalid { file: config_file.clone(), reason: error.to_string() })?,
            None => Value::Null,
        };
        let own_file = dir.join("chat_template.jinja");
        let (file, source) = match read(&own_file)? {
            Some(source) => (own_file, Some(source)),
            None => match template_in(&config["chat_template"]) {
                Ok(source) => (config_file, source),
                Err(reason) => return Err(TextError::Invalid { file: config_file, reason }),
            },
        };
        let Some(source) = source else { return Ok(None) };
        match environment(source, &config) {
            Ok(env) => Ok(Some(Self { file, env })),
            Err(error) => Err(TextError::Invalid { file, reason: error.to_string() }),
        }
    }

    /// Renders a conversation, followed by the header of the assistant's turn if `add_generation_prompt`.
    ///
    /// # Errors
    /// If the template fails or raises an exception, for instance at a role it does not know.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String> {
        let context = context! { messages => Serde(messages), add_generation_prompt };
        let rendered = self.env.get_template(NAME).and_then(|template| template.render(context));
        rendered.map_err(|error| TextError::Chat { file: self.file.clone(), reason: error.to_string() })
    }
}

/// The template's name in the engine; without an ending that would turn HTML escapes on.
const NAME: &str = "chat_template";

/// The text of a file, or `None` if there is no such file.
fn read(file: &Path) -> Result<Option<String>> {
    match std::fs::read_to_string(file) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(reason) => Err(TextError::Read { file: file.into(), reason }),
    }
}

/// The template in a value of `tokenizer_config.json`.
fn template_in(value: &Value) -> Result<Option<String>, String> {
    match value {
        Value::Null => Ok(None),
        Value::String(source) => Ok(Some(source.clone())),
        Value::Array(named) => match named.iter().find(|entry| entry["name"] == "default").map(|e| &e["template"]) {
            Some(Value::String(source)) => Ok(Some(source.clone())),
            _ => Err("the list `chat_template` has no template named `default`".into()),
        },
        _ => Err("`chat_template` is neither a string nor a list".into()),
    }
}

/// An engine that behaves like the Jinja of `transformers`: block lines leave no trace, Python's string
/// methods exist, templates can raise exceptions and see the special tokens.
fn environment(source: String, config: &Value) -> Result<Environment<'static>, Error> {
    let mut env = Environment::new();
    env.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    env.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    env.add_function("raise_exception", |message: String| -> Result<String, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, message))
    });
    for (key, value) in config.as_object().into_iter().flatten() {
        // A token is a string, or an object that also says how to parse it.
        let token = value.as_str().or_else(|| value["content"].as_str());
        if let Some(token) = token.filter(|_| key.ends_with("_token")) {
            env.add_global(key.clone(), token.to_owned());
        }
    }
    env.add_template_owned(NAME, source)?;
    Ok(env)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

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
