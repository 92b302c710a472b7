//! The command line: what can be typed, and how it becomes a request to the library.

mod bench;
mod data;
mod eval;
mod formats;
mod generate;
mod merge;
mod pages;
mod report;
mod sweep;

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use spg::config::{
    self, Assignment, Benchmark, Command, DeviceSpec, GradeRequest, Overrides, Positive, PrecisionRequest, Resume,
    RunRequest, VerifyRequest,
};
use spg::report::{LogFormat, Verbosity};
use spg::world::{Launch, World};

use eval::{EVAL_HELP, EvalArgs};
use formats::{FormatName, PrecisionName};

/// Fine-tune masked diffusion language models with Sandwiched Policy Gradient.
#[derive(Debug, Parser)]
#[command(name = "spg", version = spg::runtime::VERSION, after_help = AFTER_HELP)]
pub struct Cli {
    #[command(subcommand)]
    job: Job,
    #[command(flatten)]
    log: LogArgs,
}

const AFTER_HELP: &str = "\
Examples:
  spg train --config configs/sudoku-tiny.toml
  spg train --config configs/sudoku-tiny.toml --resume
  spg eval --ckpt runs/sudoku-tiny --base
  spg eval --ckpt runs/sudoku-tiny --split test --temperature 0.9 --samples 8
  spg generate --ckpt runs/gsm8k --prompt 'What is 7 times 8?' --watch
  spg merge --ckpt runs/sudoku-tiny --out sudoku-tiny-merged
  spg grade --task gsm8k completions.jsonl --details verdicts.jsonl
  spg report runs/sudoku-tiny
  spg sweep --config sudoku-tiny --grid train.learning_rate=1e-4,3e-4 --seeds 1,2,3 --output-dir runs/lr

Exit status: 0 done, 1 failed, 2 wrong usage or configuration, 75 stopped by a signal after saving a checkpoint,
130 ended by Ctrl-C with nothing saved: at once by a second one, or where there is nothing to save.";

#[derive(Debug, Subcommand)]
enum Job {
    /// Fine-tune a model by reinforcement learning
    Train(RunArgs),
    /// Fine-tune a model on demonstrations
    Sft(RunArgs),
    /// Decode the held-out set with a checkpoint and grade it
    #[command(after_help = EVAL_HELP)]
    Eval(EvalArgs),
    /// Complete prompts with a checkpoint
    #[command(after_help = generate::GENERATE_HELP)]
    Generate(generate::GenerateArgs),
    /// Grade completions from files
    #[command(after_help = GRADE_HELP)]
    Grade(GradeArgs),
    /// Put adapters into their base model: a plain model folder
    #[command(after_help = merge::MERGE_HELP)]
    Merge(merge::MergeArgs),
    /// Write a report of runs: one HTML file with curves, completions, replays
    #[command(after_help = report::REPORT_HELP)]
    Report(report::ReportArgs),
    /// Train at every point of a grid and with every seed, and compare
    #[command(after_help = sweep::SWEEP_HELP)]
    Sweep(sweep::SweepArgs),
    /// Time rollouts and updates of a model, by part
    Bench(bench::BenchArgs),
    /// Show the data of a configuration, or make a data set
    Data(data::DataArgs),
    /// Check this build and device against golden tensors
    Verify(VerifyArgs),
    /// List the shipped configurations, or print one
    Configs {
        /// The configuration to print
        name: Option<String>,
    },
    /// Print what a shell needs to complete spg's commands and options
    #[command(after_help = pages::COMPLETIONS_HELP)]
    Completions(pages::CompletionsArgs),
    /// Print the manual page, or write those of all commands
    #[command(after_help = pages::MAN_HELP)]
    Man(pages::ManArgs),
}

