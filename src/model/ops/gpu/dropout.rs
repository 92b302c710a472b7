//! Dropout whose random words a kernel draws, where and when it needs them: no mask is made or kept.

use candle_core::{DType, Result, Tensor, bail};

use super::{Launch, empty, named};
use crate::model::ops::dropout::{scale_of, threshold};

/// What all adapters of a pass share: which random words the rows of a tensor have.
#[derive(Clone, Debug)]
pub struct Rows {
    /// A key a row of the batch, u32 `[B, 8]`.
    pub keys: Tensor,
    /// The row of the batch, u32 `[N]`.
    pub row_of: Tensor,
    /// The column behind the first real token, u32 `[N]`; [`PADDING`] for padding, which is dropped.
    pub column_of: Tensor,
}

/// Stands for the column of padding.
pub const PADDING: u32 = u32::MAX;

/// Which elements of `[N, width]` are kept: those whose words, element by element from a row's first real token on, reach
/// the probability, as in [`crate::model::ops::dropout::Dropout`].
#[derive(Clone, Debug)]
pub struct Dropout {
    /// The words' places.
    pub rows: Rows,
    /// Which of the keys' streams.
    pub stream: u64,
    /// The probability of dropping.
    pub p: f64,
}

impl Dropout {
    /// `x` with what is dropped multiplied by 0, the rest by `1 / (1 - p)`, in f32.
    ///
    /// # Shapes
    /// `x` `[N, width]`.
    pub fn apply(&self, x: &Tensor) -> Result<Tensor> {
        let out = empty(x.shape(), DType::F32, x.device())?;
        self.run(&named("dropped", &[x.dtype()])?, x, &out)?;
        Ok(out)
    }

    /// Adds what [`Dropout::apply`] makes of `x` to `sum`, in its memory.
    ///
    /// # Shapes
    /// Both `[N, width]`, `x` f32.
    pub fn add(&self, sum: &Tensor, x: &Tensor) -> Result<()> {
        if x.dtype() != DType::F32 || sum.shape() != x.shape() {
            bail!("dropout of {:?} in {:?} cannot be added to {:?}", x.shape(), x.dtype(), sum.shape());
        }
        self.run(&named("add_dropped", &[sum.dtype()])?, x, sum)
    }

    fn run(&self, kernel: &str, x: &Tensor, out: &Tensor) -> Result<()> {
        let (n, width) = x.dims2()?;
        let Rows { keys, row_of, column_of } = &self.rows;
        if row_of.dims() != [n] {
            bail!("dropout of {:?} rows is not for {:?}", row_of.dims(), x.shape());
        }
        // 16 words a thread, a block of ChaCha
        let launch = Launch::new(kernel, n * width.div_ceil(16)).input(x).output(out);
        let launch = launch.input(keys).input(row_of).input(column_of);
        let launch = launch.bits(self.stream as u32).bits((self.stream >> 32) as u32).size(n)?.size(width)?;
        launch.bits(threshold(self.p as f32)).number(scale_of(self.p)).run()
    }
}
