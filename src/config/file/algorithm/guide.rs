//! `examples/new-objective` holds: its file compiles as it stands, and the lines that it asks for make a method of it.

use serde::{Deserialize, Serialize};

use super::count;
use super::spg;
use crate::config::{AdvantageKind, Recipe};

#[path = "../../../../examples/new-objective/rloo.rs"]
mod rloo;

methods! {
    /// Sandwiched Policy Gradient.
    spg: Spg(SpgTable),
    /// REINFORCE, leave-one-out.
    rloo: Rloo(RlooTable),
}

/// The recipe of the guide's method, with its defaults.
pub fn recipe() -> Recipe {
    RlooTable::default().recipe()
}

#[test]
fn the_guide_s_file_and_lines_make_a_method() {
    let table: AlgorithmTable = toml::from_str("rloo = { num_t = 4 }").unwrap();
    assert_eq!((table.name(), AlgorithmTable::NAMES), ("rloo", &["spg", "rloo"][..]));
    assert_eq!(table.recipe().advantage, AdvantageKind::LeaveOneOut);
    assert!(toml::from_str::<AlgorithmTable>("rloo = { psi = 1 }").is_err(), "unknown keys are refused");
    let both = toml::from_str::<AlgorithmTable>("rloo = {}\nspg = {}").unwrap_err().to_string();
    assert!(both.contains("[algorithm.spg] and [algorithm.rloo]"), "{both}");

    // the page asks for the very lines of this file
    let page = include_str!("../../../../examples/new-objective/README.md");
    for line in ["mod rloo;", "rloo: Rloo(RlooTable),"] {
        assert!(page.lines().any(|l| l.trim() == line), "{line}");
        assert!(include_str!("guide.rs").lines().any(|l| l.trim() == line), "{line}");
    }
    for place in page.split('`').filter(|word| word.starts_with("src/") && !word.ends_with("rloo.rs")) {
        assert!(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(place).exists(), "{place}");
    }
}