#[derive(Debug, Args)]
struct RunArgs {
    /// Configuration file (TOML), or the name of a shipped one (spg configs); configs/README.md lists every key
    #[arg(long, short, value_name = "FILE")]
    config: PathBuf,
    #[command(flatten)]
    set: SetArgs,
    /// Folder for the resolved config, metrics and checkpoints, instead of run.output_dir
    #[arg(long, short, value_name = "DIR")]
    output_dir: Option<PathBuf>,
    /// Seed of the run, instead of run.seed
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    seed: Option<u64>,
    /// Optimiser updates of the run, instead of train.max_steps
    #[arg(long, value_name = "N")]
    max_steps: Option<usize>,
    /// Go on from a checkpoint: the last one of the output folder, or the checkpoint folder PATH
    #[arg(long, value_name = "auto|PATH", num_args = 0..=1, default_missing_value = "auto")]
    resume: Option<Resume>,
    /// Resolve the configuration, load the model, decode one prompt, count parameters, estimate the memory of the run;
    /// take no step
    #[arg(long)]
    dry_run: bool,
    /// Start the run even if it is estimated to take more memory than this machine has
    #[arg(long)]
    force: bool,
    /// With --dry-run: say which batch sizes fit into so much memory
    #[arg(long, value_name = "GIB", requires = "dry_run")]
    memory_gib: Option<Positive>,
    /// With --dry-run: say what each of so many processes would do and take, and what adding up gradients would cost
    #[arg(long, value_name = "N", requires = "dry_run")]
    world: Option<NonZeroUsize>,
}

#[derive(Debug, Args)]
struct SetArgs {
    /// Change one key of the configuration, such as train.max_steps=100; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<Assignment>,
    /// auto, cpu, cuda, cuda:N or metal, instead of model.device; auto is what SPG_DEVICE names, else the accelerator
    #[arg(long, value_name = "DEVICE")]
    device: Option<DeviceSpec>,
}

#[derive(Debug, Args)]
struct GradeArgs {
    /// The task whose grader to use
    #[arg(long, value_enum, value_name = "TASK")]
    task: TaskName,
    /// Files with completions; - is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Write a JSON line for each completion: the answer found, both verdicts, the training rewards
    #[arg(long, value_name = "OUT.jsonl")]
    details: Option<PathBuf>,
    /// Replace the file of --details if it is there
    #[arg(long, requires = "details")]
    force: bool,
    /// What the prompt held of each completion already: put before it for the training rewards. By default
    /// <reasoning> for rows with question and ground_truth, nothing for others
    #[arg(long, value_name = "TEXT")]
    prefill: Option<String>,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
}

const GRADE_HELP: &str = "\
Files are JSON lines, or one JSON object with a list `generations` as d1 and SPG write it. A row has its completion in
`completion` (or `generations`) and the fields of its record; or it is a row of a samples file of `spg eval` (or
lm-evaluation-harness), with the record in `doc` and its completions in `resps`; what several filters repeat is counted
once. The fields:
  gsm8k      ground_truth, or answer: a number, or text with #### before it
  math       ground_truth (or answer), solution, or both
  countdown  numbers, target
  sudoku     puzzle, solution
or the question and ground_truth of the published rows, which are graded to the letter of the published evaluation: for
math and countdown it reads the whole text where there is no box; in other rows <answer> is read then.
Verdicts are taken on the whole completion; training rewards on the text before its first end token, after what the
prompt held of it already (--prefill).

exact is a second, stricter verdict, the share of all completions. It reads only what a completion declares before its
first end token: its last closed \\boxed{..}, else its last closed <answer>. Numbers are compared exactly:
1,000 = 1000, 1/2 = 0.5, 1\\frac{1}{2} = 1.5, $5.00 = 5, 1e3 = 1000, and 50% is 0.5 or 50. A unit may be left out if it is
a known one (cm, dollars per hour, apples); two that differ are two answers (3 hours, 3 minutes), and nothing is converted.
Other answers to math are compared as LaTeX, whatever spaces, braces, dashes and type faces it is written with.
countdown uses each number once, with its sign, and meets the target with no tolerance; sudoku has all 16 cells right.";

