//! Group-relative advantages, and what the rewards of a step look like.

use std::num::NonZeroUsize;

use crate::config::AdvantageKind;

/// What is added to a standard deviation before dividing by it, as in TRL.
const STD_EPSILON: f64 = 1e-4;

/// Advantage of every completion: its reward minus the mean reward `m` of its group (arXiv 2510.09541, method section),
/// over the group's standard deviation (with `n`) plus 1e-4, or times `g / (g - 1)`, which is the reward minus the mean of
/// the others.
///
/// # Shapes
/// `rewards` holds the groups one after the other, `num_generations` completions each; so does the result.
///
/// A group whose rewards are all equal gets advantages of exactly zero. Subtracting the mean alone would
/// leave rounding errors (`0.1` three times has a mean above `0.1`), and AdamW blows even those up to
/// full-sized updates.
pub fn group_advantages(rewards: &[f64], num_generations: NonZeroUsize, kind: AdvantageKind) -> Vec<f64> {
    let groups = rewards.chunks(num_generations.get());
    groups
        .flat_map(|group| {
            let mean = if all_equal(group) { group[0] } else { mean(group) };
            let scale = match kind {
                AdvantageKind::Centered => 1.0,
                AdvantageKind::Normalized => 1.0 / (population_std(group, mean) + STD_EPSILON),
                AdvantageKind::LeaveOneOut => group.len() as f64 / (group.len() - 1).max(1) as f64,
            };
            group.iter().map(move |reward| (reward - mean) * scale)
        })
        .collect()
}

/// Standard deviation with `n`.
fn population_std(group: &[f64], mean: f64) -> f64 {
    (group.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / group.len() as f64).sqrt()
}

/// Statistics of the rewards of a step, under TRL's names.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RewardStats {
    /// Mean reward of all completions.
    pub reward: f64,
    /// Standard deviation (`n - 1`) within a group, averaged over the groups.
    pub reward_std: f64,
    /// Part of the groups whose rewards are all equal: they teach nothing.
    pub frac_reward_zero_std: f64,
}

/// Statistics of rewards laid out as in [`group_advantages`]; all zero when there are none.
pub fn reward_stats(rewards: &[f64], num_generations: NonZeroUsize) -> RewardStats {
    let groups: Vec<&[f64]> = rewards.chunks(num_generations.get()).collect();
    let stds: Vec<f64> = groups.iter().map(|group| sample_std(group)).collect();
    let equal: Vec<f64> = groups.iter().map(|group| f64::from(u8::from(all_equal(group)))).collect();
    RewardStats { reward: mean(rewards), reward_std: mean(&stds), frac_reward_zero_std: mean(&equal) }
}

fn all_equal(group: &[f64]) -> bool {
    group.iter().all(|&reward| reward == group[0])
}

fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / values.len() as f64 }
}

/// Standard deviation with `n - 1`; zero for a group of one, where it is undefined.
fn sample_std(values: &[f64]) -> f64 {
    if values.len() < 2 || all_equal(values) {
        return 0.0;
    }
    let mean = mean(values);
    (values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (values.len() - 1) as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups_of(n: usize) -> NonZeroUsize {
        NonZeroUsize::new(n).unwrap()
    }

    #[test]
    fn the_mean_is_taken_group_by_group() {
        let advantages = group_advantages(&[1.0, 3.0, 0.0, 10.0], groups_of(2), AdvantageKind::Centered);
        assert_eq!(advantages, [-1.0, 1.0, -5.0, 5.0]);
    }

    #[test]
    fn equal_rewards_give_exactly_zero() {
        assert_ne!((0.1 + 0.1 + 0.1) / 3.0, 0.1, "the case this guards against");
        for kind in [AdvantageKind::Centered, AdvantageKind::Normalized, AdvantageKind::LeaveOneOut] {
            assert_eq!(group_advantages(&[0.1; 6], groups_of(3), kind), [0.0; 6]);
        }
    }

    #[test]
    fn deviations_and_the_mean_of_the_others_scale_them() {
        let rewards = [0.0, 1.0, 5.0];
        let of = |kind| group_advantages(&rewards, groups_of(3), kind);
        let others = of(AdvantageKind::LeaveOneOut);
        for (ours, expected) in others.iter().zip([0.0 - 3.0, 1.0 - 2.5, 5.0 - 0.5]) {
            assert!((ours - expected).abs() < 1e-15, "{others:?}");
        }
        let deviation = (14f64 / 3.0).sqrt();
        for (ours, centered) in of(AdvantageKind::Normalized).iter().zip([-2.0, -1.0, 3.0]) {
            assert!((ours - centered / (deviation + 1e-4)).abs() < 1e-14);
        }
    }

    #[test]
    fn statistics_follow_trl() {
        let stats = reward_stats(&[1.0, 3.0, 2.0, 2.0], groups_of(2));
        assert_eq!(stats.reward, 2.0);
        assert!((stats.reward_std - 2f64.sqrt() / 2.0).abs() < 1e-15);
        assert_eq!(stats.frac_reward_zero_std, 0.5);
    }

    #[test]
    fn no_rewards_and_groups_of_one_are_harmless() {
        assert_eq!(group_advantages(&[], groups_of(6), AdvantageKind::Centered), [0.0; 0]);
        assert_eq!(reward_stats(&[], groups_of(6)).reward, 0.0);
        assert_eq!(group_advantages(&[1.0, 2.0], groups_of(1), AdvantageKind::LeaveOneOut), [0.0, 0.0]);
        assert_eq!(reward_stats(&[1.0, 2.0], groups_of(1)).reward_std, 0.0);
    }

    #[test]
    fn advantages_of_the_golden_rewards() {
        for golden in super::super::testing::Golden::all() {
            let advantages =
                group_advantages(&golden.rewards, groups_of(golden.rewards.len()), AdvantageKind::Centered);
            for (ours, theirs) in advantages.iter().zip(&golden.advantages) {
                assert!((ours - theirs).abs() < 1e-6, "{ours} {theirs}");
            }
        }
    }
}
