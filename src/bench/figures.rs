//! What a benchmark found, as text and as JSON.

use serde_json::{Map, Value, json};

use crate::model::ops::gpu::Traffic;
use crate::profile::{Part, Profile};
use crate::world::Times;

/// The figures of one benchmark.
#[derive(Clone, Debug)]
pub struct Figures {
    /// Time of the rollout, if there was one.
    pub rollout_seconds: Option<f64>,
    /// Tokens the rollout generated: batch times canvas.
    pub generated_tokens: usize,
    /// Time of every update.
    pub train_seconds: Vec<f64>,
    /// Time of all that was timed.
    pub seconds: f64,
    /// How many processes shared the work.
    pub processes: usize,
    /// What working together took of it.
    pub together: Times,
    /// Where it went.
    pub profile: Profile,
    /// The best rate of a large matrix product on this machine, GFLOP/s.
    pub gemm_peak_gflops: f64,
    /// The most memory the process held, MiB.
    pub peak_memory_mib: Option<f64>,
    /// What passed between host and accelerator, if there is one.
    pub traffic: Option<PassTraffic>,
}

/// Costs of passes on an accelerator beside arithmetic.
#[derive(Clone, Copy, Debug)]
pub struct PassTraffic {
    /// Of a denoising step, if there was a rollout.
    pub step: Option<Traffic>,
    /// Of an update, if there was one.
    pub update: Option<Traffic>,
}

impl PassTraffic {
    fn passes(self) -> impl Iterator<Item = (&'static str, Traffic)> {
        [("step", self.step), ("update", self.update)].into_iter().filter_map(|(name, of)| Some((name, of?)))
    }
}

impl Figures {
    /// Generated tokens a second.
    fn rollout_tokens_per_second(&self) -> Option<f64> {
        self.rollout_seconds.map(|seconds| self.generated_tokens as f64 / seconds)
    }

    /// The median time of an update.
    fn train_step_seconds(&self) -> Option<f64> {
        let mut seconds = self.train_seconds.clone();
        seconds.sort_by(f64::total_cmp);
        let (upper, lower) = (seconds.get(seconds.len() / 2)?, seconds.get(seconds.len().saturating_sub(1) / 2)?);
        Some(lower.midpoint(*upper))
    }

    /// The rate that the products of linear layers and head reached, GFLOP/s.
    fn gemm_gflops(&self) -> Option<f64> {
        let Profile { gemm_seconds, gemm_flops, .. } = self.profile;
        (gemm_seconds > 0.0).then(|| gemm_flops / gemm_seconds / 1e9)
    }

