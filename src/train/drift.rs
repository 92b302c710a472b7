//! Rollouts that are decoded another way than the exact one, and the guard that falls back to that one.
//!
//! A phase is a function of seed, phase and policy: the guard looks at completions of this phase alone, always the
//! same ones, and remembers nothing.

use anyhow::Result;

use crate::config::RolloutTable;
use crate::model::{Decoder, Pass};
use crate::report::{DecodingProgress, Row};
use crate::rollout::{Agreement, Decoded, Decoding, Prompt, Sampler};
use crate::signal::Stop;
use crate::world::World;

/// Where the prompts of a process stand among those of a phase.
#[derive(Clone, Copy, Debug)]
pub struct Portion {
    /// The place of the first.
    pub first: usize,
    /// How many the phase has.
    pub of: usize,
}

/// Decodes the completions of phases.
pub struct GuardedSampler {
    decoding: Decoding,
    batch_size: usize,
    drift_check: usize,
    min_agreement: f64,
}

/// What was noticed while a phase was decoded another way than the exact one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Drift {
    /// The part of a sample's tokens that the exact decoding would have chosen, if a sample was compared.
    pub agreement: Option<f64>,
    /// Whether that was too little, so that the phase was decoded exactly.
    pub exact: bool,
    /// Tokens committed a run of the model, mean over the completions that are used.
    pub tokens_per_step: f64,
}

impl GuardedSampler {
    /// The decoding of a config.
    pub fn new(decoding: Decoding, table: &RolloutTable) -> Self {
        Self {
            decoding,
            batch_size: table.batch_size.get(),
            drift_check: table.drift_check,
            min_agreement: table.min_agreement.get(),
        }
    }

    /// Decodes a process's portion of a phase; [`Drift`], of the whole phase, if the decoding of the config is not the
    /// exact one.
    ///
    /// # Errors
    /// If decoding fails, or is left because `stop` asks for it.
    pub fn decode(
        &self,
        model: &Decoder,
        prompts: &[Prompt],
        portion: Portion,
        world: &World,
        stop: &Stop,
    ) -> Result<(Vec<Decoded>, Option<Drift>)> {
        let complete = |decoding: &Decoding, prompts: &[Prompt]| {
            let mut progress = DecodingProgress::part("rollout");
            let sampler = Sampler { model, decoding, pass: Pass::INFERENCE, stop };
            sampler.complete(prompts, self.batch_size, |headway| progress.at(headway, ""))
        };
        if self.decoding.is_reference() {
            return Ok((complete(&self.decoding, prompts)?, None));
        }
        let sample = spread(self.drift_check, portion.of);
        let own: Vec<usize> =
            sample.iter().filter_map(|place| place.checked_sub(portion.first)).filter(|&i| i < prompts.len()).collect();
        let (checked, others) = split(prompts, &own);
        let decoded = complete(&self.decoding, &checked)?;
        let agreement = match sample.is_empty() {
            true => None,
            false => {
                let own = self.agreement(model, &checked, &decoded, stop)?;
                Some(world.gather(own)?.into_iter().sum::<Agreement>().fraction())
            }
        };
        let exact = agreement.is_some_and(|agreement| agreement < self.min_agreement);
        let decoded = match exact {
            true => {
                if world.is_first() {
                    tracing::warn!(
                        "the exact decoding agrees with {:.3} of the tokens of {} completions, rollout.min_agreement is \
                     {}: decoding this phase exactly",
                        agreement.unwrap_or_default(),
                        sample.len(),
                        self.min_agreement
                    );
                }
                complete(&self.decoding.reference(), prompts)?
            }
            // a completion does not depend on what is decoded beside it: those of the sample are used as they are
            false => merge(&own, decoded, complete(&self.decoding, &others)?),
        };
        let own: [usize; 2] = decoded.iter().fold([0, 0], |[n, m], d| [n + d.trace.len(), m + d.steps]);
        let [tokens, steps] = world.gather(own)?.iter().fold([0, 0], |[n, m], own| [n + own[0], m + own[1]]);
        let tokens_per_step = tokens as f64 / steps as f64;
        Ok((decoded, Some(Drift { agreement, exact, tokens_per_step })))
    }

    fn agreement(&self, model: &Decoder, prompts: &[Prompt], decoded: &[Decoded], stop: &Stop) -> Result<Agreement> {
        let sampler = Sampler { model, decoding: &self.decoding, pass: Pass::INFERENCE, stop };
        sampler.agreement(prompts, decoded, self.batch_size)
    }
}

impl Drift {
    /// Adds the figures to a metrics row.
    pub fn report(&self, row: &mut Row) {
        if let Some(agreement) = self.agreement {
            row.set("rollout/agreement", agreement);
        }
        row.set("rollout/tokens_per_step", self.tokens_per_step).set("rollout/exact", usize::from(self.exact));
    }
}

/// `n` of `0..all`, as evenly spread as can be, so that they are of different prompts: all of them if there are fewer.
fn spread(n: usize, all: usize) -> Vec<usize> {
    let n = n.min(all);
    (0..n).map(|i| i * all / n).collect()
}

/// The items at the places of `chosen`, which rise, and all others.
fn split<T: Clone>(items: &[T], chosen: &[usize]) -> (Vec<T>, Vec<T>) {
    let (mut yes, mut no) = (Vec::new(), Vec::new());
    for (i, item) in items.iter().enumerate() {
        if chosen.binary_search(&i).is_ok() { yes.push(item.clone()) } else { no.push(item.clone()) }
    }
    (yes, no)
}

