//! pass@k: the probability that one of `k` completions is right, estimated from `n` of them without bias.

/// `1 - C(n - c, k) / C(n, k)`: the fraction of the sets of `k` of `n` completions that hold one of the `c` right
/// ones (arXiv 2107.03374, equation 1). From 0 to 1.
///
/// # Panics
/// If `c > n` or `k > n`: there is no such set, which is a bug of the caller.
pub fn pass_at_k(n: usize, c: usize, k: usize) -> f64 {
    assert!(c <= n && k <= n, "pass@{k} of {c} right ones among {n}");
    // C(n - c, k) / C(n, k), as a product of fractions so that no factorial overflows; it holds 0 where n - c < k
    let misses: f64 = (0..k).map(|i| (n - c).saturating_sub(i) as f64 / (n - i) as f64).product();
    1.0 - misses
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn closed_forms() {
        for n in 1..=20 {
            for c in 0..=n {
                assert!((pass_at_k(n, c, 1) - c as f64 / n as f64).abs() < 1e-12, "pass@1 is the fraction right");
                assert_eq!(pass_at_k(n, c, n), if c > 0 { 1.0 } else { 0.0 }, "all of them");
                assert_eq!(pass_at_k(n, c, 0), 0.0);
            }
            for k in 1..=n {
                assert_eq!((pass_at_k(n, 0, k), pass_at_k(n, n, k)), (0.0, 1.0));
            }
        }
        assert!((pass_at_k(5, 2, 2) - 0.7).abs() < 1e-12, "1 - 3/10");
        // the factorials of these numbers have no f64
        assert!((pass_at_k(1000, 1, 500) - 0.5).abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn it_is_the_fraction_of_the_subsets_that_hold_a_right_one(n in 1usize..11, c in 0usize..11, k in 0usize..11) {
            let (c, k) = (c.min(n), k.min(n));
            let sets: Vec<u32> = (0u32..1 << n).filter(|set| set.count_ones() as usize == k).collect();
            // the first c completions are the right ones
            let passing = sets.iter().filter(|&&set| set & ((1 << c) - 1) != 0).count();
            prop_assert!((pass_at_k(n, c, k) - passing as f64 / sets.len() as f64).abs() < 1e-12);
        }

        #[test]
        fn more_tries_never_hurt(n in 1usize..200, c in 0usize..200, k in 1usize..200) {
            let (c, k) = (c.min(n), k.min(n));
            prop_assert!(pass_at_k(n, c, k) >= pass_at_k(n, c, k - 1) - 1e-12);
        }
    }
}
