//! Templates that would not end, named after what they did.

use super::super::engine;
use super::*;

fn render(source: impl Into<String>) -> Result<String, Failure> {
    Compiled::new(engine().unwrap(), source.into())?.render(&minijinja::context! { a => "text" })
}

/// Renders `source`, which the engine must end by itself: with a text, or an error of its own.
fn ends(source: String) {
    let beginning: String = source.chars().take(60).collect();
    if let Err(failure) = render(source) {
        let detail = failure.detail().unwrap_or_default();
        let left_behind = [Unfinished::Panicked, Unfinished::TooLong, Unfinished::TooLarge, Unfinished::NoThread];
        assert!(left_behind.iter().all(|u| u.to_string() != detail), "{beginning}: {failure}");
    }
}

/// Renders `source`, which must be refused for its work.
fn takes_too_much(source: &str) {
    let failure = render(source).expect_err(source);
    assert_eq!(failure.kind(), ErrorKind::OutOfFuel, "{source}: {failure}");
    assert!(failure.to_string().contains("steps, or makes more than 24 MiB"), "{failure}");
}

#[test]
fn loops_in_loops_hung() {
    takes_too_much("{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}");
    takes_too_much("{% macro f(n) %}{% for i in range(9) %}{{ f(n - 1) if n }}{% endfor %}{% endmacro %}{{ f(50) }}");
    takes_too_much("{% for i in range(9) %}{{ range(100000) | list | sort | length }}{% endfor %}");
}

#[test]
fn texts_and_lists_took_all_memory() {
    let doubled = |step: &str| {
        format!("{{% set n = namespace(x={step}) %}}{{% for i in range(60) %}}{{% set n.x = X %}}{{% endfor %}}")
    };
    for (start, step) in [("'a'", "n.x ~ n.x"), ("'a'", "n.x + n.x"), ("'a'", "n.x * 2")] {
        takes_too_much(&doubled(start).replace("X", step));
    }
    for of_shared in [
        "{{ n.x }}",
        "{{ n.x | tojson }}",
        "{{ n.x | pprint }}",
        "{{ '%s' | format(n.x) }}",
        "{{ '{}'.format(n.x) }}",
        "{{ debug() }}",
    ] {
        let source = doubled("['a']").replace("X", "[n.x, n.x]") + of_shared;
        assert!(render(source).is_err(), "{of_shared}");
    }
    for call in [
        "'x' | indent(1000000000, true)",
        "'%1000000000d' | format(1)",
        "'%.1000000000f' | format(1)",
        "'{:1000000000d}'.format(1)",
        "'{:>1000000000}'.format('a')",
        "'{:.1000000000f}'.format(1.0)",
        "('{:0>999999}' * 1000).format(*[1] * 1000)",
        "('%s' * 10000) | format(*['b' * 100000] * 10000)",
        "'%(a)s%(a)s' | format(a=('b' * 20000000))",
        "[1] | slice(1000000000) | list",
        "[1] | batch(1000000000, 0) | list",
        "('a' * 100000) | replace('a', 'b' * 100000)",
        "('a' * 100000).replace('a', 'b' * 100000)",
        "('a,' * 10000).split(',') | join('b' * 100000)",
        "'a' * 1000000000",
        "('a' * 100000) | list | map('replace', 'a', 'b' * 100000) | list",
        "range(100000) | list | tojson(indent='a' * 100000)",
        "('b' * 1000000) | center(1000000000)",
        "range(1000000000) | list",
    ] {
        assert!(render(format!("{{{{ ({call}) | string | length }}}}")).is_err(), "{call}");
    }
}

