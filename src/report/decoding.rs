//! How far the decoding of some completions is.

use super::Progress;
use crate::rollout::Headway;

/// The progress of a decoding, by denoising steps; completions are what it counts.
#[derive(Debug)]
pub struct DecodingProgress {
    label: &'static str,
    is_part: bool,
    /// Begun with the first step: only then is known how many there are.
    progress: Option<Progress>,
}

impl DecodingProgress {
    /// Of what a command does.
    pub fn new(label: &'static str) -> Self {
        Self { label, is_part: false, progress: None }
    }

    /// Of a part of another loop.
    pub fn part(label: &'static str) -> Self {
        Self { label, is_part: true, progress: None }
    }

    /// So far it is; `message` says of what.
    pub fn at(&mut self, headway: Headway, message: &str) {
        let Headway { completed, prompts, step, steps } = headway;
        let begin = || match self.is_part {
            true => Progress::part(self.label, steps),
            false => Progress::new(self.label, steps, 0),
        };
        let progress = self.progress.get_or_insert_with(begin);
        let count = match completed == prompts {
            true => format!("{completed}/{prompts}"),
            false => format!("{completed}/{prompts} completions, denoising step {step}/{steps}"),
        };
        // the last batch is done when it is among the completions, not with its last step
        let done = if completed == prompts { steps } else { step.min(steps.saturating_sub(1)) };
        progress.update_as(done, &count, message);
    }
}
