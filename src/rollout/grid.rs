//! Which tokens of a canvas a block has.

use std::ops::Range;

use crate::model::{BlockGrid, Sight};

/// The blocks of a canvas. Most begin with the canvas; where a model counts them from the beginning of a row, the first one
/// may have begun in the prompt, and the last one be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Tokens of the canvas.
    pub canvas: usize,
    /// Tokens of a whole block.
    pub length: usize,
    /// Tokens of the first block that are the prompt's.
    pub begun: usize,
}

impl Grid {
    /// The blocks of `length` of a canvas behind a prompt, for a model that sees so much.
    pub fn of(canvas: usize, length: usize, prompt: usize, sight: Sight) -> Self {
        Self { canvas, length, begun: Self::begun(prompt, sight) }
    }

    /// Tokens of the first block of a canvas that are those of a prompt of this length.
    pub fn begun(prompt: usize, sight: Sight) -> usize {
        match sight {
            Sight::Blocks(BlockGrid { length, from_answer: false }) => prompt % length,
            Sight::Full | Sight::Blocks(_) => 0,
        }
    }

    /// Blocks of the canvas.
    pub fn blocks(&self) -> usize {
        (self.begun + self.canvas).div_ceil(self.length)
    }

    /// The canvas's tokens in a block.
    pub fn span(&self, block: usize) -> Range<usize> {
        let start = (block * self.length).saturating_sub(self.begun);
        start..((block + 1) * self.length).saturating_sub(self.begun).min(self.canvas)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ABSOLUTE: Sight = Sight::Blocks(BlockGrid { length: 4, from_answer: false });

    #[test]
    fn the_first_block_may_have_begun_in_the_prompt() {
        let spans = |grid: Grid| (0..grid.blocks()).map(|block| grid.span(block)).collect::<Vec<_>>();
        assert_eq!(spans(Grid::of(8, 4, 7, Sight::Full)), [0..4, 4..8]);
        assert_eq!(spans(Grid::of(8, 4, 8, ABSOLUTE)), [0..4, 4..8]);
        assert_eq!(spans(Grid::of(8, 4, 7, ABSOLUTE)), [0..1, 1..5, 5..8]);
        let answer = Sight::Blocks(BlockGrid { length: 4, from_answer: true });
        assert_eq!(spans(Grid::of(8, 4, 7, answer)), [0..4, 4..8]);
    }

    proptest! {
        #[test]
        fn blocks_fill_the_canvas_once(canvas in 1usize..40, prompt in 0usize..20) {
            let grid = Grid::of(canvas, 4, prompt, ABSOLUTE);
            let places: Vec<usize> = (0..grid.blocks()).flat_map(|block| grid.span(block)).collect();
            prop_assert_eq!(places, (0..canvas).collect::<Vec<_>>());
            prop_assert!((0..grid.blocks()).all(|block| !grid.span(block).is_empty()));
        }
    }
}
