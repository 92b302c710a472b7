//! The AdamW trajectory: four updates of the adapter on the first loss case.

use anyhow::{Context, Result};
use serde::Deserialize;

use super::Item;
use super::golden::{Golden, larger, worst};
use super::loss::LossFile;
use crate::optim::{AdamW, AdamWParams, clip};

#[derive(Deserialize)]
struct TrainFile {
    hyper: Hyper,
    case: usize,
    updates: Vec<Update>,
}

#[derive(Deserialize)]
struct Hyper {
    lr: f64,
    betas: (f64, f64),
    eps: f64,
    weight_decay: f64,
    max_grad_norm: f64,
}

#[derive(Deserialize)]
struct Update {
    update: usize,
    loss: f64,
    grad_norm: f64,
}

/// Loss and gradient norm of every update, and the weights after it.
pub fn check(golden: &Golden) -> Result<Vec<Item>> {
    let (expected, losses) = (golden.tensors("train")?, golden.tensors("loss")?);
    let (file, cases): (TrainFile, LossFile) = (golden.json("train")?, golden.json("loss")?);
    let case = cases.cases.get(file.case).context("train.json names a case that loss.json does not have")?;
    let model = golden.adapted()?;
    let Hyper { lr, betas, eps, weight_decay, max_grad_norm } = file.hyper;
    let params = AdamWParams { beta1: betas.0, beta2: betas.1, eps, weight_decay };
    let mut optimizer = AdamW::new(model.trainable(), params)?;
    let mut items = Vec::new();
    for update in &file.updates {
        let outcome = case.evaluate(&model, &losses)?;
        let clip = clip(outcome.gradients.by_name(), max_grad_norm)?;
        optimizer.step(outcome.gradients.by_name(), lr, clip.scale)?;
        let u = update.update;
        let relative = |got: f64, want: f64| ((got - want) / want).abs();
        let scalars = larger(relative(outcome.loss, update.loss), relative(clip.norm, update.grad_norm));
        items.push(Item::new(
            format!("adamw.{u}.loss_and_norm"),
            scalars,
            1e-3,
            "relative; later losses see the weights",
        ));
        let mut error = 0.0;
        for (name, var) in model.trainable() {
            error = larger(error, worst(var.as_tensor(), expected.get(&format!("{u}.{name}"))?)?);
        }
        items.push(Item::new(
            format!("adamw.{u}.weights"),
            error,
            1e-4,
            format!("{} tensors", model.trainable().len()),
        ));
    }
    Ok(items)
}
