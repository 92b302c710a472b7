//! All products of a sum into one buffer, on the CPU.

use std::borrow::Cow;

use candle_core::{Layout, Result, Storage, StorageRef, Tensor};
use half::bf16;

use super::super::cpu;
use super::operands::{Left, Numbers, Out, Right as Operand, Term, Values};
use super::{Panels, Product, Quantised, Right, plain, rounded};
use crate::profile;

/// `start + sum of products`, `[n, m]`.
pub fn fused(start: Option<&Tensor>, products: &[Product<'_>], n: usize, m: usize) -> Result<Tensor> {
    let mut out: Vec<f32> = match start {
        Some(start) if start.dims() != [n, m] => {
            candle_core::bail!("start is {:?}, the products [{n}, {m}]", start.dims())
        }
        Some(start) => cpu::copied(&cpu::View::new(start)?),
        None => Vec::with_capacity(n * m),
    };
    for product in products {
        let sizes = product.sizes()?;
        if [sizes[0], sizes[2]] != [n, m] {
            candle_core::bail!("a product is [{}, {}] instead of [{n}, {m}]", sizes[0], sizes[2]);
        }
    }
    let to = Out { start: out.as_mut_ptr(), stride: m, accumulate: start.is_some() };
    // SAFETY: `out` has room for `n * m` numbers, which are a copy of `start` where they are added to.
    unsafe {
        multiply(to, [n, m], products)?;
        out.set_len(n * m);
    }
    cpu::tensor(out, (n, m))
}

/// `out += product`; `out` holds as many numbers.
pub fn add(out: &mut [f32], product: &Product<'_>) -> Result<()> {
    let [n, _, m] = product.sizes()?;
    let to = Out { start: out.as_mut_ptr(), stride: m, accumulate: true };
    // SAFETY: the caller checked the size of `out`, which is borrowed mutably.
    unsafe { multiply(to, [n, m], std::slice::from_ref(product)) }
}

/// The sum of products of these sizes, into `out`: neighbours that one kernel can add up go into it together.
///
/// # Safety
/// `out` has room for `n` rows of `m` numbers, initialised when it accumulates. They all are afterwards, unless there
/// is an error.
unsafe fn multiply(out: Out, [n, m]: [usize; 2], products: &[Product<'_>]) -> Result<()> {
    let together = |product: &Product<'_>| match product.b {
        Right::Quantised(weight) => product.rounded && weight.is_read_as_it_is(),
        Right::Dense(_) | Right::Panels(_) => product.rounded,
    };
    for (i, run) in products.chunk_by(|a, b| together(a) && together(b)).enumerate() {
        let out = Out { accumulate: out.accumulate || i > 0, ..out };
        let lefts: Vec<cpu::View<'_>> = run.iter().map(|p| cpu::View::new(p.a)).collect::<Result<_>>()?;
        let rights: Vec<Held<'_>> = run.iter().map(|p| Held::new(p.b)).collect::<Result<_>>()?;
        let k = run.iter().map(|product| Ok(product.sizes()?[1])).sum::<Result<usize>>()?;
        profile::product([n, k, m], run[0].a.device(), || {
            let left = |at: usize| -> Result<_> {
                let (product, values) = (&run[at], &lefts[at]);
                Ok(Left { values, stride: product.a.dim(1)?, transposed: product.a_transposed })
            };
            if let Held::Quantised(weight) = rights[0] {
                // SAFETY: the caller's.
                return unsafe { multiply_unpacked(out, [n, m], &run[0], left(0)?, weight) };
            }
            let term = |at: usize| -> Result<Term<'_>> {
                let (product, numbers) = (&run[at], rights[at].numbers()?);
                let b = Operand { numbers, transposed: product.b_transposed };
                Ok(Term { k: product.sizes()?[1], a: left(at)?, b, scale: product.scale as f32 })
            };
            let terms: Vec<Term<'_>> = (0..run.len()).map(term).collect::<Result<_>>()?;
            // SAFETY: the caller's; tensors that are contiguous hold all their numbers.
            unsafe { multiply_terms(out, [n, m], &terms, run[0].rounded) };
            Ok(())
        })?;
    }
    Ok(())
}

