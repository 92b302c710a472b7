//! Which keys a query sees.
//!
//! Full attention sees every real token of its row. Block-causal attention cuts a row into blocks and sees those up to the
//! query's own. A pair of rows in one, `[x_t ; x_0]`, has the noisy tokens see their own block and the clean ones before it,
//! the clean tokens each other: every block of `x_t` is then predicted from a clean past, all in one pass (arXiv 2503.09573).

use std::ops::Range;

use candle_core::{Device, Result, Tensor};

use super::ops::gpu;

/// What the queries of a model see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// Every real token.
    Full,
    /// The blocks up to their own.
    Blocks(BlockGrid),
}

/// How rows are cut into blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockGrid {
    /// Tokens of a block.
    pub length: usize,
    /// Whether a block begins with the answer, whatever the prompt's length; else one begins with the row.
    pub from_answer: bool,
}

impl BlockGrid {
    /// Tokens that the first block of a row lacks, whose prompt has so many.
    pub fn lead(&self, prompt: usize) -> usize {
        if self.from_answer { (self.length - prompt % self.length) % self.length } else { 0 }
    }
}

/// Where the columns of a batch stand.
#[derive(Clone, Copy, Debug)]
pub struct Columns<'a> {
    /// Padding at the left of every row; in a pair, of both of its halves.
    pub pad: &'a [usize],
    /// Tokens that the first block of every row lacks; nothing where no row lacks any.
    pub lead: &'a [usize],
    /// Columns of a half, in a batch of pairs.
    pub half: Option<usize>,
}

/// Queries that see the same keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The queries, counted from the first of them all.
    pub queries: Range<usize>,
    /// The keys: one range, or two of which the second may be empty.
    pub keys: [Range<usize>; 2],
}

impl Run {
    /// Keys in both ranges.
    pub fn key_count(&self) -> usize {
        self.keys.iter().map(Range::len).sum()
    }
}

impl Columns<'_> {
    /// The place of a column within its half, and the half's first column.
    fn in_half(&self, column: usize) -> (usize, usize) {
        match self.half {
            Some(half) if column >= half => (column - half, half),
            _ => (column, 0),
        }
    }

    /// The keys that a query sees among the first `columns` columns of its row. A query of padding sees what its row's
    /// first token does.
    fn keys(&self, blocks: BlockGrid, row: usize, column: usize, columns: usize) -> [Range<usize>; 2] {
        let (pad, lead) = (self.pad[row], self.lead.get(row).copied().unwrap_or(0));
        let (column, start) = self.in_half(column);
        let block = (column.saturating_sub(pad) + lead) / blocks.length;
        let end = self.half.unwrap_or(columns);
        // where a block begins, as a column of its half
        let edge = |block: usize| (pad + (block * blocks.length).saturating_sub(lead)).min(end);
        match self.half {
            None => [pad..edge(block + 1), 0..0],
            Some(half) if start == 0 => [edge(block)..edge(block + 1), half + pad..half + edge(block)],
            Some(half) => [half + pad..half + edge(block + 1), 0..0],
        }
    }

    /// The queries of a row in `queries`, with the keys they see among the first `columns` columns.
    pub fn runs(&self, blocks: BlockGrid, row: usize, queries: Range<usize>, columns: usize) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        for (i, column) in queries.enumerate() {
            let keys = self.keys(blocks, row, column, columns);
            match runs.last_mut() {
                Some(run) if run.keys == keys => run.queries.end += 1,
                _ => runs.push(Run { queries: i..i + 1, keys }),
            }
        }
        runs
    }
}

/// What the queries of some columns see, where it is not everything.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Of every row.
    pub runs: Vec<Vec<Run>>,
    /// First and end of both ranges of every query for an accelerator's kernels, u32 `[B, W, 4]`; none on the host.
    pub uploaded: Option<Tensor>,
}

