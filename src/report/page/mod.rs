//! The report of runs: one HTML file that needs nothing else, neither the network nor other files.
//!
//! Pure, from what the folders of runs say (`RunRecord`) to one string. What comes from a run is foreign: all of it is
//! escaped, and a policy in the file itself forbids every script and style but its own, and every request.
//!
//! | what | where |
//! |---|---|
//! | what a folder says | `run_record`, `kept` |
//! | which folders, and the file that is written | `write` |
//! | figures at the start, the best evaluation and the end | `held_out` |
//! | curves | `curves` |
//! | completions in tables | `samples` |
//! | the denoising replay | `replay`, `replay.js` |
//! | configuration and versions | `about` |
//! | the frame of it all | `document`, `style.css` |

mod about;
mod curves;
mod document;
mod held_out;
mod kept;
mod replay;
mod run_record;
mod samples;
mod write;

pub use write::{renew, write};

/// At most `most` of `len` places, the first and the last among them, evenly spread.
fn spread(len: usize, most: usize) -> Vec<usize> {
    match (len, most) {
        (0, _) | (_, 0) => Vec::new(),
        _ if len <= most => (0..len).collect(),
        (_, 1) => vec![len - 1],
        _ => (0..most).map(|i| i * (len - 1) / (most - 1)).collect(),
    }
}

#[cfg(test)]
mod tests;
