//! The configuration beside a checkpoint. Its user asked for the checkpoint and named no configuration, so whoever made
//! the folder wrote it: it says how the model was trained, and must not make this machine run programs.

use std::path::{Path, PathBuf};

use super::shipped::PUBLISHED;
use super::{
    Assignment, Command, ConfigError, Overrides, RESOLVED_FILE, RewardCommandTable, RunConfig, TaskTable, from_text,
    load, shipped,
};

/// What the names of checkpoint folders begin with; the step follows.
pub const CHECKPOINT: &str = "checkpoint-";

/// The weights of the best checkpoint of a run.
pub const BEST: &str = "best";

/// The checkpoint of a run that is kept apart from the others when an update breaks the weights.
pub const LAST_GOOD: &str = "last-good";

/// The configuration of a model that is only sampled from and has none of its own: the published one, which is shipped. Its
/// task is not asked for anything.
///
/// # Errors
/// As [`load`], of the command line's changes.
pub fn for_model(name_or_path: &str, overrides: &Overrides) -> Result<RunConfig, ConfigError> {
    let mut overrides = overrides.clone();
    overrides.set.insert(0, Assignment::text("model.name_or_path", name_or_path));
    from_text(PUBLISHED.as_ref(), shipped(PUBLISHED).unwrap_or_default(), &overrides, Command::Eval)
}

/// The longest command line that a message shows, characters.
const LONGEST: usize = 2000;

/// The resolved configuration of a run folder, or of the run folder that holds this checkpoint. Above any other folder,
/// such as that of a plain model, nothing is looked for: what lies there need not have to do with it.
pub fn near_checkpoint(dir: &Path) -> Option<PathBuf> {
    let here = dir.join(RESOLVED_FILE);
    if here.is_file() {
        return Some(here);
    }
    // By its real name: `.` may be a checkpoint, and a link called so may point to anything.
    let real = dir.canonicalize().ok()?;
    if !is_checkpoint(real.file_name()?.to_str()?) {
        return None;
    }
    let run = real.parent()?;
    let as_typed = dir.parent().filter(|parent| parent.canonicalize().is_ok_and(|parent| parent == run));
    Some(as_typed.unwrap_or(run).join(RESOLVED_FILE)).filter(|path| path.is_file())
}

fn is_checkpoint(name: &str) -> bool {
    let is_step = |step: &str| !step.is_empty() && step.bytes().all(|byte| byte.is_ascii_digit());
    [BEST, LAST_GOOD].contains(&name) || name.strip_prefix(CHECKPOINT).is_some_and(is_step)
}

/// [`load`] for a file that was found, not named. A reward command that the file names is refused, unless the command
/// line names another one in its place or `allow_reward_command`.
///
/// # Errors
/// As [`load`], and [`ConfigError::FoundProgram`].
pub fn load_found(
    path: &Path,
    overrides: &Overrides,
    command: Command,
    allow_reward_command: bool,
) -> Result<RunConfig, ConfigError> {
    let config = load(path, overrides, command)?;
    if let TaskTable::Custom(task) = config.task()
        && let Some(reward) = &task.reward_command
        && !(allow_reward_command || overrides.name_reward_command())
    {
        return Err(ConfigError::FoundProgram { path: path.to_owned(), program: shown(reward) });
    }
    tracing::info!("configuration {}, which lies beside the checkpoint", path.display());
    Ok(config)
}

