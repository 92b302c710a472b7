//! Where the time of a pass goes: stopwatches around its parts, off unless a benchmark turns them on.
//!
//! They belong to the thread that runs the passes. While they are off, one costs a look at a thread-local variable.

use std::cell::RefCell;
use std::time::Instant;

use candle_core::{Device, Error};

/// What time is spent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Norm, projections, rotation and attention of the blocks, forward.
    Attention,
    /// Norm and MLP of the blocks, forward.
    Mlp,
    /// Final norm and head, forward.
    Head,
    /// From logits to the tokens that are committed.
    Sampling,
    /// From the gradient of the log-probabilities to those of the weights.
    Backward,
    /// Clipping and the optimiser's step.
    Optimiser,
}

impl Part {
    /// All parts.
    pub const ALL: [Self; 6] =
        [Self::Attention, Self::Mlp, Self::Head, Self::Sampling, Self::Backward, Self::Optimiser];

    /// The name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Attention => "attention",
            Self::Mlp => "mlp",
            Self::Head => "head",
            Self::Sampling => "sampling",
            Self::Backward => "backward",
            Self::Optimiser => "optimiser",
        }
    }
}

/// The times taken since [`start`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Profile {
    seconds: [f64; Part::ALL.len()],
    /// Whether a part is being timed: a part within a part counts for the outer one.
    inside: bool,
    /// Time in the matrix products of linear layers and head.
    pub gemm_seconds: f64,
    /// Floating-point operations of those products.
    pub gemm_flops: f64,
}

impl Profile {
    /// The time spent on a part.
    pub fn seconds(&self, part: Part) -> f64 {
        self.seconds[part as usize]
    }
}

thread_local! {
    static PROFILE: RefCell<Option<Profile>> = const { RefCell::new(None) };
}

/// Turns the stopwatches of this thread on, at zero.
pub fn start() {
    PROFILE.set(Some(Profile::default()));
}

/// Turns them off; the times taken since [`start`], none if they were off.
pub fn stop() -> Option<Profile> {
    PROFILE.take()
}

/// Runs `work`, which is `part` of a pass on `device`. (Accelerators work on while the program does; to be timed they
/// are waited for.)
///
/// # Errors
/// Those of `work`, and of waiting for the device.
pub fn measure<T, E: From<Error>>(part: Part, device: &Device, work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    let outermost = PROFILE.with_borrow_mut(|profile| {
        profile.as_mut().is_some_and(|profile| !std::mem::replace(&mut profile.inside, true))
    });
    if !outermost {
        return work();
    }
    let started = Instant::now();
    let result = work().and_then(|done| Ok(device.synchronize().map(|()| done)?));
    PROFILE.with_borrow_mut(|profile| {
        if let Some(profile) = profile {
            profile.seconds[part as usize] += started.elapsed().as_secs_f64();
            profile.inside = false;
        }
    });
    result
}

/// Runs a matrix product `[n, k] x [k, m]` on `device`.
///
/// # Errors
/// As [`measure`].
pub fn product<T>(
    [n, k, m]: [usize; 3],
    device: &Device,
    work: impl FnOnce() -> candle_core::Result<T>,
) -> candle_core::Result<T> {
    if PROFILE.with_borrow(Option::is_none) {
        return work();
    }
    let started = Instant::now();
    let done = work()?;
    device.synchronize()?;
    PROFILE.with_borrow_mut(|profile| {
        if let Some(profile) = profile {
            profile.gemm_seconds += started.elapsed().as_secs_f64();
            profile.gemm_flops += 2.0 * n as f64 * k as f64 * m as f64;
        }
    });
    Ok(done)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn sleep(part: Part, millis: u64) {
        let nap = || -> candle_core::Result<()> {
            std::thread::sleep(Duration::from_millis(millis));
            Ok(())
        };
        measure(part, &Device::Cpu, nap).unwrap();
    }

    #[test]
    fn nothing_is_timed_unless_it_is_asked_for() {
        sleep(Part::Mlp, 1);
        assert_eq!(stop(), None);
    }

    #[test]
    fn a_part_within_a_part_counts_for_the_outer_one() {
        start();
        measure(Part::Backward, &Device::Cpu, || -> candle_core::Result<()> {
            sleep(Part::Mlp, 2);
            product([3, 4, 5], &Device::Cpu, || Ok(()))
        })
        .unwrap();
        sleep(Part::Head, 1);
        let failed: candle_core::Result<()> = measure(Part::Head, &Device::Cpu, || candle_core::bail!("no"));
        assert!(failed.is_err());
        let profile = stop().unwrap();
        assert!(profile.seconds(Part::Backward) >= 0.002 && profile.seconds(Part::Head) >= 0.001);
        assert_eq!((profile.seconds(Part::Mlp), profile.gemm_flops), (0.0, 120.0));
        assert!(!profile.inside);
    }
}
