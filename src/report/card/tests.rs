//! The text of cards.

use super::*;
use crate::config::{Command, Overrides, from_text, shipped};

fn config(name: &str, command: Command) -> Value {
    let text = shipped(name).expect("shipped");
    let config = from_text("a.toml".as_ref(), text, &Overrides::default(), command).expect("a config");
    config.to_json().expect("JSON")
}

fn rows() -> Vec<Row> {
    let evaluation = |step: usize, accuracy: f64, stderr: bool| {
        let mut row = Row::new(step);
        row.set("eval/t0.9/items", 88.0).set("eval/t0.9/accuracy", accuracy).set("eval/t0.9/solved", accuracy / 2.0);
        row.set("eval/t0.9/exact", 0.25).set("eval/t0.9/reward", accuracy);
        if stderr {
            row.set("eval/t0.9/accuracy_stderr", 0.0125);
        }
        row
    };
    let mut update = Row::new(1);
    update.set("reward", 0.5);
    vec![
        evaluation(0, 0.661, true),
        update,
        evaluation(40, 0.7, true),
        evaluation(80, 0.92, false),
        evaluation(120, 1.0, false),
    ]
}

#[test]
fn a_card_of_adapters_tells_base_data_method_figures_and_configuration() {
    let (config, rows) = (config("gsm8k", Command::Train), rows());
    let training = Training { command: "train", step: 80, config: &config, rows: &rows, revision: runtime::REVISION };
    let card = Card {
        kind: CardKind::Adapter,
        base: "GSAI-ML/LLaDA-8B-Instruct",
        commit: Some("08b83a6"),
        licence: Some("mit"),
        training: Some(training),
    };
    let text = card.text();
    let head = "---\nbase_model: GSAI-ML/LLaDA-8B-Instruct\nlibrary_name: peft\ntags:\n- spg\n- masked-diffusion\n- lora\n---\n";
    assert!(text.starts_with(head), "{text}");
    for part in [
        "\n# LoRA adapters for `GSAI-ML/LLaDA-8B-Instruct`\n",
        "| base model | `GSAI-ML/LLaDA-8B-Instruct`, commit `08b83a6` |\n",
        "| licence of the base model | `mit` |\n",
        "| task | `gsm8k` |\n| training data | `openai/gsm8k` (`main`, `train`) |\n",
        "| method | reinforcement learning with `spg` (`spg train`) |\n",
        "| updates | 80 of ",
        "| adapters | rank 128, alpha 64, modules `paper` |\n",
        &format!("| made with | spg {} |\n", runtime::VERSION),
        "On `validation` records, before and after:\n",
        "| `t0.9` | 0 | 88 | 66.1 % ± 1.2 | 33.1 % | 25.0 % | 0.661 |\n\
         | `t0.9` | 80 | 88 | 92.0 % | 46.0 % | 25.0 % | 0.920 |\n",
        "```toml\n[run]\nseed = 42\n",
        "\n[algorithm.spg]\n",
        "\nlearning_rate = ",
    ] {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
    for part in ["| `t0.9` | 40", "| `t0.9` | 120", "base_model` before", "output_dir", "[task"] {
        assert!(!text.contains(part), "{part:?} is in:\n{text}");
    }
    let start = text.find("```toml\n").expect("a fence") + 8;
    let toml = &text[start..start + text[start..].find("```").expect("its end")];
    let table: toml::Table = toml.parse().expect("TOML");
    assert_eq!(table["lora"]["r"].as_integer(), Some(128), "{toml}");
}

#[test]
fn a_folder_with_the_weights_of_the_base_has_its_licence() {
    let (config, rows) = (config("sudoku-tiny", Command::Train), rows());
    let training = Training { command: "train", step: 0, config: &config, rows: &rows, revision: "0ld" };
    let card = Card {
        kind: CardKind::Merged,
        base: "examples/sudoku-tiny",
        commit: None,
        licence: Some("mit"),
        training: Some(training),
    };
    let text = card.text();
    let head = "---\nbase_model: examples/sudoku-tiny\nlibrary_name: transformers\nlicense: mit\ntags:\n- spg\n- masked-diffusion\n---\n";
    assert!(text.starts_with(head), "{text}");
    for part in [
        "| training data | made by spg from seed ",
        "; trained by revision `0ld` |\n",
        "give its hub id as `base_model`",
        "| `t0.9` | 0 | 88 |",
    ] {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
    assert_eq!(text.matches("| `t0.9` |").count(), 1, "one evaluation is no pair:\n{text}");
}

#[test]
fn a_model_from_random_weights_has_no_base() {
    let config = config("sudoku-tiny-sft", Command::Sft);
    let training = Training { command: "sft", step: 7, config: &config, rows: &[], revision: runtime::REVISION };
    let card = Card {
        kind: CardKind::Model,
        base: "examples/sudoku-tiny",
        commit: None,
        licence: None,
        training: Some(training),
    };
    let text = card.text();
    assert!(text.starts_with("---\nlibrary_name: transformers\ntags:\n"), "{text}");
    assert!(text.contains("| weights at first | random;") && text.contains("(`spg sft`)"), "{text}");
    assert!(!text.contains("Held-out") && !text.contains("| adapters |"), "{text}");
}

#[test]
fn names_of_others_are_shown_and_not_obeyed() {
    let base = "a: [x]\n---\n# | `b`\u{1b}";
    let text = Card { kind: CardKind::Adapter, base, commit: None, licence: None, training: None }.text();
    assert!(text.starts_with("---\nbase_model: \"a: [x]\\\\n---\\\\n# | `b`\\\\u{1b}\"\nlibrary_name"), "{text}");
    assert!(text.contains("| base model | `a: [x]\\n---\\n# \\| 'b'\\u{1b}` |\n"), "{text}");
    assert!(!text.contains('\u{1b}') && text.matches("\n---\n").count() == 1, "{text}");
    let config = json!({ "train": { "note": "````" } });
    let training = Training { command: "train", step: 1, config: &config, rows: &[], revision: "x" };
    let card = Card { kind: CardKind::Adapter, base: "a/b", commit: None, licence: None, training: Some(training) };
    assert!(card.text().contains("\n`````toml\n"), "{}", card.text());
}