/// The program, its arguments and what it would be told of the environment, everything special escaped.
fn shown(reward: &RewardCommandTable) -> String {
    let words: Vec<String> = reward.command.iter().map(|word| format!("{word:?}")).collect();
    let mut text = words.join(" ");
    if let Some((end, _)) = text.char_indices().nth(LONGEST) {
        let more = text[end..].chars().count();
        text.truncate(end);
        text += &format!("... and {more} characters more");
    }
    if !reward.env.is_empty() {
        let names: Vec<String> = reward.env.iter().map(|name| format!("{:?}", name.as_str())).collect();
        text += &format!("\n  with these variables of your environment: {}", names.join(", "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::MINIMAL;

    fn file(path: PathBuf, text: &str) -> PathBuf {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    #[test]
    fn the_folder_above_a_plain_model_is_not_searched() {
        let dir = tempfile::tempdir().unwrap();
        let above = file(dir.path().join(RESOLVED_FILE), "");
        for name in ["model", "checkpoint-", "checkpoint-x", "checkpoint-4.tmp", "my-checkpoint-4", "checkpoint-+4"] {
            let model = dir.path().join(name);
            std::fs::create_dir(&model).unwrap();
            assert_eq!(near_checkpoint(&model), None, "{name}");
        }
        let checkpoint = dir.path().join("checkpoint-40");
        std::fs::create_dir(&checkpoint).unwrap();
        assert_eq!(near_checkpoint(&checkpoint), Some(above));
        let kept = dir.path().join(LAST_GOOD);
        std::fs::create_dir(&kept).unwrap();
        assert_eq!(near_checkpoint(&kept), near_checkpoint(&checkpoint));
        let own = file(checkpoint.join(RESOLVED_FILE), "");
        assert_eq!(near_checkpoint(&checkpoint), Some(own));
        assert_eq!(near_checkpoint(&dir.path().join("missing")), None);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_is_taken_for_what_it_points_to() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        file(path(RESOLVED_FILE), "");
        let config = file(path("run").join(RESOLVED_FILE), "");
        for name in ["run/checkpoint-4", "model"] {
            std::fs::create_dir(path(name)).unwrap();
        }
        std::os::unix::fs::symlink(path("model"), path("checkpoint-4")).unwrap();
        std::os::unix::fs::symlink(path("run/checkpoint-4"), path("best")).unwrap();
        assert_eq!(near_checkpoint(&path("checkpoint-4")), None);
        assert_eq!(near_checkpoint(&path("best")), Some(config.canonicalize().unwrap()));
    }

    #[test]
    fn a_program_of_a_found_file_is_refused_unless_somebody_vouches_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let task = "[task.custom]\nprompt_template = 'x'\ndata.train.path = 'x'\ndata.validation_size = 1\n\
                    reward_command = { command = ['sh', \"-c\", \"\\u001b[2J rm -r \\u202e\"], env = ['HF_*'] }";
        let path = file(dir.path().join(RESOLVED_FILE), &MINIMAL.replace("[task.sudoku]", task));
        let loaded = |set: &[&str], allow| {
            let set = set.iter().map(|text| text.parse().unwrap()).collect();
            load_found(&path, &Overrides { set, ..Overrides::default() }, Command::Eval, allow)
        };
        for set in [&[][..], &["task.custom.reward_command.weight=2"], &["eval.limit=1"]] {
            let text = loaded(set, false).unwrap_err().to_string();
            assert!(text.contains("\n  \"sh\" \"-c\" \"\\u{1b}[2J rm -r \\u{202e}\"\n"), "{text}");
            assert!(text.contains("your environment: \"HF_*\"\n") && text.contains("--allow-reward-command"), "{text}");
            assert!(text.contains(&format!("--config {}", path.display())), "{text}");
        }
        assert!(loaded(&[], true).is_ok());
        assert!(loaded(&["task.custom.reward_command.command=['cat']"], false).is_ok());
        assert!(loaded(&["task.custom.reward_command={command=['cat']}"], false).is_ok());
        assert!(load(&path, &Overrides::default(), Command::Eval).is_ok(), "a file that is named");
    }

    #[test]
    fn a_long_program_is_shown_as_far_as_it_can_be_read() {
        let command = vec!["sh".to_owned(), "é".repeat(3000)];
        let task = RewardCommandTable {
            command,
            time_limit_seconds: 1.0.try_into().unwrap(),
            env: vec![],
            weight: 1.0.try_into().unwrap(),
        };
        assert!(shown(&task).ends_with("é... and 1007 characters more"), "{}", shown(&task));
    }
}
