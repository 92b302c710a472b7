//! Means over seeds, and means over the last phases.

/// A mean with its spread.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mean {
    /// The mean.
    pub mean: f64,
    /// The sample standard deviation; none of one value.
    pub spread: Option<f64>,
}

impl Mean {
    /// `mean = sum x / n`, `spread = sqrt(sum (x - mean)^2 / (n - 1))`; none of no values.
    pub fn of(values: &[f64]) -> Option<Self> {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
        match values {
            [] => None,
            [one] => Some(Self { mean: *one, spread: None }),
            _ => Some(Self { mean, spread: Some((squares / (n - 1.0)).sqrt()) }),
        }
    }
}

/// At every place the mean of the last `window` values up to it; at the beginning, of as many as there are.
pub fn rolling(values: &[f64], window: usize) -> Vec<f64> {
    let mean = |i: usize| {
        let last = &values[(i + 1).saturating_sub(window)..=i];
        last.iter().sum::<f64>() / last.len() as f64
    };
    (0..values.len()).map(mean).collect()
}

/// The window for so many values if none is asked for: the square root of their number, so that the noise goes down and
/// the course stays.
pub fn window(values: usize) -> usize {
    (values as f64).sqrt().round().max(1.0) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_knows_its_spread() {
        assert_eq!(Mean::of(&[]), None);
        assert_eq!(Mean::of(&[0.3]), Some(Mean { mean: 0.3, spread: None }));
        assert_eq!(Mean::of(&[1.0, 2.0, 6.0]), Some(Mean { mean: 3.0, spread: Some(7_f64.sqrt()) }));
        assert_eq!(Mean::of(&[2.0, 2.0]), Some(Mean { mean: 2.0, spread: Some(0.0) }));
    }

    #[test]
    fn a_window_rolls_over_what_is_there() {
        assert_eq!(rolling(&[1.0, 3.0, 8.0, 1.0], 2), [1.0, 2.0, 5.5, 4.5]);
        assert_eq!(rolling(&[1.0, 3.0, 8.0], 1), [1.0, 3.0, 8.0]);
        assert_eq!(rolling(&[1.0, 3.0, 8.0], 9), [1.0, 2.0, 4.0]);
        assert!(rolling(&[], 3).is_empty());
        assert_eq!([0, 1, 2, 60, 1000].map(window), [1, 1, 1, 8, 32]);
    }
}
