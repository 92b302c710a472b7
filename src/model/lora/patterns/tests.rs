//! Which modules the patterns of an adapter pick, against a walk through the layers and PEFT's own choices.

use proptest::prelude::*;
use serde_json::json;

use super::*;

const LEAVES: [&str; 3] = ["q_proj", "up_proj", "ff_out"];

fn path(layer: usize, leaf: &str) -> String {
    format!("model.transformer.blocks.{layer}.{leaf}")
}

/// All paths of a model of 12 layers.
fn paths() -> Vec<String> {
    (0..12).flat_map(|layer| LEAVES.map(|leaf| path(layer, leaf))).collect()
}

fn targets(config: &Value) -> Result<Targets> {
    Targets::read(|key| config.get(key).cloned().unwrap_or(Value::Null))
}

/// The paths that a config names, without what they all begin with.
fn found(config: &Value) -> Vec<String> {
    let targets = targets(config).expect("a good config");
    let named = paths().into_iter().filter(|path| targets.find(path).expect("cheap").is_some());
    named.map(|path| path.replace("model.transformer.blocks.", "")).collect()
}

fn alphas(json: &Value) -> Result<ByModule<f64>> {
    ByModule::read("alpha_pattern", json, "a number", Value::as_f64)
}

fn alpha_of(json: &Value, path: &str) -> Option<f64> {
    alphas(json).expect("good patterns").get(path).expect("cheap")
}

#[test]
fn a_key_is_a_name_or_an_expression_for_the_end_of_a_path_and_the_first_counts() {
    let of = |json: Value| alpha_of(&json, &path(11, "q_proj"));
    assert_eq!(of(json!({ "q_proj": 1 })), Some(1.0));
    assert_eq!(of(json!({ "proj": 1, "_proj": 2, "q": 3, "1.q_proj": 4, "q_proj.weight": 5 })), None);
    assert_eq!(of(json!({ "11.q_proj": 1 })), Some(1.0));
    assert_eq!(of(json!({ "model.transformer.blocks.11.q_proj": 1 })), Some(1.0));
    assert_eq!(of(json!({ "up_proj|q_proj": 1 })), Some(1.0));
    assert_eq!(of(json!({ "^q_proj": 1, "^model.*q_proj": 2 })), Some(2.0));
    assert_eq!(of(json!({ r".*blocks\.1\.q_proj": 1, r".*blocks\.1\d\.q_proj": 2, "q_proj": 3 })), Some(2.0));
    assert_eq!(of(json!({ "q_proj": 3, r".*blocks\.1\d\.q_proj": 2 })), Some(3.0));
    // Python's, which other engines do not have
    assert_eq!(of(json!({ r"(?<=\.1\.)q_proj": 1, r"(?P<a>1)(?P=a)\.q_proj": 2 })), Some(2.0));
    assert_eq!(of(json!(null)), None);
}

#[test]
fn names_are_ends_of_paths_and_a_text_is_an_expression_for_all_of_it() {
    assert_eq!(
        found(&json!({ "target_modules": ["3.q_proj", "model.transformer.blocks.4.up_proj"] })),
        ["3.q_proj", "4.up_proj"]
    );
    assert!(found(&json!({ "target_modules": ["proj", "_proj", "", "blocks.3"] })).is_empty());
    assert_eq!(found(&json!({ "target_modules": "all-linear" })).len(), 36);
    assert_eq!(found(&json!({ "target_modules": r".*\.[23]\.(q|up)_proj" })).len(), 4);
    assert!(found(&json!({ "target_modules": "q_proj" })).is_empty());
    assert!(found(&json!({ "target_modules": r".*\.q_pro" })).is_empty());
    let list = |exclude: Value| found(&json!({ "target_modules": ["q_proj", "up_proj"], "exclude_modules": exclude }));
    assert_eq!(list(json!(["up_proj"])).len(), 12);
    assert_eq!(list(json!(r".*\.up_proj|.*\.1\d\..*")).len(), 10);
    assert_eq!(list(json!("")).len(), 24);
}

#[test]
fn layers_to_transform_are_counted_by_the_first_number_or_after_layers_pattern() {
    let of = |layers: Value, pattern: Value| {
        found(&json!({ "target_modules": ["q_proj"], "layers_to_transform": layers, "layers_pattern": pattern }))
    };
    assert_eq!(of(json!([1, 11]), json!(null)), ["1.q_proj", "11.q_proj"]);
    assert_eq!(of(json!(1), json!("blocks")), ["1.q_proj"]);
    assert_eq!(of(json!([1]), json!(["layers", "block.?"])), ["1.q_proj"]);
    assert!(of(json!([1]), json!("layers")).is_empty());
    assert_eq!(of(json!([]), json!(null)).len(), 12);
}

