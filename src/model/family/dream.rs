//! Dream (arXiv 2508.15487), DiffuCoder and Dream-Coder, read as `modeling_dream.py` of `Dream-org/Dream-v0-Instruct-7B`
//! reads them: Qwen2's decoder, bidirectional, whose predictions stay shifted by one as those of the model it began as.

use super::ids::FoundIds;
use super::keys::Keys;
use super::qwen::{self, Kind, NAMES};
use super::{Family, Grid};
use crate::model::gguf::Converted;
use crate::model::shape::Shape;

pub(super) static FAMILY: Family = Family {
    architectures: &["DreamModel"],
    name: "Dream",
    names: &NAMES,
    sizes: qwen::QWEN2_SIZES,
    grid: Grid::None,
    gguf: Some(Converted { architecture: "dream", interleaved: false }),
    read,
};

fn read(keys: &mut Keys<'_>) -> (Shape, FoundIds) {
    let (shape, ids) = qwen::read(keys, Kind::Qwen2, false);
    // a turn ends with a token of its own
    (Shape { shifted: true, ..shape }, FoundIds { end_tokens: &["<|im_end|>"], ..ids })
}
