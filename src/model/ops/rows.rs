//! Rows that are added to chosen rows of a tensor.

use candle_core::{Result, Tensor};

use super::cpu;

/// `sum[at[i]] += x[i]`, in the memory of `sum` where kernels serve it, which nobody else may share.
///
/// # Shapes
/// `sum` `[N, D]`, `x` `[n, D]`; `at` has `n` rows of `sum`, ascending, and `at_there` the same as a tensor u32 `[n]` on
/// the device.
pub fn added(sum: Tensor, x: &Tensor, at: &[u32], at_there: &Tensor) -> Result<Tensor> {
    if !cpu::serves(&sum) || !cpu::serves(x) {
        return sum.index_add(at_there, x, 0);
    }
    let d = sum.dim(1)?;
    let xs = cpu::View::new(x)?;
    let xs: &[f32] = &xs;
    cpu::modify(&sum, |sum| {
        cpu::for_rows(sum, d, |first, rows| {
            let rows_end = first + rows.len() / d;
            let from = at.partition_point(|&row| (row as usize) < first);
            for (i, &row) in at.iter().enumerate().skip(from).take_while(|(_, row)| (**row as usize) < rows_end) {
                let row = &mut rows[(row as usize - first) * d..][..d];
                row.iter_mut().zip(&xs[i * d..][..d]).for_each(|(sum, x)| *sum += x);
            }
        });
    })?;
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::super::testing::*;
    use super::*;

    #[test]
    fn fused_equals_composed() -> Result<()> {
        let (sum, x, at) = (random(1, (700, 40))?, random(2, (300, 40))?, (0..300).map(|i| 2 * i + i / 200));
        let at: Vec<u32> = at.collect();
        let there = Tensor::new(&at[..], &Device::Cpu)?;
        let wide = |t: &Tensor| t.to_dtype(DType::F64);
        let composed = added(wide(&sum)?, &wide(&x)?, &at, &there)?;
        assert_close(&added(sum.copy()?, &x, &at, &there)?, &composed, 1e-6);
        assert_eq!(
            added(sum.copy()?, &x.narrow(0, 0, 0)?, &[], &there.narrow(0, 0, 0)?)?.to_vec2::<f32>()?,
            sum.to_vec2::<f32>()?
        );
        Ok(())
    }
}
