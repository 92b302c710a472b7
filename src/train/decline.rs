//! Whether a run has lost what its model could do, seen in the lines of its metrics.
//!
//! A learning rate that is too high does not make a run fail: the model stops to earn anything, all advantages are
//! zero, and the run goes on to its end without learning.

use std::collections::BTreeMap;

use crate::report::{Row, setting_and_figure};

/// Phases without any reward, one after another, after which it is said at once.
const BARREN_PHASES: usize = 5;
/// The part of its best held-out reward below which a run has lost it.
const LOST: f64 = 0.5;

/// What was seen so far.
#[derive(Clone, Debug, Default)]
pub struct Decline {
    /// Step and reward of every evaluation, by setting.
    evaluations: BTreeMap<String, Vec<(usize, f64)>>,
    phase: Option<u64>,
    /// Phases without any reward up to now.
    barren: usize,
    /// The first update of these.
    since: usize,
}

/// A held-out reward at its best, and at the end.
#[derive(Clone, Debug, PartialEq)]
pub struct Loss {
    /// The setting.
    pub label: String,
    /// The step of the best evaluation before the last.
    pub best_step: usize,
    /// Its reward.
    pub best: f64,
    /// The last one's.
    pub last: f64,
}

impl Decline {
    /// Takes in the next line. Returns a warning when there has been no reward for some phases.
    pub fn observe(&mut self, row: &Row) -> Option<String> {
        for (name, value) in row.iter() {
            if let (Some((label, "reward")), Some(reward)) = (setting_and_figure(name), value.as_f64()) {
                self.evaluations.entry(label.to_owned()).or_default().push((row.step(), reward));
            }
        }
        // the updates of a phase repeat the figures of its completions
        let phase = Some(row.number("iteration")? as u64);
        if phase == self.phase {
            return None;
        }
        self.phase = phase;
        let nothing = row.number("frac_reward_zero_std") == Some(1.0) && row.number("reward") == Some(0.0);
        if !nothing {
            self.barren = 0;
            return None;
        }
        if self.barren == 0 {
            self.since = row.step();
        }
        self.barren += 1;
        (self.barren == BARREN_PHASES).then(|| self.drought()).flatten()
    }

    /// That the last phases earned nothing, if it is so.
    pub fn drought(&self) -> Option<String> {
        let phases = |n: usize| if n == 1 { "the last phase".to_owned() } else { format!("the last {n} phases") };
        (self.barren > 0).then(|| {
            format!(
                "no completion of {} (since step {}) earned any reward: nothing is learnt",
                phases(self.barren),
                self.since
            )
        })
    }

    /// The setting whose held-out reward has fallen furthest from its best, if one has fallen far.
    pub fn loss(&self) -> Option<Loss> {
        let of = |(label, all): (&String, &Vec<(usize, f64)>)| -> Option<Loss> {
            let (&(_, last), before) = all.split_last()?;
            // the earliest of the best, as where the best checkpoint is kept
            let &(best_step, best) = before.iter().rev().max_by(|a, b| a.1.total_cmp(&b.1))?;
            (best > 0.0 && last < LOST * best).then(|| Loss { label: label.clone(), best_step, best, last })
        };
        self.evaluations.iter().filter_map(of).min_by(|a, b| (a.last / a.best).total_cmp(&(b.last / b.best)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evaluation(step: usize, greedy: f64, warm: f64) -> Row {
        let mut row = Row::new(step);
        row.set("eval/greedy/reward", greedy).set("eval/t0.9/reward", warm).set("eval/greedy/accuracy", 0.0);
        row
    }

    fn update(step: usize, phase: usize, reward: f64, zero: f64) -> Row {
        let mut row = Row::new(step);
        row.set("iteration", phase).set("reward", reward).set("frac_reward_zero_std", zero);
        row
    }

    #[test]
    fn a_run_that_lost_its_held_out_reward_ended_without_a_word() {
        let mut decline = Decline::default();
        for (step, greedy, warm) in [(0, 0.9, 0.6), (40, 0.95, 0.7), (60, 0.95, 0.7), (80, 0.95, 0.5), (120, 0.1, 0.0)]
        {
            assert_eq!(decline.observe(&evaluation(step, greedy, warm)), None);
        }
        let loss = decline.loss().expect("far down");
        assert_eq!(loss, Loss { label: "t0.9".into(), best_step: 40, best: 0.7, last: 0.0 });
        decline.observe(&evaluation(160, 0.9, 0.4));
        assert_eq!(decline.loss(), None, "it has come back");
        assert_eq!(Decline::default().loss(), None);
    }

    #[test]
    fn phases_without_reward_are_counted_once_each_and_said_once() {
        let mut decline = Decline::default();
        let mut said = Vec::new();
        for phase in 0..9 {
            for inner in 1..=2 {
                let reward = if phase < 2 { 0.5 } else { 0.0 };
                said.extend(decline.observe(&update(2 * phase + inner, phase + 1, reward, 1.0)));
            }
        }
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].contains("the last 5 phases (since step 5)"), "{said:?}");
        assert!(decline.drought().is_some_and(|text| text.contains("the last 7 phases")));
        decline.observe(&update(20, 10, 0.1, 0.5));
        assert_eq!(decline.drought(), None);
    }
}
