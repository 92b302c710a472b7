//! What a run tells the world: log lines and a progress bar on standard error, one JSON object a step in
//! `metrics.jsonl` and the same figures in other formats, a page that shows a run, results on standard output.

mod card;
mod completions;
mod decoding;
mod log;
mod manifest;
mod markup;
mod metrics;
mod output;
mod page;
mod plot;
mod preview;
mod progress;
mod recorder;
mod replays;
mod run_files;
mod table;
mod tensorboard;
mod trackio;
mod which;
mod work;

pub use card::{CARD_FILE, Card, CardKind, Training};
#[cfg(test)]
pub(crate) use completions::tests::{names as completion_files, rows as completion_rows};
pub use completions::{CompletionTable, Origin, Values};
pub use decoding::DecodingProgress;
pub use log::{LogFormat, Verbosity, init_log};
pub use manifest::{Damage, MANIFEST_FILE, rewrite, seal, verify};
pub use metrics::{MetricsError, Row, read_metrics, setting_and_figure};
pub use output::{print_json, print_result};
pub use page::{renew as renew_page, write as write_page};
pub use plot::{Chart, Curve, Point};
pub use progress::Progress;
pub use recorder::Recorder;
pub use replays::{Commit, REPLAYS, Replay};
pub use run_files::{RUN_FILE, best_dir, checkpoint_dir, checkpoint_step, checkpoints, metrics_file};
pub use table::Table;
#[cfg(test)]
pub(crate) use tensorboard::tests::events;
pub use which::{Checkpoint, STATE_FILE};
