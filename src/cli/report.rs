//! The arguments of `spg report`.

use std::path::PathBuf;

use clap::Args;
use spg::config::ReportRequest;

/// Arguments of `spg report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// Run folders; a folder that holds runs, such as that of a sweep, stands for all of them
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// The file to write, by default report.html in the folder; of several folders it has to be given
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// What the help text says after the options.
pub const REPORT_HELP: &str = "\
Writes one HTML file that needs nothing else, neither the network nor other files: held-out figures at the start, at the best
evaluation and at the end, curves of everything in metrics.jsonl, the configuration (of several runs what differs), versions
and seeds. If the run has train.log_completions, also the completions that changed most, the best and the worst by step, and
a replay of how the first held-out ones were denoised. spg train and spg sft write the same into their folder when they end,
however they end.

A report that is there is renewed; any other file is left alone.

  spg report runs/gsm8k
  spg report runs/gsm8k runs/gsm8k-2 --out compared.html
  spg report runs/lr                      # the runs of a sweep, in runs/lr/report.html";

impl ReportArgs {
    /// The request to the library.
    pub fn request(self) -> ReportRequest {
        let Self { runs: dirs, out } = self;
        ReportRequest { dirs, out }
    }
}
