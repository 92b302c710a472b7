//! What a sampler has to know of rows of logits, without the rows leaving the device.

use candle_core::{DType, Result, Tensor};

use super::{Launch, download, empty, upload};

/// Words of a part, as the kernel has them.
pub const PART: usize = 1024;
/// Words of a grain.
pub const GRAIN: usize = 128;
const GRAINS: usize = PART / GRAIN;
const FIGURES: usize = 7;

/// Sums over a part of a row, relative to its own largest logits.
#[derive(Clone, Copy, Debug)]
pub struct PartSums {
    /// The largest logit.
    pub top: f32,
    /// `sum exp(l - top)`; NaN if a logit is.
    pub total: f32,
    /// `sum (l - top) exp(l - top)`.
    pub weighted: f32,
    /// The largest logit but the excluded one.
    pub best: f32,
    /// Its word.
    pub word: usize,
    /// The largest but for these two.
    pub second: f32,
    /// `sum exp((l - best) / temperature)`, the excluded one aside.
    pub tempered: f32,
}

/// Rows of logits on the device, with their sums.
#[derive(Debug)]
pub struct Rows {
    logits: Tensor, // [n, V], f32
    grains: Tensor, // [n, parts * GRAINS]
    parts: usize,
    sums: Vec<f32>, // [FIGURES, n, parts]
}

impl Rows {
    /// Sums up rows of logits; `inverse_temperature` is that of the tempered sums.
    ///
    /// # Shapes
    /// `logits` f32 `[n, V]`.
    pub fn of(logits: Tensor, excluded: usize, inverse_temperature: f32) -> Result<Self> {
        let (n, words) = logits.dims2()?;
        let parts = words.div_ceil(PART);
        let sums = empty((FIGURES, n, parts), DType::F32, logits.device())?;
        let grains = empty((n, parts * GRAINS), DType::F32, logits.device())?;
        let launch = Launch::of_rows("tally", n * parts).input(&logits).output(&sums).output(&grains);
        launch.size(n)?.size(words)?.size(excluded)?.number(inverse_temperature).run()?;
        let sums = download(&sums)?;
        Ok(Self { logits, grains, parts, sums })
    }

    /// The sums of a row's parts.
    pub fn parts(&self, row: usize) -> impl Iterator<Item = PartSums> + '_ {
        let all = self.sums.len() / FIGURES;
        (row * self.parts..(row + 1) * self.parts).map(move |at| {
            let [top, total, weighted, best, word, second, tempered] =
                std::array::from_fn(|figure| self.sums[figure * all + at]);
            PartSums { top, total, weighted, best, word: word as usize, second, tempered }
        })
    }

    /// Sums of the grains of a part of every row: [`GRAINS`] a row, as addends of [`PartSums::tempered`].
    pub fn grains(&self, parts: &[usize]) -> Result<Vec<Vec<f32>>> {
        gathered(&self.grains, &parts.iter().map(|part| part * GRAINS).collect::<Vec<_>>(), GRAINS)
    }

    /// Logits of a grain of every row, which begins at these words; fewer at the end of the vocabulary.
    pub fn logits(&self, firsts: &[usize]) -> Result<Vec<Vec<f32>>> {
        gathered(&self.logits, firsts, GRAIN)
    }
}

/// `count` neighbouring columns of every row, from `firsts` on, as far as there are columns.
fn gathered(x: &Tensor, firsts: &[usize], count: usize) -> Result<Vec<Vec<f32>>> {
    let columns = x.dim(1)?;
    let column = |first: usize| move |i: usize| (first + i).min(columns - 1) as u32;
    let index: Vec<u32> = firsts.iter().flat_map(|&first| (0..count).map(column(first))).collect();
    let index = upload(&index, (firsts.len(), count), x.device())?;
    super::noted(1);
    let found = download(&x.gather(&index, 1)?)?;
    let cut = |(row, &first): (&[f32], &usize)| row[..count.min(columns - first)].to_vec();
    Ok(found.chunks(count).zip(firsts).map(cut).collect())
}
