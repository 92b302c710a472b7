//! SDAR (arXiv 2510.06303) and TraDo, read as `modeling_sdar.py` of `JetLM/SDAR-1.7B-Chat` reads them: Qwen3's decoder with
//! an untied head, block-causal on a grid that is counted from the beginning of a row.

use super::ids::FoundIds;
use super::keys::Keys;
use super::qwen::{self, Kind, NAMES};
use super::{Family, Grid};
use crate::model::shape::Shape;

pub(super) static FAMILY: Family = Family {
    architectures: &["SDARForCausalLM"],
    name: "SDAR",
    names: &NAMES,
    sizes: qwen::QWEN3_SIZES,
    grid: Grid::OfRow,
    gguf: None,
    read,
};

fn read(keys: &mut Keys<'_>) -> (Shape, FoundIds) {
    let (shape, ids) = qwen::read(keys, Kind::Qwen3, false);
    (Shape { sight: keys.blocks_of_rows(), ..shape }, FoundIds { end_tokens: &["<|im_end|>", "<|endoftext|>"], ..ids })
}