#[derive(Clone, Copy, Debug, ValueEnum)]
enum TaskName {
    Gsm8k,
    #[value(alias = "math500")]
    Math,
    Countdown,
    Sudoku,
}

#[derive(Debug, Args)]
struct VerifyArgs {
    /// Folder with golden tensors, such as tests/fixtures/golden/mha_small; with --dtype, --quantize or --gguf-file, any
    /// model folder: its log-probabilities kept so are compared with those in f32
    dir: PathBuf,
    /// Compare the model with this PEFT adapter with DIR/logits.safetensors: input_ids, and their logits as PEFT has them
    #[arg(long, value_name = "DIR", conflicts_with_all = ["dtype", "quantize", "gguf_file"])]
    adapter: Option<PathBuf>,
    /// Working precision to compare with f32
    #[arg(long, value_enum, value_name = "DTYPE")]
    dtype: Option<PrecisionName>,
    /// Block format to compare with f32
    #[arg(long, value_enum, value_name = "FORMAT")]
    quantize: Option<FormatName>,
    /// GGUF file to compare with the folder's own weights
    #[arg(long, value_name = "FILE", conflicts_with = "quantize")]
    gguf_file: Option<PathBuf>,
    /// auto, cpu, cuda, cuda:N or metal
    #[arg(long, value_name = "DEVICE", default_value_t = DeviceSpec::Auto)]
    device: DeviceSpec,
    /// Print JSON instead of one line an item
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Logging")]
struct LogArgs {
    /// Form of the log on standard error
    #[arg(long, global = true, value_enum, default_value_t = LogForm::Text, value_name = "FORMAT")]
    log_format: LogForm,
    /// Log more; twice for everything. RUST_LOG, where set, decides instead
    #[arg(long, short, global = true, action = ArgAction::Count)]
    verbose: u8,
    /// Log only warnings and errors, and draw no progress bar
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    quiet: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogForm {
    /// Lines for people
    Text,
    /// One JSON object an event
    Json,
}

impl Cli {
    /// Sets up the log and does what was asked; the error comes with what this process has to say of it.
    pub fn run(self) -> Result<(), (anyhow::Error, String)> {
        let alone = |error| {
            let text = spg::error::describe(&error);
            (error, text)
        };
        self.init_log().map_err(alone)?;
        let world = self.job.world().map_err(alone)?;
        let done = self.job.dispatch(&world);
        spg::error::conclude(&world, done)
    }

    /// Whether the log is JSON, to its last line.
    pub fn logs_json(&self) -> bool {
        matches!(self.log.log_format, LogForm::Json)
    }

    fn init_log(&self) -> anyhow::Result<()> {
        let format = match self.log.log_format {
            LogForm::Text => LogFormat::Text,
            LogForm::Json => LogFormat::Json,
        };
        let verbosity = match (self.log.quiet, self.log.verbose) {
            (true, _) => Verbosity::Quiet,
            (false, 0) => Verbosity::Normal,
            (false, 1) => Verbosity::Debug,
            (false, _) => Verbosity::Trace,
        };
        let rank = Launch::of_process().filter(|launch| launch.size > 1).map(|launch| launch.rank);
        Ok(spg::report::init_log(format, verbosity, rank)?)
    }
}

impl Job {
    /// The processes that do it.
    fn world(&self) -> anyhow::Result<World> {
        if matches!(self, Self::Train(_) | Self::Sft(_) | Self::Eval(_) | Self::Bench(_)) {
            return World::of_process();
        }
        match Launch::of_process().filter(|launch| launch.size > 1) {
            None => Ok(World::solo()),
            Some(launch) => Err(spg::error::Usage(format!(
                "{} processes were started together: only train, sft, eval and bench share their work; start one",
                launch.size
            ))
            .into()),
        }
    }

