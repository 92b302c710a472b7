//! The settings that an evaluation compares: every combination of the lists of `[eval]`.
//!
//! A list that is missing stands for the rollout's own value, and every setting keeps the rollout's pace, its tokens
//! a denoising step; so a config that lists nothing is evaluated as it is trained.

use serde::Serialize;

use super::{EvalTable, Order, Remasking, RolloutTable};

/// One way of decoding the held-out set.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Setting {
    /// A short name: `greedy` or `t0.9`, then a part for each of the other lists that has several values, such as
    /// `greedy-random-c256-b32` or `greedy-canvas`.
    pub label: String,
    /// Sampling temperature; 0 is greedy.
    pub temperature: f64,
    /// The temperature's place in its list, by which random draws are keyed.
    #[serde(skip)]
    pub place: usize,
    /// Which candidates are committed.
    pub remasking: Remasking,
    /// Tokens of the canvas.
    pub max_completion_length: usize,
    /// In which order the canvas is filled.
    pub order: Order,
    /// Tokens of a block: all of them with [`Order::Canvas`].
    pub block_length: usize,
    /// Denoising steps planned for the canvas.
    pub diffusion_steps: usize,
}

/// The product of the lists, temperatures outermost.
pub(super) fn settings(eval: &EvalTable, rollout: &RolloutTable) -> Vec<Setting> {
    let canvases = eval.max_completion_length.clone().unwrap_or_else(|| vec![rollout.max_completion_length]);
    let blocks = eval.block_length.clone().unwrap_or_else(|| vec![rollout.block_length]);
    let remaskings = eval.remasking.clone().unwrap_or_else(|| vec![rollout.remasking]);
    let mut settings = Vec::new();
    for (place, temperature) in eval.temperatures.iter().map(|t| t.get()).enumerate() {
        for &remasking in &remaskings {
            for canvas in canvases.iter().map(|n| n.get()) {
                for &order in &eval.order {
                    // one block of the whole canvas, whatever the block lengths
                    let lengths = match order {
                        Order::Block => blocks.iter().map(|n| n.get()).collect(),
                        Order::Canvas => vec![canvas],
                    };
                    for block_length in lengths {
                        let mut label = if temperature == 0.0 { "greedy".into() } else { format!("t{temperature}") };
                        if remaskings.len() > 1 {
                            label += &format!("-{}", remasking.name());
                        }
                        if canvases.len() > 1 {
                            label += &format!("-c{canvas}");
                        }
                        if order == Order::Block && blocks.len() > 1 {
                            label += &format!("-b{block_length}");
                        } else if eval.order.len() > 1 {
                            label += &format!("-{}", order.name());
                        }
                        settings.push(Setting {
                            label,
                            temperature,
                            place,
                            remasking,
                            max_completion_length: canvas,
                            order,
                            block_length,
                            diffusion_steps: steps(canvas, rollout),
                        });
                    }
                }
            }
        }
    }
    settings
}

/// Steps of a canvas at the rollout's pace. (The product may be too large for a `usize`, the quotient is not.)
fn steps(canvas: usize, rollout: &RolloutTable) -> usize {
    let planned = rollout.diffusion_steps.get() as u128 * canvas as u128;
    (planned / rollout.max_completion_length.get() as u128) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Command, Overrides, RunConfig, from_text};

    /// A rollout of 40 tokens in blocks of 8, four tokens a step.
    fn config(eval: &str) -> RunConfig {
        let text = format!(
            "[run]\noutput_dir = 'x'\n[model]\nname_or_path = 'm'\n[task.sudoku]\n[rollout]\n\
             max_completion_length = 40\nblock_length = 8\ndiffusion_steps = 10\n[train]\nmax_steps = 1\n\
             learning_rate = 1\n[eval]\n{eval}\n"
        );
        from_text("a.toml".as_ref(), &text, &Overrides::default(), Command::Eval).unwrap_or_else(|e| panic!("{e}"))
    }

    fn labels(eval: &str) -> Vec<String> {
        config(eval).eval_settings().into_iter().map(|s| s.label).collect()
    }

    #[test]
    fn without_lists_the_rollout_is_evaluated() {
        let settings = config("temperatures = [0.9, 0.0]").eval_settings();
        let found: Vec<_> = settings.iter().map(|s| (s.label.as_str(), s.place)).collect();
        assert_eq!(found, [("t0.9", 0), ("greedy", 1)]);
        for s in &settings {
            assert_eq!((s.max_completion_length, s.block_length, s.diffusion_steps), (40, 8, 10));
            assert_eq!((s.order, s.remasking), (Order::Block, Remasking::LowConfidence));
        }
    }

    #[test]
    fn lists_multiply_and_name_only_what_varies() {
        assert_eq!(
            labels("temperatures = [0, 0.5]\nremasking = ['margin', 'random']"),
            ["greedy-margin", "greedy-random", "t0.5-margin", "t0.5-random"]
        );
        assert_eq!(labels("block_length = [20]\nremasking = ['random']"), ["greedy"]);
        assert_eq!(labels("max_completion_length = [40, 80]"), ["greedy-c40", "greedy-c80"]);
    }

    #[test]
    fn the_whole_canvas_appears_once_whatever_the_block_lengths() {
        let eval = "order = ['block', 'canvas']\nblock_length = [4, 8]";
        assert_eq!(labels(eval), ["greedy-b4", "greedy-b8", "greedy-canvas"]);
        assert_eq!(labels("order = ['canvas']\nblock_length = [4, 8]"), ["greedy"]);
        assert_eq!(labels("order = ['canvas', 'block']"), ["greedy-canvas", "greedy-block"]);
        assert_eq!(config(eval).eval_settings()[2].block_length, 40);
    }

    #[test]
    fn the_pace_of_the_rollout_is_kept() {
        let settings = config("max_completion_length = [16, 40, 120]").eval_settings();
        assert_eq!(settings.iter().map(|s| s.diffusion_steps).collect::<Vec<_>>(), [4, 10, 30]);
    }
}
