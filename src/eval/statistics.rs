//! Means over records, with their standard errors.

use serde::Serialize;

/// A mean and how far it may be from the mean over all records there could be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// The mean.
    pub value: f64,
    /// Its standard error; none from fewer than two records.
    pub stderr: Option<f64>,
}

impl Estimate {
    /// `sum y / sum x` over records `(y, x)`, such as right cells and empty cells; 0 where there is no `x` at all.
    ///
    /// The standard error is that of a ratio of means to first order, `sqrt(sum (y - r x)^2 / (n (n - 1))) / mean(x)`:
    /// for equal `x` it is the sample standard deviation over the square root of `n`. Completions of one record are
    /// no independent draws of the task, so they go into one pair.
    pub fn ratio(records: &[(f64, f64)]) -> Self {
        let n = records.len() as f64;
        let (y, x) = records.iter().fold((0.0, 0.0), |(ys, xs), &(y, x)| (ys + y, xs + x));
        let value = if x == 0.0 { 0.0 } else { y / x };
        let squares: f64 = records.iter().map(|&(y, x)| (y - value * x).powi(2)).sum();
        let stderr = (n >= 2.0 && x > 0.0).then(|| (squares / (n * (n - 1.0))).sqrt() * n / x);
        Self { value, stderr }
    }

    /// The mean of one number a record.
    pub fn mean(values: impl IntoIterator<Item = f64>) -> Self {
        let records: Vec<(f64, f64)> = values.into_iter().map(|y| (y, 1.0)).collect();
        Self::ratio(&records)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Key, Purpose};

    #[test]
    fn equal_weights_give_the_mean_and_its_standard_error() {
        let e = Estimate::mean([1.0, 0.0, 1.0, 1.0]);
        assert_eq!(e.value, 0.75);
        // sample variance 0.25, four records
        assert!((e.stderr.expect("four records") - 0.25).abs() < 1e-12);
        let scaled = Estimate::ratio(&[(8.0, 8.0), (0.0, 8.0), (8.0, 8.0), (8.0, 8.0)]);
        assert!((scaled.value - e.value).abs() < 1e-12 && (scaled.stderr.expect("four") - 0.25).abs() < 1e-12);
    }

    #[test]
    fn what_has_no_spread_or_no_records_says_so() {
        assert_eq!(Estimate::mean([0.5]), Estimate { value: 0.5, stderr: None });
        assert_eq!(Estimate::mean([1.0, 1.0]).stderr, Some(0.0));
        assert_eq!(Estimate::mean([]), Estimate { value: 0.0, stderr: None });
        assert_eq!(Estimate::ratio(&[(0.0, 0.0), (0.0, 0.0)]), Estimate { value: 0.0, stderr: None });
    }

    #[test]
    fn the_standard_error_is_the_spread_of_the_ratio_over_many_draws() {
        // records of 4 to 12 cells, each right with probability 0.7
        let mut rng = Key::new(3, Purpose::Mask).rng();
        let (mut ratios, mut errors) = (Vec::new(), Vec::new());
        for _ in 0..2000 {
            let records: Vec<(f64, f64)> = (0..60)
                .map(|_| {
                    let x = 4 + rng.below(9);
                    ((0..x).filter(|_| rng.bernoulli(0.7)).count() as f64, x as f64)
                })
                .collect();
            let e = Estimate::ratio(&records);
            ratios.push(e.value);
            errors.push(e.stderr.expect("60 records"));
        }
        let n = ratios.len() as f64;
        let mean = ratios.iter().sum::<f64>() / n;
        let spread = (ratios.iter().map(|r| (r - mean).powi(2)).sum::<f64>() / n).sqrt();
        let claimed = errors.iter().sum::<f64>() / n;
        assert!((spread / claimed - 1.0).abs() < 0.08, "{spread} {claimed}");
    }
}
