//! Templates and what they make of records.

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
    let rendered = template.render(&Record::from([("puzzle", "<&>".to_owned())]), &[]);
    assert_eq!(rendered.unwrap(), "<answer><&></answer>\n0\n1\n.");
}

#[test]
fn line_breaks_of_windows_and_escapes_for_html_reached_the_prompt() {
    let template = compile("a\r\n{% if true %}\r\n{{ puzzle | tojson }}\r{% endif %}").unwrap();
    let rendered = template.render(&Record::from([("puzzle", "<'&>".to_owned())]), &[]);
    assert_eq!(rendered.unwrap(), "a\n\"<'&>\"\n");
}

/// The template of `source` for records as they are read, rendered for one of them.
fn render(source: &str, record: &str) -> Result<String, String> {
    let record = serde_json::from_str::<Record>(record).unwrap().read_at("a.jsonl, line 7");
    let sample = context! { q => "?", n => 1, xs => ["a"], meta => context! { by => "x" } };
    let template = Template::compile("task.x.template", source, &sample, &[]).unwrap_or_else(|e| panic!("{e}"));
    template.render(&record, &[]).map_err(|error| error.to_string())
}

#[test]
fn a_null_does_not_become_the_word_none() {
    let record = r#"{"q": null, "n": null, "xs": ["a", null], "meta": {"by": null, "at": 1}}"#;
    for (source, field) in [
        ("{{ q }}", "q"),
        ("{% if n is none %}{{ q }}{% endif %}", "q"),
        ("{{ 'Q: ' ~ q }}", "q"),
        ("{{ q | upper }}", "q"),
        ("{{ q | string | trim }}", "q"),
        ("{{ '%s?' | format(q) }}", "q"),
        ("{{ '{}?'.format(q) }}", "q"),
        ("{% set x %}{{ q }}{% endset %}{{ x }}", "q"),
        ("{% macro m(x) %}{{ x }}{% endmacro %}{{ m(q) }}", "q"),
        ("{% for x in xs %}{{ x }}{% endfor %}", "xs[1]"),
        ("{{ xs | join(', ') }}", "xs[1]"),
        ("{{ xs }}", "xs[1]"),
        ("{{ meta }}", "meta.by"),
        ("{{ meta.by }}", "meta.by"),
        ("{{ q | default('-') }}", "q"),
    ] {
        let message = render(source, record).unwrap_err();
        let start = format!("a.jsonl, line 7: task.x.template prints the field `{field}`, which is null");
        assert!(message.starts_with(&start), "{source}: {message}");
    }
}

#[test]
fn a_null_may_be_asked_about_and_replaced() {
    let record = r#"{"q": null, "n": 2, "xs": [null], "meta": {"by": null}}"#;
    for (source, text) in [
        ("{{ n }}", "2"),
        ("{% if q is none %}no{% else %}{{ q }}{% endif %}", "no"),
        ("{% if q is not none %}{{ q }}{% endif %}.", "."),
        ("{% if q == none %}no{% else %}{{ q }}{% endif %}", "no"),
        ("{{ 'no' if q in [none] else q }}", "no"),
        ("{% if q %}{{ q }}{% endif %}.", "."),
        ("{{ q or '-' }}", "-"),
        ("{{ q | default('-', true) }}", "-"),
        ("{{ xs | length }}", "1"),
        ("{{ xs | select('none') | list | length }}", "1"),
        ("{{ xs | reject('none') | join(',') }}.", "."),
        ("{{ q | tojson }} {{ meta | tojson }}", r#"null {"by": null}"#),
        ("{% if meta.by %}by {{ meta.by }}{% endif %}.", "."),
    ] {
        assert_eq!(render(source, record).as_deref(), Ok(text), "{source}");
    }
    assert!(
        render("{{ meta.get('x') }} {{ q }}", r#"{"q": "a", "meta": {}}"#).unwrap_err().ends_with(
            "task.x.template fails on a record: invalid operation: it prints a null (line 1 of the template)"
        )
    );
    let message = render("{{ n * 2 }}", r#"{"n": null}"#).unwrap_err();
    assert!(message.starts_with("a.jsonl, line 7: ") && message.ends_with("; null in this record: n"), "{message}");
}

#[test]
fn an_example_that_lacks_a_field_is_told_with_its_own_place() {
    let sample = context! { q => "?", examples => [context! { q => "?" }] };
    let source = "{% for e in examples %}{{ e.q }} {% endfor %}{{ q }}";
    let template = Template::compile("task.x.template", source, &sample, &[]).unwrap();
    let read = |text: &str, place: &str| serde_json::from_str::<Record>(text).unwrap().read_at(place);
    let (asked, good) = (read(r#"{"q": "3"}"#, "line 3"), read(r#"{"q": "1"}"#, "line 1"));
    let shown = |examples| template.render(&asked, &[(EXAMPLES, Given::Records(examples))]);
    assert_eq!(shown(vec![&good, &good]).unwrap(), "1 1 3");
    let lacking = read(r#"{"v": 1}"#, "line 4");
    let message = shown(vec![&good, &lacking]).unwrap_err().to_string();
    assert!(message.starts_with("line 4: task.x.template asks for `q`, which this record lacks"), "{message}");
    let null = read(r#"{"q": null}"#, "line 2");
    let message = shown(vec![&good, &null]).unwrap_err().to_string();
    assert!(message.starts_with("line 2: task.x.template prints the field `q`, which is null"), "{message}");
}

#[test]
fn a_field_that_a_record_lacks_is_named_with_file_and_row() {
    let record = r#"{"v": 1, "meta": {"at": 1}, "xs": []}"#;
    for (source, field) in [
        ("{{ q }}", "q"),
        ("{{ 'Q: ' ~ q }}", "q"),
        ("{{ q | upper }}", "q"),
        ("{% for x in q %}{{ x }}{% endfor %}", "q"),
        ("{% if n is defined %}{{ n }}{% endif %}{{ q }}", "q"),
        ("{{ meta.by }}", "meta.by"),
        ("{{ xs[0] }}", "xs[0]"),
    ] {
        let message = render(source, record).unwrap_err();
        let start = format!(
            "a.jsonl, line 7: task.x.template asks for `{field}`, which this record lacks (its fields: v, meta, xs)"
        );
        assert!(message.starts_with(&start), "{source}: {message}");
    }
    assert_eq!(render("{% if q is defined %}{{ q }}{% endif %}.", record).as_deref(), Ok("."));
}

#[test]
fn integers_go_through_a_template_whole() {
    let record = r#"{"q": 18446744073709551615, "n": 9007199254740993}"#;
    let text = "18446744073709551615 9007199254740993 9007199254740994";
    assert_eq!(render("{{ q }} {{ n }} {{ n + 1 }}", record).as_deref(), Ok(text));
}

#[test]
fn a_failure_on_a_record_names_the_key() {
    let template = compile("{{ 1 // (puzzle | length) }}").unwrap();
    let message = template.render(&Record::from([("puzzle", String::new())]), &[]).unwrap_err().to_string();
    assert!(message.starts_with("task.x.template fails on a record: "), "{message}");
}
