//! Every method on toys: slopes, groups that agree, splits of a step, and SPG's own rules.

use super::*;
use crate::config::{AlgorithmTable, NegativeEstimator, SpgTable, guide};
use crate::objective::testing::{Golden, random_tokens, tokens};
use crate::rng::{Key, Purpose, Rng};

/// Every method with its defaults, and that of the guide.
fn methods() -> Vec<(&'static str, Objective)> {
    let method = |name: &&'static str| {
        let table: AlgorithmTable = toml::from_str(&format!("[{name}]")).unwrap();
        (*name, Objective::new(&table.recipe()))
    };
    AlgorithmTable::NAMES.iter().map(method).chain([("rloo", Objective::new(&guide::recipe()))]).collect()
}

fn spg(negative_estimator: NegativeEstimator) -> Objective {
    let table = SpgTable { negative_estimator, mix_weight: 0.3.try_into().unwrap(), ..SpgTable::default() };
    Objective::new(&table.recipe())
}

const ESTIMATORS: [NegativeEstimator; 4] =
    [NegativeEstimator::Mix, NegativeEstimator::Eubo, NegativeEstimator::Elbo, NegativeEstimator::Zero];

/// Completions of two groups, the second of which agrees, with anchors near the current policy.
struct Toy {
    standings: Vec<Standing>,
    scored: Vec<ScoredTokens>,
    anchors: Vec<Anchor>,
}

impl Toy {
    fn new(seed: u64, objective: &Objective) -> Self {
        let mut rng = Key::new(seed, Purpose::Rollout).rng();
        let mut standings = Vec::new();
        let mut scored = Vec::new();
        for c in 0..5 {
            let tokens = random_tokens(seed.wrapping_add(1000 * c));
            let weights = tokens.samples().iter().map(|_| 0.2 + rng.uniform_f64()).collect();
            let group = usize::from(c >= 3);
            // one in three of the first group is as good as the mean
            let advantage = if group == 1 || rng.below(3) == 0 { 0.0 } else { rng.normal() };
            standings.push(Standing { group, advantage, len: tokens.completion_len() });
            scored.push(tokens.weighted(weights));
        }
        let stakes = objective.stakes(&standings);
        let anchors = stakes.iter().zip(&scored).map(|(stake, scored)| {
            let near = |rng: &mut Rng| -> Vec<f64> {
                let terms = objective.terms(stake, scored);
                terms.values.iter().map(|value| value + 0.5 * rng.normal()).collect()
            };
            Anchor { old: Some(near(&mut rng)), reference: Some(near(&mut rng)) }
        });
        let anchors = anchors.collect();
        Self { standings, scored, anchors }
    }

    fn losses(&self, objective: &Objective) -> Vec<CompletionLoss> {
        let stakes = objective.stakes(&self.standings);
        let live = (0..self.scored.len()).filter(|&c| objective.needs_backward(&stakes[c]));
        live.map(|c| objective.loss(&stakes[c], 1.5, &self.scored[c], &self.anchors[c])).collect()
    }

    fn loss(&self, objective: &Objective) -> f64 {
        self.losses(objective).iter().map(|c| c.loss).sum()
    }
}

#[test]
fn gradients_of_every_method_are_finite_differences() {
    for (name, objective) in methods() {
        let mut moved = 0;
        for seed in 0..40 {
            let mut toy = Toy::new(seed, &objective);
            let stakes = objective.stakes(&toy.standings);
            let live: Vec<usize> = (0..5).filter(|&c| objective.needs_backward(&stakes[c])).collect();
            let gradients: Vec<LpGradient> = toy.losses(&objective).into_iter().map(|c| c.d_lp).collect();
            for (&c, gradient) in live.iter().zip(gradients) {
                for (m, sample) in gradient.iter().enumerate() {
                    for (i, &slope) in sample.iter().enumerate() {
                        let h = 1e-5;
                        let mut at = |by: f64| {
                            *toy.scored[c].lp_mut(m, i) += by;
                            toy.loss(&objective)
                        };
                        let difference = (at(h) - at(-2.0 * h)) / (2.0 * h);
                        at(h);
                        assert!(
                            (slope - difference).abs() < 1e-6 * slope.abs().max(1.0),
                            "{name}, seed {seed}, completion {c}: {slope} is not {difference}"
                        );
                        moved += usize::from(slope != 0.0);
                    }
                }
            }
        }
        assert!(moved > 100, "{name} has slopes at all: {moved}");
    }
}

#[test]
fn a_group_whose_rewards_are_equal_has_no_gradient_under_any_method() {
    for (name, objective) in methods() {
        let toy = Toy::new(3, &objective);
        let stakes = objective.stakes(&toy.standings);
        for (c, stake) in stakes.iter().enumerate().skip(3) {
            assert!(stake.flat && !objective.needs_backward(stake), "{name}");
            assert!(!objective.needs_old(stake) && !objective.needs_reference(stake), "{name}");
            // without the penalty, whose gradient is spared, nothing is left to spare
            let anchor = Anchor { reference: None, ..toy.anchors[c].clone() };
            let part = objective.loss(stake, 1.0, &toy.scored[c], &anchor);
            assert!(part.loss == 0.0 && part.d_lp.iter().flatten().all(|&slope| slope == 0.0), "{name}");
        }
    }
}

