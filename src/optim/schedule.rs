//! The learning rate over a run.

use crate::config::{LrSchedulerType, TrainTable};

/// Linear warm-up, then a constant, linear or cosine course.
///
/// With `w = ceil(warmup_ratio * U)` of `U` updates and `u` counted from zero, the part of the peak rate is
///
/// ```text
/// (u + 1) / w                     u < w: the first update already moves, the last of the warm-up is at the peak
/// 1                               constant
/// 1 - s                           linear,  s = (u - w) / (U - w)
/// (1 + cos(pi s)) / 2             cosine
/// ```
///
/// As in Hugging Face's schedules zero is reached right after the last update, so that none is wasted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    kind: LrSchedulerType,
    peak: f64,
    warmup: usize,
    total: usize,
}

impl Schedule {
    /// The schedule of a configuration.
    pub fn new(table: &TrainTable) -> Self {
        let total = table.max_steps.get();
        // The subtraction keeps products such as 0.07 * 100 = 7.000000000000001 from adding an update.
        let warmup = (table.warmup_ratio.get() * total as f64 - 1e-9).ceil().max(0.0) as usize;
        Self { kind: table.lr_scheduler_type, peak: table.learning_rate.get(), warmup, total }
    }

    /// The learning rate of update `update`, counted from zero.
    pub fn learning_rate(&self, update: usize) -> f64 {
        if update < self.warmup {
            return self.peak * (update + 1) as f64 / self.warmup as f64;
        }
        // A run that was made longer than its schedule stays at the end of it.
        let rest = self.total.saturating_sub(self.warmup).max(1);
        let done = ((update - self.warmup) as f64 / rest as f64).min(1.0);
        self.peak
            * match self.kind {
                LrSchedulerType::Constant => 1.0,
                LrSchedulerType::Linear => 1.0 - done,
                LrSchedulerType::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * done).cos()),
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(kind: &str, total: usize, warmup_ratio: f64) -> Schedule {
        let table = format!(
            "max_steps = {total}\nlearning_rate = 2.0\nlr_scheduler_type = '{kind}'\nwarmup_ratio = {warmup_ratio:?}"
        );
        Schedule::new(&toml::from_str(&table).unwrap())
    }

    fn rates(schedule: Schedule) -> Vec<f64> {
        (0..=schedule.total + 1).map(|update| schedule.learning_rate(update)).collect()
    }

    #[test]
    fn warms_up_to_the_peak_without_wasting_the_first_update() {
        assert_eq!(rates(schedule("constant", 8, 0.5)), [0.5, 1.0, 1.5, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0]);
    }

    #[test]
    fn falls_to_zero_right_after_the_last_update() {
        assert_eq!(rates(schedule("linear", 5, 0.2)), [2.0, 2.0, 1.5, 1.0, 0.5, 0.0, 0.0]);
        let cosine = rates(schedule("cosine", 4, 0.0));
        let half = 0.5f64.sqrt();
        for (ours, expected) in cosine.iter().zip([2.0, 1.0 + half, 1.0, 1.0 - half, 0.0, 0.0]) {
            assert!((ours - expected).abs() < 1e-15, "{cosine:?}");
        }
    }

    #[test]
    fn the_published_warm_up_is_one_update() {
        let published = schedule("constant", 6000, 1e-4);
        assert_eq!(published.warmup, 1);
        assert_eq!(published.learning_rate(0), 2.0);
    }

    #[test]
    fn the_warm_up_rounds_up_but_not_for_rounding_errors() {
        // 0.07 * 100 is above 7 in f64
        assert_eq!(schedule("constant", 100, 0.07).warmup, 7);
        assert_eq!(schedule("constant", 100, 0.071).warmup, 8);
        assert_eq!(schedule("constant", 100, 0.0).warmup, 0);
    }

    #[test]
    fn a_warm_up_over_the_whole_run_has_no_decay() {
        assert_eq!(rates(schedule("linear", 2, 1.0)), [1.0, 2.0, 2.0, 0.0]);
    }
}