#[test]
fn weights_can_be_named_instead_of_modules() {
    let config = json!({ "target_modules": [], "target_parameters": ["2.q_proj.weight"] });
    assert_eq!(found(&config), ["2.q_proj"]);
    let targets = targets(&config).expect("good");
    // PEFT matches rank_pattern and alpha_pattern with the weight's name then
    assert_eq!(targets.find(&path(2, "q_proj")).expect("cheap"), Some(path(2, "q_proj") + ".weight"));
    assert!(targets.has_parameters());
}

#[test]
fn what_cannot_be_used_is_named_with_its_key() {
    for (json, expected) in [
        (json!({ "a(": 1 }), "alpha_pattern: \"a(\" is not a regular expression"),
        (json!({ "a": "8" }), "alpha_pattern: \"a\" has \"8\" instead of a number"),
        (json!([1]), "alpha_pattern = [1] is not an object"),
    ] {
        let text = format!("{:#}", alphas(&json).expect_err("unusable"));
        assert!(text.contains(expected), "{text}");
    }
    let endless = alphas(&json!({ r"((\w|\.|_)+)+\1!": 1 })).expect("an expression");
    let text = format!("{:#}", endless.get(&path(11, "q_proj")).expect_err("too many steps"));
    assert!(text.contains("alpha_pattern: ") && text.contains("write it more simply"), "{text}");
    for (json, expected) in [
        (json!({}), "target_modules is missing"),
        (json!({ "target_modules": 3 }), "target_modules = 3 is not a list of names"),
        (json!({ "target_modules": "(" }), "target_modules: \"(\" is not a regular expression"),
        (json!({ "target_modules": ["a"], "exclude_modules": "*" }), "exclude_modules: \"*\" is not a regular"),
        (json!({ "target_modules": ["a"], "layers_to_transform": [-1] }), "layers_to_transform = [-1] is neither"),
        (json!({ "target_modules": "a", "layers_to_transform": [1] }), "go with a list of target_modules"),
        (json!({ "target_modules": ["a"], "layers_pattern": "b" }), "without layers_to_transform"),
        (json!({ "target_modules": ["a"], "layers_to_transform": 1, "layers_pattern": "(" }), "layers_pattern: \"(\""),
    ] {
        let text = format!("{:#}", targets(&json).expect_err("unusable"));
        assert!(text.contains(expected), "{text}");
    }
}

/// A pattern whose meaning is known without an engine: some layers, some leaves.
#[derive(Clone, Debug)]
struct Known {
    layers: Option<Vec<usize>>,
    leaves: Vec<&'static str>,
}

impl Known {
    fn text(&self) -> String {
        let leaves = format!("({})", self.leaves.join("|"));
        match &self.layers {
            None => leaves,
            Some(layers) => {
                let layers: Vec<String> = layers.iter().map(usize::to_string).collect();
                format!(r"blocks\.({})\.{leaves}", layers.join("|"))
            }
        }
    }

    fn holds(&self, layer: usize, leaf: &str) -> bool {
        self.layers.as_ref().is_none_or(|layers| layers.contains(&layer)) && self.leaves.contains(&leaf)
    }
}

fn known() -> impl Strategy<Value = Known> {
    let layers = proptest::option::of(proptest::collection::vec(0usize..12, 1..4));
    let leaves = proptest::sample::subsequence(LEAVES.to_vec(), 1..=3);
    (layers, leaves).prop_map(|(layers, leaves)| Known { layers, leaves })
}

proptest! {
    #[test]
    fn patterns_pick_what_going_through_the_layers_picks(list in proptest::collection::vec(known(), 1..4)) {
        let json = list.iter().enumerate().map(|(i, known)| (known.text(), json!(i))).collect::<serde_json::Map<_, _>>();
        // of two equal keys JSON keeps the place of the first and the value of the last
        prop_assume!(json.len() == list.len());
        for layer in 0..12 {
            for leaf in LEAVES {
                let expected = list.iter().position(|known| known.holds(layer, leaf)).map(|i| i as f64);
                prop_assert_eq!(alpha_of(&Value::Object(json.clone()), &path(layer, leaf)), expected);
            }
        }
        let whole = json!({ "target_modules": format!(".*{}", list[0].text()) });
        let names: Vec<String> = (0..12)
            .flat_map(|layer| LEAVES.map(|leaf| (layer, leaf)))
            .filter(|&(layer, leaf)| list[0].holds(layer, leaf))
            .map(|(layer, leaf)| format!("{layer}.{leaf}"))
            .collect();
        prop_assert_eq!(found(&whole), names);
    }
}