impl Seen {
    /// What the queries in some columns of a batch see among its first `columns` columns.
    pub fn of(
        blocks: BlockGrid,
        at: Columns<'_>,
        queries: Range<usize>,
        columns: usize,
        device: &Device,
    ) -> Result<Self> {
        let runs: Vec<Vec<Run>> = (0..at.pad.len()).map(|row| at.runs(blocks, row, queries.clone(), columns)).collect();
        let uploaded = match gpu::is_host(device) {
            true => None,
            false => {
                let ends = |run: &Run| run.keys.iter().flat_map(|keys| [keys.start as u32, keys.end as u32]).collect();
                let of_run = |run: &Run| -> Vec<u32> {
                    let ends: Vec<u32> = ends(run);
                    ends.repeat(run.queries.len())
                };
                let ends: Vec<u32> = runs.iter().flatten().flat_map(of_run).collect();
                Some(gpu::upload(&ends, (at.pad.len(), queries.len(), 4), device)?)
            }
        };
        Ok(Self { runs, uploaded })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOUR: BlockGrid = BlockGrid { length: 4, from_answer: false };

    /// Which keys every query sees, as strings of 0 and 1.
    fn mask(blocks: BlockGrid, at: Columns<'_>, columns: usize) -> Vec<String> {
        let runs = at.runs(blocks, 0, 0..columns, columns);
        assert_eq!(runs.iter().map(|run| run.queries.len()).sum::<usize>(), columns);
        let of = |run: &Run| {
            let sees = |key: usize| run.keys.iter().any(|keys| keys.contains(&key));
            let seen: String = (0..columns).map(|key| if sees(key) { '1' } else { '0' }).collect();
            std::iter::repeat_n(seen, run.queries.len())
        };
        runs.iter().flat_map(of).collect()
    }

    #[test]
    fn a_query_sees_the_blocks_up_to_its_own() {
        let at = Columns { pad: &[0], lead: &[], half: None };
        let two = BlockGrid { length: 2, ..FOUR };
        assert_eq!(mask(two, at, 5), ["11000", "11000", "11110", "11110", "11111"]);
        // blocks longer than the row are full attention, blocks of one causal
        assert_eq!(mask(BlockGrid { length: 9, ..FOUR }, at, 3), ["111"; 3]);
        assert_eq!(mask(BlockGrid { length: 1, ..FOUR }, at, 3), ["100", "110", "111"]);
    }

    #[test]
    fn padding_does_not_move_the_grid_and_a_lead_does() {
        let two = BlockGrid { length: 2, ..FOUR };
        let padded = mask(two, Columns { pad: &[1], lead: &[], half: None }, 6);
        assert_eq!(padded[1..], ["011000", "011000", "011110", "011110", "011111"]);
        let led = mask(two, Columns { pad: &[0], lead: &[1], half: None }, 5);
        assert_eq!(led, ["10000", "11100", "11100", "11111", "11111"]);
        let answer = BlockGrid { from_answer: true, ..FOUR };
        assert_eq!([0, 1, 3, 4, 6].map(|prompt| answer.lead(prompt)), [0, 3, 1, 0, 2]);
        assert_eq!(FOUR.lead(3), 0);
    }

    #[test]
    fn a_noisy_block_sees_itself_and_the_clean_ones_before_it() {
        let two = BlockGrid { length: 2, ..FOUR };
        let pair = mask(two, Columns { pad: &[0], lead: &[], half: Some(5) }, 10);
        assert_eq!(
            pair,
            [
                "1100000000",
                "1100000000",
                "0011011000",
                "0011011000",
                "0000111110", // noisy
                "0000011000",
                "0000011000",
                "0000011110",
                "0000011110",
                "0000011111", // clean
            ]
        );
        let padded = mask(two, Columns { pad: &[1], lead: &[1], half: Some(4) }, 8);
        assert_eq!(padded[1..4], ["01000000", "00110100", "00110100"]);
        assert_eq!(padded[5..], ["00000100", "00000111", "00000111"]);
    }
}
