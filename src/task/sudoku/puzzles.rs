//! Making puzzles: which grids are held out, and which cells of a grid are emptied.

use std::ops::RangeInclusive;

use super::grid::{Cells, all_grids, has_one_solution, without};
use crate::rng::{Key, Purpose};

/// A puzzle and its only solution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Puzzle {
    /// The cells as given; 0 is empty.
    pub given: Cells,
    /// The complete grid.
    pub solution: Cells,
}

/// A grid has fewer puzzles than were asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted {
    /// The number of puzzles it has.
    pub available: usize,
}

/// The numbers of the 288 grids in a random order that only the seed decides. The first ones are for
/// training, the others held out.
pub fn shuffled_grids(data_seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..all_grids().len()).collect();
    Key::new(data_seed, Purpose::Split).rng().shuffle(&mut order);
    order
}

/// Makes puzzles with a number of empty cells in a given range.
pub struct PuzzleMaker {
    data_seed: u64,
    grids: Vec<Cells>,
    /// For every allowed number of empty cells, all ways to choose them, one bit a cell.
    choices: Vec<Vec<u16>>,
}

impl PuzzleMaker {
    /// A maker of puzzles with this many empty cells.
    pub fn new(data_seed: u64, empty_cells: RangeInclusive<usize>) -> Self {
        let of_size = |k: usize| (0..=u16::MAX).filter(|mask| mask.count_ones() as usize == k).collect();
        Self { data_seed, grids: all_grids(), choices: empty_cells.map(of_size).collect() }
    }

    /// Distinct puzzles of one grid, each with one solution; the number of empty cells is uniform over
    /// the range as long as every number has puzzles left. Asking for more keeps those given for fewer.
    ///
    /// Cells are drawn without replacement from all choices there are, so the work is bounded, no puzzle
    /// comes twice and a failure means that there really are no more.
    ///
    /// # Errors
    /// [`Exhausted`] with the number of puzzles the grid has.
    pub fn of_grid(&self, grid: usize, wanted: usize) -> Result<Vec<Puzzle>, Exhausted> {
        let mut rng = Key::new(self.data_seed, Purpose::Record).prompt(grid).rng();
        let solution = self.grids[grid];
        let mut left = self.choices.clone();
        let mut puzzles = Vec::new();
        while puzzles.len() < wanted {
            if left.is_empty() {
                return Err(Exhausted { available: puzzles.len() });
            }
            let size = rng.below(left.len());
            let given = loop {
                if left[size].is_empty() {
                    left.remove(size);
                    break None;
                }
                let drawn = rng.below(left[size].len());
                let given = without(&solution, left[size].swap_remove(drawn));
                if has_one_solution(&given) {
                    break Some(given);
                }
            };
            puzzles.extend(given.map(|given| Puzzle { given, solution }));
        }
        Ok(puzzles)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn empty_cells(puzzle: &Puzzle) -> usize {
        puzzle.given.iter().filter(|&&digit| digit == 0).count()
    }

    #[test]
    fn the_order_of_grids_is_a_permutation_that_the_seed_decides() {
        let mut order = shuffled_grids(3);
        assert_eq!(order, shuffled_grids(3));
        assert_ne!(order, shuffled_grids(4));
        order.sort_unstable();
        assert_eq!(order, (0..288).collect::<Vec<_>>());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn puzzles_are_distinct_solvable_one_way_and_within_the_range(
            seed: u64, grid in 0usize..288, min in 1usize..=12, span in 0usize..=11,
        ) {
            let max = (min + span).min(12);
            let maker = PuzzleMaker::new(seed, min..=max);
            let puzzles = maker.of_grid(grid, 12).unwrap();
            prop_assert_eq!(puzzles.iter().map(|p| p.given).collect::<HashSet<_>>().len(), 12);
            for puzzle in &puzzles {
                prop_assert!((min..=max).contains(&empty_cells(puzzle)));
                prop_assert!(has_one_solution(&puzzle.given));
                prop_assert!(puzzle.given.iter().zip(puzzle.solution).all(|(&g, s)| g == 0 || g == s));
                prop_assert_eq!(puzzle.solution, all_grids()[grid]);
            }
            prop_assert_eq!(&maker.of_grid(grid, 5).unwrap()[..], &puzzles[..5]);
        }
    }

    #[test]
    fn the_number_of_empty_cells_is_uniform() {
        let maker = PuzzleMaker::new(0, 6..=9);
        let mut counts = [0; 4];
        for grid in 0..288 {
            for puzzle in maker.of_grid(grid, 10).unwrap() {
                counts[empty_cells(&puzzle) - 6] += 1;
            }
        }
        // chi-square with 3 degrees of freedom, p = 0.001
        let chi: f64 = counts.iter().map(|&c| (f64::from(c) - 720.0).powi(2) / 720.0).sum();
        assert!(chi < 16.27, "{counts:?}");
    }

    #[test]
    fn asking_for_more_puzzles_than_there_are_ends() {
        // one empty cell can be chosen in 16 ways, and all of them have one solution
        assert_eq!(PuzzleMaker::new(0, 1..=1).of_grid(5, 16).unwrap().len(), 16);
        assert_eq!(PuzzleMaker::new(0, 1..=1).of_grid(5, 17), Err(Exhausted { available: 16 }));
        // three clues never suffice
        assert_eq!(PuzzleMaker::new(0, 13..=13).of_grid(5, 1), Err(Exhausted { available: 0 }));
    }

    #[test]
    fn a_size_that_runs_out_leaves_the_others() {
        let puzzles = PuzzleMaker::new(0, 1..=2).of_grid(0, 100).unwrap();
        let single = puzzles.iter().filter(|p| empty_cells(p) == 1).count();
        assert_eq!((single, puzzles.len()), (16, 100));
    }
}
