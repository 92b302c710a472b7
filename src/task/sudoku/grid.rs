//! 4x4 grids: all the valid ones, and how many solutions a puzzle has.

use std::ops::ControlFlow;

/// The 16 cells of a grid, row after row; 0 is an empty one.
pub type Cells = [u8; 16];

/// All 288 complete grids, in lexicographic order of their digits (a fixed order: splits depend on it).
pub fn all_grids() -> Vec<Cells> {
    let mut grids = Vec::new();
    let _ = fill(&mut [0; 16], 0, &mut |grid| {
        grids.push(*grid);
        ControlFlow::Continue(())
    });
    grids
}

/// Whether exactly one complete grid agrees with the digits of `puzzle`, which must not contradict
/// one another.
pub fn has_one_solution(puzzle: &Cells) -> bool {
    let mut solutions = 0;
    // Two are as good as many, so the search stops there.
    let _ = fill(&mut puzzle.clone(), 0, &mut |_| {
        solutions += 1;
        if solutions < 2 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    solutions == 1
}

/// `grid` without the cells whose bit is set in `empty`.
pub fn without(grid: &Cells, empty: u16) -> Cells {
    std::array::from_fn(|i| if empty >> i & 1 == 1 { 0 } else { grid[i] })
}

/// The digits as text.
pub fn text(cells: &Cells) -> String {
    cells.iter().map(|&digit| char::from(b'0' + digit)).collect()
}

/// Visits every completion of `cells` whose empty cells all lie at `from` or later.
fn fill(cells: &mut Cells, from: usize, visit: &mut impl FnMut(&Cells) -> ControlFlow<()>) -> ControlFlow<()> {
    let Some(cell) = (from..16).find(|&i| cells[i] == 0) else { return visit(cells) };
    for digit in 1..=4 {
        if (0..16).all(|other| cells[other] != digit || !share_a_unit(cell, other)) {
            cells[cell] = digit;
            fill(cells, cell + 1, visit)?;
            cells[cell] = 0;
        }
    }
    ControlFlow::Continue(())
}

/// Whether two cells lie in one row, column or 2x2 box.
fn share_a_unit(a: usize, b: usize) -> bool {
    let place = |i: usize| (i / 4, i % 4);
    let ((row_a, column_a), (row_b, column_b)) = (place(a), place(b));
    row_a == row_b || column_a == column_b || (row_a / 2 == row_b / 2 && column_a / 2 == column_b / 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The rows, columns and boxes, written out.
    const UNITS: [[usize; 4]; 12] = [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [8, 9, 10, 11],
        [12, 13, 14, 15],
        [0, 4, 8, 12],
        [1, 5, 9, 13],
        [2, 6, 10, 14],
        [3, 7, 11, 15],
        [0, 1, 4, 5],
        [2, 3, 6, 7],
        [8, 9, 12, 13],
        [10, 11, 14, 15],
    ];

    #[test]
    fn there_are_288_valid_grids_in_order() {
        let grids = all_grids();
        assert_eq!(grids.len(), 288);
        assert!(grids.is_sorted() && grids.windows(2).all(|pair| pair[0] != pair[1]));
        for grid in &grids {
            for unit in UNITS {
                let mut digits = unit.map(|i| grid[i]);
                digits.sort_unstable();
                assert_eq!(digits, [1, 2, 3, 4], "{}", text(grid));
            }
        }
        assert_eq!(text(&grids[0]), "1234341221434321");
    }

    proptest! {
        #[test]
        fn one_solution_is_what_a_look_at_every_grid_says(grid in 0usize..288, empty: u16) {
            let grids = all_grids();
            let puzzle = without(&grids[grid], empty);
            let agrees = |g: &&Cells| puzzle.iter().zip(*g).all(|(&clue, &digit)| clue == 0 || clue == digit);
            prop_assert_eq!(has_one_solution(&puzzle), grids.iter().filter(agrees).count() == 1);
        }
    }
}