    /// The one place that connects a subcommand with the loop that serves it.
    fn dispatch(self, world: &World) -> anyhow::Result<()> {
        match self {
            Self::Train(args) => spg::train::run(&args.request(Command::Train)?, world),
            Self::Sft(args) => spg::train::sft(&args.request(Command::Sft)?, world),
            Self::Eval(args) => spg::eval::run(&args.request()?, world),
            Self::Generate(args) => spg::generate::run(&args.request()?),
            Self::Grade(args) => spg::grade::run(&args.request()),
            Self::Merge(args) => spg::merge::run(&args.request()),
            Self::Report(args) => spg::report::write_page(&args.request()),
            Self::Sweep(args) => args.run(),
            Self::Bench(args) => spg::bench::run(&args.request(), world),
            Self::Data(args) => args.run(),
            Self::Verify(args) => spg::verify::run(&args.request()),
            Self::Configs { name } => configs(name.as_deref()),
            Self::Completions(args) => args.run(),
            Self::Man(args) => args.run(),
        }
    }
}

/// Prints the names of the shipped configurations with the first line of each, or the text of one.
fn configs(name: Option<&str>) -> anyhow::Result<()> {
    let list = || {
        let about = |text: &'static str| text.lines().next().unwrap_or_default().trim_start_matches("# ");
        let width = config::SHIPPED.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        let lines = config::SHIPPED.iter().map(|(name, text)| format!("{name:width$}  {}", about(text)));
        lines.collect::<Vec<_>>().join("\n")
    };
    match name.map(|name| (name, config::shipped(name))) {
        None => spg::report::print_result(&list()),
        Some((_, Some(text))) => spg::report::print_result(text.trim_end()),
        Some((name, None)) => {
            Err(spg::error::Usage(format!("there is no shipped configuration {name:?}; there are\n{}", list())).into())
        }
    }
}

impl RunArgs {
    fn request(self, command: Command) -> anyhow::Result<RunRequest> {
        let overrides = Overrides {
            output_dir: self.output_dir,
            seed: self.seed,
            max_steps: self.max_steps,
            ..self.set.overrides()
        };
        let config = config::load(&self.config, &overrides, command)?;
        let Self { resume, dry_run, force, memory_gib, world, .. } = self;
        Ok(RunRequest { config, resume, dry_run, force, memory_gib, world })
    }
}

impl SetArgs {
    fn overrides(self) -> Overrides {
        Overrides { set: self.set, device: self.device, ..Overrides::default() }
    }
}

impl GradeArgs {
    fn request(self) -> GradeRequest {
        let task = match self.task {
            TaskName::Gsm8k => Benchmark::Gsm8k,
            TaskName::Math => Benchmark::Math,
            TaskName::Countdown => Benchmark::Countdown,
            TaskName::Sudoku => Benchmark::Sudoku,
        };
        let Self { files, details, force, prefill, json, .. } = self;
        GradeRequest { task, files, details, force, prefill, json }
    }
}

impl VerifyArgs {
    fn request(self) -> VerifyRequest {
        let asked = self.dtype.is_some() || self.quantize.is_some() || self.gguf_file.is_some();
        let precision = asked.then(|| PrecisionRequest {
            dtype: self.dtype.unwrap_or(PrecisionName::F32).into(),
            quantize: self.quantize.map(Into::into),
            gguf_file: self.gguf_file,
        });
        VerifyRequest { dir: self.dir, device: self.device, adapter: self.adapter, precision, json: self.json }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_arguments_are_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn resume_takes_auto_a_path_or_nothing() {
        let resume = |line: &str| match Cli::try_parse_from(line.split(' ')).unwrap().job {
            Job::Train(args) => args.resume,
            _ => unreachable!("the line says train"),
        };
        assert_eq!(resume("spg train --config a"), None);
        assert_eq!(resume("spg train --config a --resume"), Some(Resume::Auto));
        assert_eq!(resume("spg train --resume --config a"), Some(Resume::Auto));
        assert_eq!(resume("spg train --config a --resume auto"), Some(Resume::Auto));
        assert_eq!(
            resume("spg train --config a --resume runs/x/checkpoint-4"),
            Some(Resume::From("runs/x/checkpoint-4".into()))
        );
    }
}
