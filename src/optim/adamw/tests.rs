//! AdamW against a scalar f64 re-implementation, its state, and its errors.

use super::*;
use crate::rng::{Key, Purpose};
use candle_core::Device;

const PARAMS: AdamWParams = AdamWParams { beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay: 0.1 };

/// PyTorch's documented algorithm for one scalar parameter, in f64.
struct Reference {
    p: f64,
    m: f64,
    v: f64,
    steps: i32,
}

impl Reference {
    fn new(p: f32) -> Self {
        Self { p: p.into(), m: 0.0, v: 0.0, steps: 0 }
    }

    fn step(&mut self, g: f64, lr: f64) {
        self.steps += 1;
        self.p -= lr * PARAMS.weight_decay * self.p;
        self.m = PARAMS.beta1 * self.m + (1.0 - PARAMS.beta1) * g;
        self.v = PARAMS.beta2 * self.v + (1.0 - PARAMS.beta2) * g * g;
        let m_hat = self.m / (1.0 - PARAMS.beta1.powi(self.steps));
        let v_hat = self.v / (1.0 - PARAMS.beta2.powi(self.steps));
        self.p -= lr * m_hat / (v_hat.sqrt() + PARAMS.eps);
    }
}

fn random(seed: u64, shape: &[usize]) -> Tensor {
    let mut rng = Key::new(seed, Purpose::ModelInit).rng();
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.normal() as f32).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

fn optimiser(dtype: DType) -> (BTreeMap<String, Var>, AdamW) {
    let var = |seed, shape: &[usize]| Var::from_tensor(&random(seed, shape).to_dtype(dtype).unwrap()).unwrap();
    let vars = BTreeMap::from([("a".to_owned(), var(1, &[3, 5])), ("b".to_owned(), var(2, &[7]))]);
    (vars.clone(), AdamW::new(vars, PARAMS).unwrap())
}

