//! The call of a kernel.

#[cfg(any(test, feature = "cuda", feature = "metal"))]
use candle_core::Device;
use candle_core::{Result, Tensor, bail};

use super::count;

/// Threads of a block: some warps.
pub(super) const BLOCK: usize = 128;
/// Lanes of a warp.
const LANES: usize = 32;

/// An argument.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(any(test, feature = "cuda", feature = "metal")), expect(dead_code))] // nobody to read it
pub(super) enum Argument<'a> {
    /// An array that is read.
    Input(&'a Tensor),
    /// An array that is written, and may be read.
    Output(&'a Tensor),
    /// A number of things, or of one.
    Whole(u32),
    /// A number.
    Number(f32),
}

/// A kernel with its arguments, in the order of its text.
#[derive(Debug)]
pub struct Launch<'a> {
    kernel: &'a str,
    threads: usize,
    arguments: Vec<Argument<'a>>,
}

impl<'a> Launch<'a> {
    /// Of one thread for each of so many things.
    pub fn new(kernel: &'a str, threads: usize) -> Self {
        Self { kernel, threads, arguments: Vec::new() }
    }

    /// Of a warp for each of so many rows.
    pub fn of_rows(kernel: &'a str, rows: usize) -> Self {
        Self::new(kernel, rows * LANES)
    }

    fn with(mut self, argument: Argument<'a>) -> Self {
        self.arguments.push(argument);
        self
    }

    /// Adds an array that is read.
    pub fn input(self, x: &'a Tensor) -> Self {
        self.with(Argument::Input(x))
    }

    /// Adds an array that is written, which nobody else may share.
    pub fn output(self, x: &'a Tensor) -> Self {
        self.with(Argument::Output(x))
    }

    /// Adds a size.
    ///
    /// # Errors
    /// If it has more than 32 bits: kernels count in them.
    pub fn size(self, size: usize) -> Result<Self> {
        match u32::try_from(size) {
            Ok(size) => Ok(self.with(Argument::Whole(size))),
            Err(_) => bail!("{size} is too much at once for the kernel {}: use smaller batches", self.kernel),
        }
    }

    /// Adds 32 bits.
    pub fn bits(self, bits: u32) -> Self {
        self.with(Argument::Whole(bits))
    }

    /// Adds a number.
    pub fn number(self, number: f32) -> Self {
        self.with(Argument::Number(number))
    }

    /// Starts the kernel where its arrays are.
    ///
    /// # Errors
    /// If an array is not contiguous, there are more threads than 32 bits can count, or the device refuses.
    pub fn run(self) -> Result<()> {
        let Self { kernel, threads, arguments } = self;
        let arrays = || {
            arguments.iter().filter_map(|argument| match argument {
                Argument::Input(x) | Argument::Output(x) => Some(*x),
                Argument::Whole(_) | Argument::Number(_) => None,
            })
        };
        if let Some(x) = arrays().find(|x| !x.is_contiguous()) {
            bail!("an argument of the kernel {kernel} is not contiguous: {:?}", x.layout());
        }
        let threads = threads.next_multiple_of(BLOCK);
        if u32::try_from(threads).is_err() {
            bail!("the kernel {kernel} cannot have {threads} threads: use smaller batches");
        }
        if threads == 0 {
            return Ok(());
        }
        count::launched();
        match arrays().next().map(Tensor::device) {
            #[cfg(feature = "cuda")]
            Some(Device::Cuda(device)) => super::cuda::run(device, kernel, threads, &arguments),
            #[cfg(feature = "metal")]
            Some(Device::Metal(device)) => super::metal::run(device, kernel, threads, &arguments),
            #[cfg(test)]
            Some(Device::Cpu) => super::host::run(kernel, threads, &arguments),
            device => bail!("the kernel {kernel} does not run on {device:?}"),
        }
    }
}