#[test]
fn before_the_first_update_a_ratio_is_one() {
    for (name, objective) in methods().into_iter().filter(|(_, o)| o.recipe().link.ratio.is_some()) {
        let toy = Toy::new(5, &objective);
        let stakes = objective.stakes(&toy.standings);
        let c = (0..3).find(|&c| stakes[c].signal != 0.0).unwrap();
        let terms = objective.terms(&stakes[c], &toy.scored[c]);
        let given = Anchor { old: Some(terms.values), reference: None };
        let current = Anchor::default();
        let loss = |anchor: &Anchor| objective.loss(&stakes[c], 1.0, &toy.scored[c], anchor);
        assert_eq!(loss(&given), loss(&current), "{name}");
        assert_eq!(loss(&current).clipped_low + loss(&current).clipped_high, 0, "{name}");
    }
}

#[test]
fn a_clipped_ratio_has_no_slope_and_is_counted() {
    let (_, d1) = methods().into_iter().find(|(name, _)| *name == "d1").unwrap();
    let standings = [Standing { group: 0, advantage: 1.0, len: 2 }, Standing { group: 0, advantage: -1.0, len: 2 }];
    let stakes = d1.stakes(&standings);
    let scored = tokens(2, &[&[(0, -1.0), (1, -3.0)]]);
    // the first token's ratio is e, the second's 1 / e
    let anchor = Anchor { old: Some(vec![-2.0, -2.0]), reference: None };
    let good = d1.loss(&stakes[0], 1.0, &scored, &anchor);
    assert_eq!((good.clipped_low, good.clipped_high), (0, 1));
    assert!(good.d_lp[0][0] == 0.0 && good.d_lp[0][1] < 0.0);
    let bad = d1.loss(&stakes[1], 1.0, &scored, &anchor);
    assert_eq!((bad.clipped_low, bad.clipped_high), (1, 0));
    assert!(bad.d_lp[0][0] > 0.0 && bad.d_lp[0][1] == 0.0);
}

#[test]
fn the_sign_of_the_advantage_chooses_spgs_bound() {
    let tokens = tokens(4, &[&[(0, -1.0), (1, -3.0)], &[(1, -2.0)]]);
    let part = |negative, advantage| {
        let objective = spg(negative);
        let stakes = objective.stakes(&[Standing { group: 0, advantage, len: 4 }]);
        objective.loss(&stakes[0], 1.0, &tokens, &Anchor::default())
    };
    for negative in ESTIMATORS {
        let better = part(negative, 0.5);
        let bounds = better.bounds.unwrap();
        assert_eq!(better.likelihood, bounds.elbo);
        assert_eq!(better.loss, -0.5 * bounds.elbo);
        assert!(better.d_lp.iter().flatten().all(|&slope| slope < 0.0), "descent raises the log-probs");
    }
    let worse = ESTIMATORS.map(|negative| part(negative, -0.5));
    let Bounds { elbo, eubo } = worse[0].bounds.unwrap();
    assert_ne!(elbo, eubo);
    assert_eq!(worse.map(|w| w.likelihood), [0.3 * eubo + 0.7 * elbo, eubo, elbo, 0.0]);
}

#[test]
fn only_completions_with_a_gradient_need_a_backward() {
    for (negative, worse) in ESTIMATORS.into_iter().zip([true, true, true, false]) {
        let objective = spg(negative);
        let step = [1.0, 0.0, -1.0].map(|advantage| Standing { group: 0, advantage, len: 3 });
        let needed: Vec<bool> = objective.stakes(&step).iter().map(|s| objective.needs_backward(s)).collect();
        assert_eq!(needed, [true, false, worse], "{negative:?}");
    }
}

#[test]
fn golden_losses_follow_from_the_golden_bounds() {
    for golden in Golden::all() {
        for case in &golden.cases {
            let objective = Objective::new(&case.table.recipe());
            let standing = |(&advantage, &len)| Standing { group: 0, advantage, len };
            let step: Vec<Standing> = golden.advantages.iter().zip(&golden.lengths).map(standing).collect();
            let mut loss = 0.0;
            for ((stake, standing), &golden_bound) in objective.stakes(&step).iter().zip(&step).zip(&case.bounds) {
                // one full mask with the same log-prob everywhere: both bounds equal that log-prob
                let sample: Vec<(usize, f64)> = (0..standing.len).map(|i| (i, golden_bound)).collect();
                let part = objective.loss(stake, 1.0, &tokens(standing.len, &[&sample]), &Anchor::default());
                assert!((part.likelihood - golden_bound).abs() < 1e-12);
                assert_eq!(golden_bound != 0.0, objective.needs_backward(stake));
                loss += part.loss;
            }
            assert!((loss - case.loss).abs() < 1e-5 * case.loss.abs(), "{loss} {}", case.loss);
        }
    }
}