#[test]
fn deep_expressions_overflowed_the_stack() {
    for (part, most) in [("-", true), ("not ", true), ("1+", true), ("1~", true), ("1 if 1 else ", true), ("[", false)]
    {
        for bytes in [LONGEST_TAG - 20, 20_000] {
            let source = format!("{{{{ {}1 }}}}", part.repeat(bytes / part.len()));
            assert_eq!(render(source).is_ok(), most && bytes < LONGEST_TAG, "{part} {bytes}");
        }
    }
    for part in [".a", "[0]", "()", "|string", " is f", "(1)", "~a"] {
        for bytes in [LONGEST_TAG - 20, 20_000] {
            ends(format!("{{{{ a{} }}}}", part.repeat(bytes / part.len())));
        }
    }
    let failure = render(format!("{{{{ {}1 }}}}", "-".repeat(4_898))).unwrap_err().to_string();
    assert!(failure.contains("an expression outside of its texts has 4905 bytes"), "{failure}");
    for (open, close) in [("{%if a%}", "{%endif%}"), ("{%with%}", "{%endwith%}"), ("{%set a%}", "{%endset%}")] {
        let times = LONGEST_SOURCE / (open.len() + close.len());
        ends(open.repeat(times) + &close.repeat(times));
    }
    let elif = format!("{{%if not a%}}{}{{%endif%}}", "{%elif not a%}".repeat(LONGEST_SOURCE / 15));
    assert_eq!(render(elif), Ok(String::new()));
}

#[test]
fn deep_values_overflowed_the_stack() {
    for value in ["[X]", "[[[[[[[[[[[[X]]]]]]]]]]]]", "{'a': X}", "dict(a=X)"] {
        let nested = |n: &str, rounds: usize| {
            let (value, start) = (value.replace('X', &format!("{n}.x")), format!("{{% set {n} = namespace(x=[]) %}}"));
            start + &format!("{{% for i in range({rounds}) %}}{{% set {n}.x = {value} %}}{{% endfor %}}")
        };
        for used in ["", "{{ n.x }}", "{{ n.x | tojson }}", "{{ n.x ~ '' }}", "{{ n.x == b.x }}", "{{ n.x.b.c }}"] {
            for rounds in [5_672, 20_000] {
                ends(nested("n", rounds) + &nested("b", rounds) + used);
            }
        }
    }
    let of_levels = |levels: usize, used: &str| {
        let nested = format!(
            "{{% set n = namespace(x=[]) %}}{{% for i in range({levels}) %}}{{% set n.x = [n.x] %}}{{% endfor %}}"
        );
        render(nested + used).map_err(|failure| failure.to_string())
    };
    for used in ["{{ n.x }}", "{{ n.x | tojson }}", "{{ n.x | pprint }}"] {
        assert!(of_levels(90, used).is_ok_and(|text| text.starts_with('[')), "{used}");
        assert!(of_levels(5_672, used).unwrap_err().contains("more than the 100 levels"), "{used}");
    }
}

#[test]
fn a_source_of_any_length_was_compiled() {
    assert_eq!(render("a".repeat(LONGEST_SOURCE)).unwrap().len(), LONGEST_SOURCE);
    let failure = render("a".repeat(LONGEST_SOURCE + 1)).unwrap_err().to_string();
    assert!(failure.contains("131073 bytes") && failure.contains("131072"), "{failure}");
}

/// What a run may well ask for: a prompt of a megabyte with some thousand turns.
#[test]
fn long_prompts_have_room() {
    let text = "word ".repeat(200_000);
    let turns: Vec<Value> = (0..2_000).map(|i| minijinja::context! { role => "user", content => i }).collect();
    let source = "{{ text | trim }}{% for turn in turns %}{% if turn.role == 'user' %}<{{ turn['content'] }}>{% endif %}{% endfor %}";
    assert_eq!(render("{{ '10000000000 of {}'.format(a) }}").as_deref(), Ok("10000000000 of text"));
    let compiled = Compiled::new(engine().unwrap(), source.into()).unwrap();
    let rendered = compiled.render(&minijinja::context! { text, turns }).unwrap();
    assert!(rendered.len() > 1_000_000 && rendered.ends_with("<1999>"));
}