/// A sum by the kernel for its operands: numbers that are not f32 are rounded already.
///
/// # Safety
/// As for [`multiply`].
unsafe fn multiply_terms(out: Out, sizes: [usize; 2], terms: &[Term<'_>], rounded: bool) {
    // SAFETY: the caller's.
    unsafe {
        match terms {
            [term @ Term { b: Operand { numbers: Numbers::Rows(Values::F32(_)), .. }, .. }] if !rounded => {
                plain::multiply(out, sizes, term);
            }
            _ => rounded::multiply(out, sizes, terms),
        }
    }
}

/// A product with a weight that is unpacked some rows at a time: these are columns of the output going forward, and
/// a part of the sum going back.
///
/// # Safety
/// As for [`multiply`].
unsafe fn multiply_unpacked(
    out: Out,
    [n, m]: [usize; 2],
    product: &Product<'_>,
    left: Left<'_>,
    weight: &Quantised,
) -> Result<()> {
    let (rows, width) = weight.dims2();
    let step = weight.rows_at_once();
    let mut unpacked = vec![0f32; step.min(rows) * width];
    for start in (0..rows).step_by(step) {
        let count = step.min(rows - start);
        let unpacked = &mut unpacked[..count * width];
        weight.unpack(start, unpacked)?;
        let (transposed, scale) = (product.b_transposed, product.scale as f32);
        let b = Operand { numbers: Numbers::Rows(Values::F32(unpacked)), transposed };
        // SAFETY: the caller's; every number of `out` is written by the first part at the latest.
        unsafe {
            if transposed {
                let out = Out { start: out.start.add(start), ..out };
                multiply_terms(out, [n, count], &[Term { k: width, a: left, b, scale }], product.rounded);
            } else {
                let out = Out { accumulate: out.accumulate || start > 0, ..out };
                multiply_terms(out, [n, m], &[Term { k: count, a: left.from(start), b, scale }], product.rounded);
            }
        }
    }
    Ok(())
}

/// A right-hand side that nobody writes to while it is multiplied.
enum Held<'a> {
    F32(cpu::View<'a>),
    Bf16(StorageRef<'a>, &'a Layout),
    Panels(&'a Panels),
    Q8_0(Cow<'a, [u8]>),
    Quantised(&'a Quantised),
}

impl<'a> Held<'a> {
    fn new(right: Right<'a>) -> Result<Self> {
        Ok(match right {
            Right::Dense(tensor) if cpu::serves(tensor) => Self::F32(cpu::View::new(tensor)?),
            Right::Dense(tensor) => {
                let (storage, layout) = tensor.storage_and_layout();
                Self::Bf16(storage, layout)
            }
            Right::Panels(panels) => Self::Panels(panels),
            Right::Quantised(weight) if weight.is_read_as_it_is() => Self::Q8_0(weight.blocks()?),
            Right::Quantised(weight) => Self::Quantised(weight),
        })
    }

    /// Its numbers; a quantised one has none.
    fn numbers(&self) -> Result<Numbers<'_>> {
        Ok(match self {
            Self::F32(view) => Numbers::Rows(Values::F32(view)),
            Self::Bf16(storage, layout) => Numbers::Rows(Values::Bf16(bf16s(storage, layout)?)),
            Self::Panels(panels) => Numbers::Panels(panels.lines()),
            Self::Q8_0(blocks) => Numbers::Rows(Values::Q8_0(blocks)),
            Self::Quantised(_) => candle_core::bail!("a quantised weight is unpacked before it is multiplied"),
        })
    }
}

/// The numbers of a contiguous bf16 tensor in main memory.
fn bf16s<'a>(storage: &'a StorageRef<'_>, layout: &Layout) -> Result<&'a [bf16]> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        candle_core::bail!("a weight of shape {:?} is not contiguous", layout.shape())
    };
    match &**storage {
        Storage::Cpu(cpu) => Ok(&cpu.as_slice::<bf16>()?[start..end]),
        _ => candle_core::bail!("a weight is not in main memory"),
    }
}
