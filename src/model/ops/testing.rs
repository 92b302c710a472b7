//! Helpers of the kernels' tests: random tensors, closeness, finite differences.

use candle_core::{DType, Device, Result, Shape, Tensor};

use crate::rng::{Key, Purpose};

/// Standard normal f32 values.
pub fn random<S: Into<Shape>>(part: usize, shape: S) -> Result<Tensor> {
    let shape = shape.into();
    let mut rng = Key::new(0, Purpose::ModelInit).part(part).rng();
    let values: Vec<f32> = (0..shape.elem_count()).map(|_| rng.normal() as f32).collect();
    Tensor::from_vec(values, shape, &Device::Cpu)
}

fn flat(t: &Tensor) -> Vec<f64> {
    t.to_dtype(DType::F64).and_then(|t| t.flatten_all()?.to_vec1()).expect("a small tensor")
}

/// Largest absolute difference below `tolerance`.
#[track_caller]
pub fn assert_close(a: &Tensor, b: &Tensor, tolerance: f64) {
    assert_eq!(a.dims(), b.dims());
    let worst = flat(a).iter().zip(flat(b)).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max);
    assert!(worst < tolerance, "differs by {worst}");
}

/// Compares `gradient` of `sum(f(x) * dy)` with central differences, element by element.
#[track_caller]
pub fn check_gradient(x: &Tensor, dy: &Tensor, f: impl Fn(&Tensor) -> Result<Tensor>, gradient: &Tensor) {
    let weights = flat(dy);
    let value = |x: &[f32]| {
        let x = Tensor::from_slice(x, gradient.dims(), &Device::Cpu).expect("same shape");
        flat(&f(&x).expect("forward")).iter().zip(&weights).map(|(y, w)| y * w).sum::<f64>()
    };
    let at: Vec<f32> = flat(x).iter().map(|&v| v as f32).collect();
    let got = flat(gradient);
    let size = (got.iter().map(|g| g * g).sum::<f64>() / got.len() as f64).sqrt();
    let h = 5e-3f32;
    for i in 0..at.len() {
        let mut moved = at.clone();
        moved[i] = at[i] + h;
        let up = value(&moved);
        moved[i] = at[i] - h;
        let expected = (up - value(&moved)) / (2.0 * h as f64);
        assert!(
            (got[i] - expected).abs() < 2e-3 * (size + expected.abs()),
            "element {i}: {} is not {expected}",
            got[i]
        );
    }
}