    /// Every part with its share of the time, and the rest, which adds up to 1.
    fn shares(&self) -> Vec<(&'static str, f64)> {
        let share = |part: Part| (part.name(), self.profile.seconds(part) / self.seconds);
        let mut shares: Vec<(&'static str, f64)> = Part::ALL.into_iter().map(share).collect();
        let rest = 1.0 - shares.iter().map(|(_, share)| share).sum::<f64>();
        shares.push(("other", rest));
        shares
    }

    /// One object; what was not measured is null.
    pub fn as_json(&self) -> Value {
        let shares: Map<String, Value> =
            self.shares().into_iter().map(|(name, share)| (name.to_owned(), share.into())).collect();
        json!({
            "rollout_s": self.rollout_seconds,
            "rollout_tokens_per_s": self.rollout_tokens_per_second(),
            "train_step_s": self.train_step_seconds(),
            "peak_memory_mib": self.peak_memory_mib,
            "gemm_gflops": self.gemm_gflops(),
            "gemm_peak_gflops": self.gemm_peak_gflops,
            "processes": self.processes,
            "waiting_share": self.together.waiting / self.seconds,
            "reducing_share": self.together.reducing / self.seconds,
            "gemm_share": self.profile.gemm_seconds / self.seconds,
            "traffic": self.traffic.map(|traffic| {
                let of = |(name, t): (&str, Traffic)| {
                    let Traffic { launches, bytes_to_device, uploads, bytes_to_host } = t;
                    let figures = json!({
                        "launches": launches,
                        "uploads": uploads,
                        "bytes_to_device": bytes_to_device,
                        "bytes_to_host": bytes_to_host,
                    });
                    (name.to_owned(), figures)
                };
                traffic.passes().map(of).collect::<Map<_, _>>()
            }),
            "share": shares,
        })
    }

    /// A line a figure.
    pub fn as_text(&self) -> String {
        let mut lines = Vec::new();
        let mut line = |name: &str, text: String| lines.push(format!("{name:12} {text}"));
        if let (Some(seconds), Some(rate)) = (self.rollout_seconds, self.rollout_tokens_per_second()) {
            line("rollout", format!("{seconds:.3} s, {rate:.1} tokens/s"));
        }
        if self.processes > 1 {
            let share = |seconds: f64| 100.0 * seconds / self.seconds;
            let (waiting, reducing) = (share(self.together.waiting), share(self.together.reducing));
            line(
                "processes",
                format!("{}: {waiting:.1} % waiting, {reducing:.1} % adding up gradients", self.processes),
            );
        }
        if let Some(seconds) = self.train_step_seconds() {
            line("train step", format!("{seconds:.3} s (median of {})", self.train_seconds.len()));
        }
        if let Some(mib) = self.peak_memory_mib {
            line("peak memory", format!("{mib:.0} MiB"));
        }
        if let Some(rate) = self.gemm_gflops() {
            let (peak, share) = (self.gemm_peak_gflops, 100.0 * self.profile.gemm_seconds / self.seconds);
            line(
                "gemm",
                format!(
                    "{rate:.1} GFLOP/s, {:.0} % of the {peak:.1} of a large product; {share:.0} % of the time",
                    100.0 * rate / peak
                ),
            );
        }
        for (name, t) in self.traffic.into_iter().flat_map(PassTraffic::passes) {
            let kb = |bytes: u64| bytes as f64 / 1e3;
            line(
                name,
                format!(
                    "{} launches, {} uploads of {:.1} kB, {:.1} kB to the host",
                    t.launches,
                    t.uploads,
                    kb(t.bytes_to_device),
                    kb(t.bytes_to_host)
                ),
            );
        }
        let shares: Vec<String> =
            self.shares().into_iter().map(|(name, share)| format!("{name} {:.1} %", 100.0 * share)).collect();
        line("share", shares.join(", "));
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures() -> Figures {
        let mut profile = Profile::default();
        (profile.gemm_seconds, profile.gemm_flops) = (4.0, 8e9);
        Figures {
            rollout_seconds: Some(2.0),
            generated_tokens: 128,
            train_seconds: vec![3.0, 1.0, 2.0],
            seconds: 8.0,
            processes: 1,
            together: Times::default(),
            profile,
            gemm_peak_gflops: 4.0,
            peak_memory_mib: None,
            traffic: None,
        }
    }

    #[test]
    fn rates_medians_and_shares_are_computed() {
        let json = figures().as_json();
        let number = |name: &str| json[name].as_f64();
        assert_eq!((number("rollout_tokens_per_s"), number("train_step_s")), (Some(64.0), Some(2.0)));
        assert_eq!((number("gemm_gflops"), number("gemm_share")), (Some(2.0), Some(0.5)));
        assert!(json["peak_memory_mib"].is_null());
        let shares = json["share"].as_object().unwrap();
        assert_eq!(shares.values().filter_map(Value::as_f64).sum::<f64>(), 1.0);
        assert_eq!(shares.len(), Part::ALL.len() + 1);
    }

    #[test]
    fn costs_of_an_accelerator_have_a_line_a_pass() {
        let step = Traffic { launches: 930, bytes_to_device: 22_100, uploads: 6, bytes_to_host: 771_072 };
        let figures = Figures { traffic: Some(PassTraffic { step: Some(step), update: None }), ..figures() };
        let text = figures.as_text();
        assert!(text.contains("step         930 launches, 6 uploads of 22.1 kB, 771.1 kB to the host"), "{text}");
        let json = figures.as_json();
        assert_eq!((json["traffic"]["step"]["launches"].as_u64(), json["traffic"].get("update")), (Some(930), None));
    }

    #[test]
    fn what_was_not_measured_has_no_line() {
        let text = Figures { rollout_seconds: None, train_seconds: Vec::new(), ..figures() }.as_text();
        assert!(!text.contains("rollout") && !text.contains("train step") && text.contains("gemm"), "{text}");
        assert!(figures().as_text().contains("50 % of the 4.0 of a large product"), "{}", figures().as_text());
    }
}
