//! Which hidden states of a batch are asked for: those of some columns, or of some places in them.

use std::ops::Range;

/// The row of a batch, and the column.
pub type Place = (usize, usize);

/// What the last block of a pass computes. Its queries stand for the same columns in every row; whatever goes row by row,
/// which is all but attention itself, is done for the places only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    pub(super) columns: Range<usize>,
    /// In these columns; none for all of them, row after row.
    pub(super) places: Option<Vec<Place>>,
}

impl Window {
    /// Some places, in any order.
    ///
    /// # Panics
    /// If there is no place, or one is there twice: its queries would be added up.
    pub fn of(places: Vec<Place>) -> Self {
        let mut sorted = places.clone();
        sorted.sort_unstable();
        assert!(sorted.windows(2).all(|pair| pair[0] != pair[1]), "a place of a window is there once");
        let columns = || places.iter().map(|&(_, column)| column);
        let first = columns().min().expect("a window has places");
        let last = columns().max().expect("a window has places");
        Self { columns: first..last + 1, places: Some(places) }
    }
}

/// All places of some columns.
impl From<Range<usize>> for Window {
    fn from(columns: Range<usize>) -> Self {
        Self { columns, places: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_those_of_the_places() {
        assert_eq!(Window::of(vec![(1, 5), (0, 3), (1, 4)]).columns, 3..6);
    }

    #[test]
    #[should_panic(expected = "is there once")]
    fn a_place_that_is_there_twice_is_refused() {
        Window::of(vec![(1, 5), (0, 3), (1, 5)]);
    }
}
