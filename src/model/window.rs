//! Which hidden states of a batch are asked for: those of some columns, or of some places in them.

use std::collections::HashMap;
use std::ops::Range;

use candle_core::{Result, Tensor};

use super::ops::gpu;

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

/// Where a model reads its predictions of some tokens: the places to compute, and which of them each prediction is.
///
/// Most models predict the token at a place from that place. In others predictions are shifted by one: the token at a place
/// is predicted from the place before it, the first token of a row from its own. Nothing else knows of that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Predictions {
    window: Window,
    /// For every prediction, which of the window's places it is read from.
    index: Vec<u32>,
}

impl Predictions {
    /// Of the tokens at `places`, in any order; a place may be there more than once. `pad` has the padding of every row.
    ///
    /// # Panics
    /// If there is no place.
    pub fn of(places: &[Place], pad: &[usize], shifted: bool) -> Self {
        let (mut found, mut unlike) = (HashMap::new(), Vec::new());
        let index = places.iter().map(|&place| {
            let from = read_from(place, pad, shifted);
            *found.entry(from).or_insert_with(|| {
                unlike.push(from);
                unlike.len() as u32 - 1
            })
        });
        let index = index.collect();
        Self { window: Window::of(unlike), index }
    }

    /// What the last layer has to compute.
    pub fn window(&self) -> &Window {
        &self.window
    }

    /// For every prediction, which of the window's places it is read from.
    pub fn index(&self) -> &[u32] {
        &self.index
    }

    /// Whether predictions are the places, one by one.
    fn is_plain(&self) -> bool {
        self.index.iter().enumerate().all(|(i, &at)| at as usize == i)
    }

    /// Hidden states of the places, `[N', D]`, to those of the predictions, `[N, D]`.
    pub fn spread(&self, x: Tensor) -> Result<Tensor> {
        if self.is_plain() {
            return Ok(x);
        }
        gpu::noted(1);
        x.index_select(&gpu::upload(&self.index, self.index.len(), x.device())?, 0)
    }

    /// The transpose of [`Predictions::spread`].
    pub fn gathered(&self, dx: Tensor) -> Result<Tensor> {
        if self.is_plain() {
            return Ok(dx);
        }
        let places = self.index.iter().max().map_or(0, |last| *last as usize + 1);
        gpu::noted(2);
        let zeros = Tensor::zeros((places, dx.dim(1)?), dx.dtype(), dx.device())?;
        zeros.index_add(&gpu::upload(&self.index, self.index.len(), dx.device())?, &dx, 0)
    }
}

fn read_from((row, column): Place, pad: &[usize], shifted: bool) -> Place {
    (row, if shifted && column > pad[row] { column - 1 } else { column })
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
    fn a_shifted_prediction_is_read_from_the_place_before_it() {
        let pad = [0, 3];
        let shifted = Predictions::of(&[(0, 5), (1, 3), (0, 0), (0, 1), (1, 4)], &pad, true);
        // the first place of a row, padded or not, has none before it
        assert_eq!(shifted.window(), &Window::of(vec![(0, 4), (1, 3), (0, 0)]));
        assert_eq!(shifted.index(), [0, 1, 2, 2, 1]);
        let plain = Predictions::of(&[(0, 5), (1, 3)], &pad, false);
        assert_eq!((plain.window(), plain.index()), (&Window::of(vec![(0, 5), (1, 3)]), &[0, 1][..]));
    }

    #[test]
    fn gathering_is_the_transpose_of_spreading() -> Result<()> {
        use super::super::ops::testing::random;
        for shifted in [false, true] {
            let predictions = Predictions::of(&[(0, 0), (0, 3), (0, 1), (0, 3)], &[0], shifted);
            let places = predictions.window().places.as_ref().map_or(0, Vec::len);
            let (x, y) = (random(1, (places, 3))?, random(2, (4, 3))?);
            let dot = |a: &Tensor, b: &Tensor| (a * b)?.sum_all()?.to_scalar::<f32>();
            let there = dot(&predictions.spread(x.clone())?, &y)?;
            let back = dot(&x, &predictions.gathered(y)?)?;
            assert!((there - back).abs() < 1e-5, "{there} is not {back}");
        }
        Ok(())
    }

    #[test]
    #[should_panic(expected = "is there once")]
    fn a_place_that_is_there_twice_is_refused() {
        Window::of(vec![(1, 5), (0, 3), (1, 5)]);
    }
}
