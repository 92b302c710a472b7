//! SPG gives the bits that it gave when it was the only objective.
//!
//! Sums of products depend on the registers of the machine, so the digests are those of one kind of machine: x86-64 with
//! AVX2 and FMA, without AVX-512. Elsewhere nothing is compared.

use sha2::{Digest as _, Sha256};

use super::*;

/// Figures that a completion, a mask or a bound cannot change without showing.
const FIGURES: [&str; 10] = [
    "reward",
    "reward_std",
    "completions/mean_length",
    "loss",
    "bound/positive",
    "bound/negative",
    "bound/elbo",
    "bound/eubo",
    "scored_tokens",
    "grad_norm",
];

/// Dropout, masked prompts, micro-batches that cut groups, two updates a phase.
const BUSY: [&str; 8] = [
    "--set",
    "lora.lora_dropout=0.05",
    "--set",
    "algorithm.spg.p_mask_prompt=0.15",
    "--set",
    "train.micro_batch_size=2",
    "--seed",
    "3",
];

const FIGURES_DIGEST: &str = "301ead27293f1332ec95d4f5441c449fb24a3290a4961e3b0e7beca703aa3313";
const ADAPTER_DIGEST: &str = "bb906d3d627997695ce9a7f03f000c60302a48f7bb66ce02488c613f1593c839";

#[cfg(target_arch = "x86_64")]
fn is_the_recorded_machine() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && !is_x86_feature_detected!("avx512f")
}

#[cfg(not(target_arch = "x86_64"))]
fn is_the_recorded_machine() -> bool {
    false
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A number of a line as it is written: to the last digit, which a parser may change.
fn written<'a>(line: &'a str, name: &str) -> &'a str {
    let (_, rest) = line.split_once(&format!("\"{name}\":")).expect("a figure");
    rest.split([',', '}']).next().expect("a number")
}

#[test]
fn spg_gives_the_completions_and_adapters_it_gave_before_it_was_a_recipe() {
    if !is_the_recorded_machine() {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    let run = dir.path().join("run");
    succeed(train(&run, &BUSY));
    let mut figures = Sha256::new();
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).expect("metrics");
    for line in text.lines().filter(|line| line.contains("\"loss\"")) {
        FIGURES.iter().for_each(|name| figures.update(written(line, name)));
    }
    assert_eq!(hex(figures), FIGURES_DIGEST);
    let mut adapter = Sha256::new();
    for (name, values) in tensors(&run, 6) {
        adapter.update(name.as_bytes());
        values.iter().for_each(|value| adapter.update(value.to_le_bytes()));
    }
    assert_eq!(hex(adapter), ADAPTER_DIGEST);
}
