//! The arguments of `spg sweep`.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;
use spg::config::{Axis, SweepAction, SweepReportOptions, SweepRequest};
use spg::error::Usage;

use super::SetArgs;

/// Arguments of `spg sweep`.
#[derive(Debug, Args)]
pub struct SweepArgs {
    /// Configuration file (TOML), or the name of a shipped one (spg configs)
    #[arg(long, short, value_name = "FILE", required_unless_present = "report")]
    config: Option<PathBuf>,
    #[command(flatten)]
    set: SetArgs,
    /// A key and the values to try, such as train.learning_rate=1e-4,3e-4; may be repeated: every combination is a point
    #[arg(long, value_name = "KEY=V1,V2")]
    grid: Vec<Axis>,
    /// The seeds of every point, instead of run.seed
    #[arg(long, value_name = "N,N", value_delimiter = ',', value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    seeds: Vec<u64>,
    /// Folder for the run folders and the report; further points and seeds may be added to one that exists
    #[arg(long, short, value_name = "DIR", required_unless_present = "report")]
    output_dir: Option<PathBuf>,
    /// Number the runs and say how far they are; start none
    #[arg(long)]
    list: bool,
    /// Make only this run of the list
    #[arg(long, value_name = "N", conflicts_with = "list")]
    only: Option<usize>,
    /// Runs at once; on the CPU they share the cores (unless RAYON_NUM_THREADS says how many threads each has)
    #[arg(long, value_name = "N", default_value = "1", conflicts_with = "list")]
    jobs: NonZeroUsize,
    /// Make the report of a sweep again, and do nothing else
    #[arg(long, value_name = "DIR", conflicts_with_all = ["config", "set", "device", "grid", "seeds", "output_dir", "list", "only", "jobs"])]
    report: Option<PathBuf>,
    /// Held-out reward whose updates and seconds are told; by default the lowest of the points' mean best rewards
    #[arg(long, value_name = "X", value_parser = finite, conflicts_with = "list", help_heading = REPORT)]
    threshold: Option<f64>,
    /// Phases over which the training reward is averaged; by default the square root of their number
    #[arg(long, value_name = "N", conflicts_with = "list", help_heading = REPORT)]
    window: Option<NonZeroUsize>,
}

const REPORT: &str = "Report";

/// What the help text says after the options.
pub const SWEEP_HELP: &str = "\
Every run is one of `spg train`, in a folder of its own: DIR/learning_rate=1e-4,seed=2, with what it says in the .log file
beside it. A call skips the runs that are finished, goes on with those that were broken off, and ends with report.md,
report.csv and curves (SVG) in DIR. Ctrl-C stops the runs as it stops `spg train`; the same command goes on.

A value is read as TOML, and as a word where it is none. Methods can be compared, too: algorithm=spg,d1 takes the file's
table of that name or one with its defaults, and algorithm.* stands for whichever it is in --grid and --set.

  spg sweep --config sudoku-tiny --grid train.learning_rate=1e-4,3e-4,1e-3 --seeds 1,2,3 --output-dir runs/lr --jobs 2
  spg sweep --config gsm8k --grid algorithm.spg.beta=1,1.5,2 --output-dir runs/beta --list
  sbatch --array=1-3 --wrap \\
    'spg sweep --config gsm8k --grid algorithm.spg.beta=1,1.5,2 --output-dir runs/beta --only $SLURM_ARRAY_TASK_ID'
  spg sweep --report runs/beta --threshold 0.8";

fn finite(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|number: &f64| number.is_finite()).ok_or_else(|| "expected a finite number".to_owned())
}

impl SweepArgs {
    /// Does what was asked.
    ///
    /// # Errors
    /// What the sweep says.
    pub fn run(self) -> anyhow::Result<()> {
        let report = SweepReportOptions { threshold: self.threshold, window: self.window };
        if let Some(dir) = &self.report {
            return spg::sweep::report(dir, report);
        }
        let (Some(config), Some(dir)) = (self.config, self.output_dir) else {
            return Err(Usage("a sweep needs --config and --output-dir".into()).into());
        };
        let mut set = self.set.set;
        if let Some(device) = self.set.device {
            set.push(format!("model.device={device}").parse().map_err(Usage)?);
        }
        let action = match self.list {
            true => SweepAction::List,
            false => SweepAction::Run { only: self.only, jobs: self.jobs },
        };
        let Self { grid: axes, seeds, .. } = self;
        spg::sweep::run(&SweepRequest { config, set, axes, seeds, dir, action, report })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::super::Cli;

    #[test]
    fn a_sweep_needs_a_configuration_and_a_folder_or_a_report_alone() {
        let parses = |line: &str| Cli::try_parse_from(line.split(' ')).is_ok();
        assert!(parses("spg sweep --config a --output-dir d"));
        assert!(parses(
            "spg sweep --config a --output-dir d --grid x.y=1,2 --grid x.z=a --seeds 1,2 --jobs 2 --only 3"
        ));
        assert!(parses("spg sweep --report d --threshold 0.5 --window 3"));
        for bad in [
            "spg sweep",
            "spg sweep --config a",
            "spg sweep --output-dir d",
            "spg sweep --report d --jobs 2",
            "spg sweep --report d --set a.b=1",
            "spg sweep --config a --output-dir d --list --only 1",
            "spg sweep --config a --output-dir d --threshold inf",
            "spg sweep --config a --output-dir d --jobs 0",
            "spg sweep --config a --output-dir d --grid x=",
            "spg sweep --config a --output-dir d --seeds -1",
        ] {
            assert!(!parses(bad), "{bad}");
        }
    }
}
