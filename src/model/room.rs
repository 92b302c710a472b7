//! Whether a model's weights have room in main memory, said before the first of them is read: a machine that has too little
//! would swap for minutes, or the system would end the process without a word.

use candle_core::quantized::GgmlDType;
use candle_core::{DType, Device};

use super::family::Description;
use super::load::kept_dtype;
use crate::error::Usage;
use crate::runtime;

/// What a model's weights are called in messages.
pub const WEIGHTS: &str = "the weights";
/// What takes less; not every way is open to every run.
pub const SMALLER: &str = "take a smaller model, or keep its weights in fewer bits (bf16, q8_0, q6k, q4k)";
const GIB: f64 = (1_u64 << 30) as f64;

/// Bytes that the weights take at least, matrices in blocks of `format` if there is one.
pub fn weight_bytes(description: &Description, dtype: DType, format: Option<GgmlDType>, device: &Device) -> usize {
    let bytes = description.tensors().into_iter().map(|tensor| {
        // sizes that no memory holds must not wrap around
        let numbers = tensor.dims.iter().fold(1_usize, |product, &n| product.saturating_mul(n));
        match format.filter(|_| tensor.is_packed()) {
            Some(format) => (numbers / format.block_size()).saturating_mul(format.type_size()),
            None => numbers.saturating_mul(kept_dtype(&tensor, dtype, device).size_in_bytes()),
        }
    });
    bytes.fold(0, usize::saturating_add)
}

/// Whether the weights of a model have room on `device`, matrices in blocks of `format` if there is one.
///
/// # Errors
/// [`Usage`] that says what they take, what there is, and what takes less.
pub fn check_weights(
    description: &Description,
    dtype: DType,
    format: Option<GgmlDType>,
    device: &Device,
) -> Result<(), Usage> {
    check(WEIGHTS, weight_bytes(description, dtype, format, device), device, SMALLER)
}

/// Whether `what`, which takes so many bytes on `device`, fits into the memory of this machine. What an accelerator has is
/// not known here.
///
/// # Errors
/// [`Usage`] that says what it takes, what there is, and `instead`.
pub fn check(what: &str, bytes: usize, device: &Device, instead: &str) -> Result<(), Usage> {
    match runtime::memory_bytes() {
        Some(there) if device.is_cpu() => fits(what, bytes, there, instead),
        _ => Ok(()),
    }
}

fn fits(what: &str, bytes: usize, there: usize, instead: &str) -> Result<(), Usage> {
    if bytes <= there {
        return Ok(());
    }
    let gib = |bytes: usize| bytes as f64 / GIB;
    Err(Usage(format!("{what} alone take {:.1} GiB, and there are {:.1}: {instead}", gib(bytes), gib(there))))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{BlockFormat, PublishedShape};
    use crate::model::{Blocks, Decoder, Weights};

    #[test]
    fn weights_are_counted_before_they_are_loaded() -> anyhow::Result<()> {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/sudoku-tiny");
        let (described, cpu) = (Description::read(&dir)?, Device::Cpu);
        for dtype in [DType::F32, DType::BF16] {
            let model = Decoder::load(&dir, dtype, &cpu, Weights::Frozen)?;
            assert_eq!(weight_bytes(&described, dtype, None, &cpu), model.weight_bytes());
        }
        let model = Decoder::load_quantised(&dir, DType::F32, &cpu, Blocks::Pack(BlockFormat::Q8_0))?;
        assert_eq!(weight_bytes(&described, DType::F32, Some(GgmlDType::Q8_0), &cpu), model.weight_bytes());
        Ok(())
    }

    #[test]
    fn a_model_that_does_not_fit_was_loaded_until_the_system_ended_it() {
        let description = Description::from(PublishedShape::Llada8b);
        let bytes = |dtype, format| weight_bytes(&description, dtype, format, &Device::Cpu);
        let whole = bytes(DType::BF16, None);
        assert!(fits("the weights", whole, whole, "").is_ok());
        let text = fits("the weights", whole, 8 << 30, "take less").expect_err("8 GiB").0;
        assert_eq!(text, "the weights alone take 14.9 GiB, and there are 8.0: take less");
        assert!(bytes(DType::BF16, Some(GgmlDType::Q4K)) < 5 << 30);
        assert!(bytes(DType::F32, None) > 29 << 30);
    }
}