/// Undoes [`split`].
fn merge<T>(chosen: &[usize], yes: Vec<T>, no: Vec<T>) -> Vec<T> {
    let all = yes.len() + no.len();
    let (mut yes, mut no) = (yes.into_iter(), no.into_iter());
    (0..all).filter_map(|i| if chosen.binary_search(&i).is_ok() { yes.next() } else { no.next() }).collect()
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use candle_core::{DType, Device};
    use proptest::prelude::*;

    use super::*;
    use crate::config::{CacheKind, Command, Commit, Overrides, from_text, shipped};
    use crate::model::Weights;
    use crate::rng::{Key, Purpose};

    fn model() -> Decoder {
        let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/golden/gqa_small");
        Decoder::load(&dir, DType::F32, &Device::Cpu, Weights::Frozen).expect("fixture")
    }

    fn prompts() -> Vec<Prompt> {
        let key = Key::new(5, Purpose::Rollout);
        (0..7)
            .map(|i| Prompt { ids: (0..6).map(|j| (i / 2 * 31 + j * 7) as u32).collect(), key: key.prompt(i) })
            .collect()
    }

    /// Two steps a block of eight, and whatever else is said.
    fn decoder(decoding: Decoding, drift_check: usize, min_agreement: f64) -> GuardedSampler {
        let text = shipped("sudoku-tiny").expect("shipped");
        let config = from_text("a.toml".as_ref(), text, &Overrides::default(), Command::Train).expect("a config");
        let table = RolloutTable {
            batch_size: NonZeroUsize::new(3).expect("3"),
            drift_check,
            min_agreement: min_agreement.try_into().expect("in range"),
            ..config.rollout().clone()
        };
        GuardedSampler::new(decoding, &table)
    }

    impl GuardedSampler {
        fn decode_all(&self, model: &Decoder) -> Result<(Vec<Decoded>, Option<Drift>)> {
            let portion = Portion { first: 0, of: prompts().len() };
            self.decode(model, &prompts(), portion, &World::solo(), &Stop::default())
        }
    }

    fn exact() -> Decoding {
        Decoding { temperature: 0.9, ..Decoding::greedy(16, 8, 8).expect("16 / 8, 8 / 2") }
    }

    fn together(model: &Decoder, decoding: &Decoding) -> Vec<Decoded> {
        Sampler { model, decoding, pass: Pass::INFERENCE, stop: &Stop::default() }
            .complete(&prompts(), 7, |_| ())
            .expect("decode")
    }

    #[test]
    fn the_exact_decoding_is_not_watched() {
        let model = model();
        let (decoded, drift) = decoder(exact(), 4, 1.0).decode_all(&model).expect("decode");
        assert_eq!((decoded, drift), (together(&model, &exact()), None));
    }

    #[test]
    fn what_passes_is_what_would_be_decoded_without_the_check() {
        let model = model();
        let dual = Decoding { cache: CacheKind::Dual, ..exact() };
        for drift_check in [0, 1, 3, 7] {
            let (decoded, drift) = decoder(dual.clone(), drift_check, 0.0).decode_all(&model).expect("decode");
            assert_eq!(decoded, together(&model, &dual));
            let drift = drift.expect("an approximation");
            assert_eq!((drift.agreement.is_some(), drift.exact), (drift_check > 0, false));
            assert_eq!(drift.tokens_per_step, 2.0);
        }
    }

    #[test]
    fn what_fails_is_decoded_exactly() {
        let model = model();
        let hasty = Decoding { commit: Commit::Threshold(0.0.try_into().expect("in range")), ..exact() };
        let (decoded, drift) = decoder(hasty.clone(), 4, 1.0).decode_all(&model).expect("decode");
        assert_eq!(decoded, together(&model, &exact()));
        let drift = drift.expect("another rule");
        assert!(drift.exact && drift.agreement.is_some_and(|agreement| agreement < 1.0), "{drift:?}");
        assert_eq!(drift.tokens_per_step, 2.0, "of the completions that are used");
        let (decoded, drift) = decoder(hasty, 4, 0.0).decode_all(&model).expect("decode");
        assert_ne!(decoded, together(&model, &exact()));
        assert_eq!(drift.map(|d| (d.exact, d.tokens_per_step)), Some((false, 8.0)));
    }

    #[test]
    fn figures_are_reported_under_their_names() {
        let names = |agreement| {
            let mut row = Row::new(1);
            Drift { agreement, exact: true, tokens_per_step: 2.5 }.report(&mut row);
            row.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>()
        };
        assert_eq!(names(Some(0.5))[1..], ["rollout/agreement=0.5", "rollout/tokens_per_step=2.5", "rollout/exact=1"]);
        assert_eq!(names(None)[1..], ["rollout/tokens_per_step=2.5", "rollout/exact=1"]);
    }

    proptest! {
        #[test]
        fn a_sample_is_spread_and_comes_back_in_its_place(n in 0usize..20, all in 1usize..40) {
            let chosen = spread(n, all);
            prop_assert_eq!(chosen.len(), n.min(all));
            prop_assert!(chosen.windows(2).all(|w| w[0] < w[1]) && chosen.iter().all(|&i| i < all));
            let gaps: Vec<usize> = chosen.windows(2).map(|w| w[1] - w[0]).collect();
            prop_assert!(gaps.iter().max().unwrap_or(&0) - gaps.iter().min().unwrap_or(&0) <= 1);
            let items: Vec<usize> = (0..all).collect();
            let (yes, no) = split(&items, &chosen);
            prop_assert_eq!(&yes, &chosen);
            prop_assert_eq!(merge(&chosen, yes, no), items);
        }
    }
}