fn gradients(step: u64) -> Named {
    Named::from([("a".to_owned(), random(100 + step, &[3, 5])), ("b".to_owned(), random(200 + step, &[7]))])
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn all_values(vars: &BTreeMap<String, Var>) -> Vec<f32> {
    vars.values().flat_map(|var| values(var)).collect()
}

#[test]
fn many_steps_equal_the_reference() {
    let (vars, mut adamw) = optimiser(DType::F32);
    let mut references: Vec<Reference> = all_values(&vars).into_iter().map(Reference::new).collect();
    for step in 0..20 {
        let (lr, scale) = (0.01 * (1.0 + step as f64), 0.5);
        adamw.step(&gradients(step), lr, scale).unwrap();
        let flat: Vec<f32> = gradients(step).values().flat_map(values).collect();
        for (reference, g) in references.iter_mut().zip(flat) {
            reference.step(f64::from(g) * scale, lr);
        }
        for (ours, reference) in all_values(&vars).into_iter().zip(&references) {
            assert!((f64::from(ours) - reference.p).abs() < 3e-6, "step {step}: {ours} {}", reference.p);
        }
    }
    assert_eq!(adamw.step_count(), 20);
}

#[test]
fn three_steps_in_literal_numbers() {
    // p = 1, g = 0.5, -1, 2 at lr 0.1: the documented algorithm evaluated in f64 outside this crate
    let var = Var::new(&[1f32], &Device::Cpu).unwrap();
    let mut adamw = AdamW::new(BTreeMap::from([("p".to_owned(), var.clone())]), PARAMS).unwrap();
    for (g, expected) in [(0.5f32, 0.89), (-1.0, 0.9176608), (2.0, 0.8666536)] {
        let gradient = Tensor::new(&[g], &Device::Cpu).unwrap();
        adamw.step(&Named::from([("p".to_owned(), gradient)]), 0.1, 1.0).unwrap();
        assert!((values(&var)[0] - expected).abs() < 1e-6, "{} {expected}", values(&var)[0]);
    }
}

#[test]
fn epsilon_is_added_after_the_bias_correction() {
    let var = Var::new(&[0f32], &Device::Cpu).unwrap();
    let mut adamw = AdamW::new(BTreeMap::from([("p".to_owned(), var.clone())]), PARAMS).unwrap();
    let gradient = Tensor::new(&[PARAMS.eps as f32], &Device::Cpu).unwrap();
    adamw.step(&Named::from([("p".to_owned(), gradient)]), 0.1, 1.0).unwrap();
    // the first step is lr * g / (|g| + eps)
    assert!((values(&var)[0] + 0.05).abs() < 1e-6, "{:?}", values(&var));
}

#[test]
fn without_gradient_only_the_decay_is_left() {
    let (vars, mut adamw) = optimiser(DType::F32);
    let start = all_values(&vars);
    let zeros: Named = gradients(0).into_iter().map(|(name, g)| (name, g.zeros_like().unwrap())).collect();
    for _ in 0..10 {
        adamw.step(&zeros, 0.01, 1.0).unwrap();
    }
    for (now, start) in all_values(&vars).into_iter().zip(start) {
        let closed_form = f64::from(start) * (1.0f64 - 0.01 * 0.1).powi(10);
        assert!((f64::from(now) - closed_form).abs() < 1e-6);
    }
}

#[test]
fn tensor_operations_and_slices_agree() {
    for dtype in [DType::F32, DType::BF16] {
        let ((slices, mut by_slices), (tensors, mut by_tensors)) = (optimiser(dtype), optimiser(dtype));
        for step in 0..10 {
            by_slices.step(&gradients(step), 0.01, 0.3).unwrap();
            let coefficients = Coefficients::new(&PARAMS, step + 1, 0.01, 0.3);
            for (name, slot) in &mut by_tensors.slots {
                slot.update_tensors(&gradients(step)[name], &coefficients).unwrap();
            }
        }
        let tolerance = if dtype == DType::F32 { 1e-6 } else { 1e-2 };
        for (one, other) in all_values(&slices).into_iter().zip(all_values(&tensors)) {
            assert!((one - other).abs() < tolerance, "{dtype:?}: {one} {other}");
        }
        let states = [by_slices.state_tensors().unwrap(), by_tensors.state_tensors().unwrap()];
        for (one, other) in states[0].values().zip(states[1].values()) {
            assert!(values(one).iter().zip(values(other)).all(|(one, other)| (one - other).abs() < 1e-6));
        }
    }
}

#[test]
fn a_half_precision_weight_moves_through_its_master() {
    for dtype in [DType::BF16, DType::F16] {
        let var = Var::from_tensor(&Tensor::ones(1, dtype, &Device::Cpu).unwrap()).unwrap();
        let params = AdamWParams { weight_decay: 0.0, ..PARAMS };
        let mut adamw = AdamW::new(BTreeMap::from([("p".to_owned(), var.clone())]), params).unwrap();
        let gradient = Named::from([("p".to_owned(), Tensor::new(&[-1f32], &Device::Cpu).unwrap())]);
        adamw.step(&gradient, 1e-5, 1.0).unwrap();
        assert_eq!(values(&var), [1.0], "a single step is below the working precision");
        for _ in 1..2000 {
            adamw.step(&gradient, 1e-5, 1.0).unwrap();
        }
        assert!((values(&var)[0] - 1.02).abs() < 0.004, "{:?}", values(&var));
        assert!((values(&adamw.state_tensors().unwrap()["p.master"])[0] - 1.02).abs() < 1e-4);
    }
}

/// As from a file: tensors of their own.
fn copied(state: &Named) -> Named {
    state.iter().map(|(name, tensor)| (name.clone(), tensor.copy().unwrap().detach())).collect()
}

#[test]
fn a_restored_optimiser_continues_with_the_same_bits() {
    for dtype in [DType::F32, DType::BF16] {
        let (vars, mut adamw) = optimiser(dtype);
        for step in 0..3 {
            adamw.step(&gradients(step), 0.01, 1.0).unwrap();
        }
        let state = adamw.state_tensors().unwrap();
        let copy =
            |(name, var): (&String, &Var)| (name.clone(), Var::from_tensor(&var.copy().unwrap().detach()).unwrap());
        let copies: BTreeMap<String, Var> = vars.iter().map(copy).collect();
        let mut restored = AdamW::new(copies.clone(), PARAMS).unwrap();
        restored.load_state(adamw.step_count(), copied(&state)).unwrap();
        for step in 3..6 {
            adamw.step(&gradients(step), 0.01, 1.0).unwrap();
            restored.step(&gradients(step), 0.01, 1.0).unwrap();
        }
        assert_eq!(all_values(&vars), all_values(&copies));
        let ends = [adamw.state_tensors().unwrap(), restored.state_tensors().unwrap()];
        assert!(ends[0].iter().all(|(name, tensor)| values(tensor) == values(&ends[1][name])));
        // what was taken in between is the optimiser's own memory, what was restored from it is not
        assert!(state.iter().all(|(name, tensor)| values(tensor) == values(&ends[0][name])));
        assert_eq!(restored.step_count(), 6);
    }
}

#[test]
fn a_master_that_is_restored_reaches_the_weights() {
    let (vars, mut adamw) = optimiser(DType::BF16);
    adamw.step(&gradients(0), 0.1, 1.0).unwrap();
    let (fresh, mut restored) = optimiser(DType::BF16);
    assert_ne!(all_values(&vars), all_values(&fresh));
    restored.load_state(1, copied(&adamw.state_tensors().unwrap())).unwrap();
    assert_eq!(all_values(&vars), all_values(&fresh));
}

#[test]
fn a_state_that_does_not_fit_is_described_and_not_taken() {
    let (_, mut adamw) = optimiser(DType::F32);
    let before = copied(&adamw.state_tensors().unwrap());
    let mut state = before.clone();
    state.remove("a.exp_avg");
    state.insert("b.exp_avg".to_owned(), random(1, &[2]));
    state.insert("b.exp_avg_sq".to_owned(), random(1, &[7]));
    state.insert("b.master".to_owned(), random(1, &[7]));
    let message = adamw.load_state(3, state).unwrap_err().to_string();
    for part in ["missing `a.exp_avg`", "`b.exp_avg` is F32 [2], expected F32 [7]", "extra `b.master`"] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(adamw.step_count(), 0);
    assert_eq!(values(&adamw.state_tensors().unwrap()["b.exp_avg_sq"]), values(&before["b.exp_avg_sq"]));
}

#[test]
fn gradients_that_do_not_fit_are_named_and_change_nothing() {
    let (vars, mut adamw) = optimiser(DType::F32);
    let start = all_values(&vars);
    type Spoil = fn(&mut Named);
    let cases: [(Spoil, &str); 4] = [
        (|g| drop(g.remove("b")), "no gradient for parameter `b`"),
        (|g| drop(g.insert("c".to_owned(), random(1, &[1]))), "gradient `c` belongs to no parameter"),
        (|g| drop(g.insert("b".to_owned(), random(1, &[1, 7]))), "gradient `b` is F32 [1, 7], expected F32 [7]"),
        (
            |g| drop(g.insert("b".to_owned(), random(1, &[7]).to_dtype(DType::BF16).unwrap())),
            "gradient `b` is BF16 [7], expected F32 [7]",
        ),
    ];
    for (spoil, expected) in cases {
        let mut gradients = gradients(0);
        spoil(&mut gradients);
        let message = adamw.step(&gradients, 0.1, 1.0).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
    assert_eq!(all_values(&vars), start);
    assert_eq!(adamw.step_count(), 0);
}

#[test]
fn a_transposed_gradient_is_read_in_its_own_order() {
    let (straight, mut one) = optimiser(DType::F32);
    let (turned, mut other) = optimiser(DType::F32);
    let mut gradients = gradients(0);
    one.step(&gradients, 0.1, 1.0).unwrap();
    let view = gradients["a"].t().unwrap().contiguous().unwrap().t().unwrap(); // [3, 5], strided
    assert!(!view.is_contiguous());
    gradients.insert("a".to_owned(), view);
    other.step(&gradients, 0.1, 1.0).unwrap();
    assert_eq!(all_values(&straight), all_values(&turned));
}

/// One parameter, whose step goes wrong in the way that is asked for.
#[test]
fn a_step_to_infinity_said_that_the_weights_were_unchanged_and_had_changed_them() {
    let big = f64::from(f32::MAX);
    for (dtype, gradient, lr, eps, decay) in [
        (DType::F32, 1.0, 1e300, 1e-8, 0.0),
        (DType::F32, 1.0, 1e-3, 1e-8, 1e300),
        (DType::F32, 1e25, 1e-3, 1e-8, 0.0),         // its square is beyond f32
        (DType::F32, 0.0, 1e-3, 1e-300, 0.0),        // 0 / 0
        (DType::BF16, 1.0, big * 0.9999, 1e-8, 0.0), // an f32, but beyond bf16
        (DType::F16, 1.0, 1e5, 1e-8, 0.0),
    ] {
        let var = Var::from_tensor(&Tensor::ones(3, dtype, &Device::Cpu).unwrap()).unwrap();
        let params = AdamWParams { eps, weight_decay: decay, ..PARAMS };
        let mut adamw = AdamW::new(BTreeMap::from([("p".to_owned(), var.clone())]), params).unwrap();
        let gradients = Named::from([("p".to_owned(), Tensor::full(gradient as f32, 3, &Device::Cpu).unwrap())]);
        let error = adamw.step(&gradients, lr, 1.0).unwrap_err();
        assert!(matches!(&error, OptimError::NonFiniteStep { name, .. } if name == "p"), "{error}");
        assert_eq!((adamw.step_count(), values(&var)), (0, vec![1.0; 3]), "{dtype:?} {lr:e}");
        for (name, tensor) in adamw.state_tensors().unwrap() {
            let expected = if name.ends_with("master") { 1.0 } else { 0.0 };
            assert_eq!(values(&tensor), [expected; 3], "{name}");
        }
        let coefficients = Coefficients::new(&params, 1, lr, 1.0);
        assert!(!adamw.slots["p"].stays_finite_in_tensors(&gradients["p"], &coefficients).unwrap(), "{dtype:?} {lr:e}");
        adamw.params = PARAMS;
        let usual = Named::from([("p".to_owned(), Tensor::ones(3, DType::F32, &Device::Cpu).unwrap())]);
        adamw.step(&usual, 1e-2, 1.0).unwrap();
        assert!(values(&var).iter().all(|&p| p < 1.0), "the next step is as if nothing had been tried");
    }
}
