//! Problems made from a seed: random numbers, and the value of a random expression over them as the target.

use std::collections::HashSet;
use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::expression;
use crate::rng::{Key, Purpose};
use crate::task::Record;

/// Draws that are made in vain, for each problem that is wanted, before the numbers are held to be exhausted.
const PATIENCE: usize = 200;

/// Makes problems: numbers and a target that can be reached through positive integers.
#[derive(Clone, Debug)]
pub struct ProblemMaker {
    /// Seed of all draws.
    pub seed: u64,
    /// Numbers of a problem.
    pub count: usize,
    /// What the numbers may be; positive.
    pub range: RangeInclusive<i64>,
    /// The largest target; the smallest is 1.
    pub max_target: i64,
}

/// There are fewer problems than were asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted {
    /// The problems that were found.
    pub available: usize,
}

impl ProblemMaker {
    /// The first `wanted` problems, no two of which have the same numbers and the same target. The first of many are
    /// the first of few.
    ///
    /// # Errors
    /// If so many are not found.
    pub fn records(&self, wanted: usize) -> Result<Vec<Record>, Exhausted> {
        let mut seen = HashSet::new();
        let mut records = Vec::with_capacity(wanted);
        for attempt in 0..wanted.saturating_mul(PATIENCE) {
            if records.len() == wanted {
                break;
            }
            let Some((numbers, target)) = self.draw(attempt) else { continue };
            let mut sorted = numbers.clone();
            sorted.sort_unstable();
            if seen.insert((sorted, target)) {
                records.push(record(numbers, target));
            }
        }
        if records.len() < wanted { Err(Exhausted { available: records.len() }) } else { Ok(records) }
    }

    fn draw(&self, attempt: usize) -> Option<(Vec<i64>, i64)> {
        let mut rng = Key::new(self.seed, Purpose::Record).step(attempt as u64).rng();
        let width = self.range.end().saturating_sub(*self.range.start()).saturating_add(1);
        let width = usize::try_from(width).ok().filter(|&width| width > 0)?;
        let numbers: Vec<i64> = (0..self.count).map(|_| self.range.start() + rng.below(width) as i64).collect();
        let (_, target) = expression::random(&numbers, &mut rng)?;
        (1..=self.max_target).contains(&target).then_some((numbers, target))
    }
}

fn record(numbers: Vec<i64>, target: i64) -> Record {
    let fields = [("numbers".to_owned(), Value::from(numbers)), ("target".to_owned(), target.into())];
    Record::from(Map::from_iter(fields))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn maker(seed: u64) -> ProblemMaker {
        ProblemMaker { seed, count: 3, range: 1..=99, max_target: 100 }
    }

    #[test]
    fn problems_are_distinct_solvable_and_within_the_ranges() {
        let records = maker(0).records(500).unwrap();
        let mut seen = HashSet::new();
        for record in &records {
            let numbers: Vec<i64> = serde_json::from_value(record.value("numbers").unwrap().clone()).unwrap();
            let target = record.value("target").unwrap().as_i64().unwrap();
            assert!(numbers.len() == 3 && numbers.iter().all(|n| (1..=99).contains(n)), "{numbers:?}");
            assert!((1..=100).contains(&target));
            assert!(expression::solve(&numbers, target).is_some(), "{numbers:?} {target}");
            let mut sorted = numbers;
            sorted.sort_unstable();
            assert!(seen.insert((sorted, target)));
        }
    }

    #[test]
    fn problems_depend_on_the_seed_alone() {
        assert_eq!(maker(1).records(20).unwrap(), maker(1).records(50).unwrap()[..20]);
        assert_ne!(maker(1).records(20).unwrap(), maker(2).records(20).unwrap());
        // pinned: a change here makes old runs irreproducible
        let first = maker(0).records(1).unwrap();
        assert_eq!(serde_json::to_string(&first).unwrap(), r#"[]"#);
    }

    #[test]
    fn asking_for_more_problems_than_there_are_ends() {
        let few = ProblemMaker { seed: 0, count: 2, range: 1..=2, max_target: 100 };
        // 1+1, 1*1; 1+2, 2-1, 1*2; 2+2, 2/2, 2*2
        assert_eq!(few.records(7).map(|records| records.len()), Ok(7));
        assert_eq!(few.records(8), Err(Exhausted { available: 7 }));
        let none = ProblemMaker { seed: 0, count: 2, range: 50..=60, max_target: 0 };
        assert_eq!(none.records(1), Err(Exhausted { available: 0 }));
    }
}
