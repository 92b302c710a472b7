//! The ends of files that children write: their newest metrics, and the last they said.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use crate::report::Row;

/// Bytes at the end of a log in which its last lines are looked for.
const LOG_END: u64 = 8 << 10;

/// Follows a metrics file that grows.
#[derive(Debug)]
pub struct Tail {
    path: PathBuf,
    /// Bytes of whole lines read so far.
    read: u64,
}

impl Tail {
    /// Of a file that need not be there yet.
    pub fn of(path: PathBuf) -> Self {
        Self { path, read: 0 }
    }

    /// The rows since the last call. A run that goes on from a checkpoint cuts its file: then from the beginning again.
    ///
    /// # Errors
    /// The system's.
    pub fn rows(&mut self) -> io::Result<Vec<Row>> {
        let mut file = File::open(&self.path)?;
        if file.metadata()?.len() < self.read {
            self.read = 0;
        }
        let bytes = from(&mut file, self.read)?;
        let whole = bytes.iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1);
        self.read += whole as u64;
        Ok(bytes[..whole].split(|&b| b == b'\n').filter_map(Row::parse).collect())
    }
}

/// The last `count` lines of a text file, or what can be read of them.
pub fn last_lines(path: &Path, count: usize) -> Vec<String> {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let start = file.metadata()?.len().saturating_sub(LOG_END);
        from(&mut file, start)
    };
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].iter().map(|line| (*line).to_owned()).collect()
}

fn from(file: &mut File, start: u64) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_once_and_again_after_a_cut() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("metrics.jsonl");
        let mut tail = Tail::of(path.clone());
        assert!(tail.rows().is_err(), "no file yet");
        let mut steps = |text: &str| {
            std::fs::write(&path, text).expect("write");
            tail.rows().expect("readable").iter().map(Row::step).collect::<Vec<_>>()
        };
        let line = |step: usize| format!("{{\"step\":{step}}}\n");
        assert_eq!(steps(&(line(1) + "{\"st")), [1]);
        assert_eq!(steps(&(line(1) + &line(2))), [2]);
        assert!(steps(&(line(1) + &line(2))).is_empty());
        assert_eq!(steps(&line(1)), [1]);
    }

    #[test]
    fn the_last_lines_of_a_log() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("x.log");
        std::fs::write(&path, format!("{}\na\n\nb\nc", "x".repeat(20_000))).expect("write");
        assert_eq!(last_lines(&path, 2), ["b", "c"]);
        assert_eq!(last_lines(&path, 9).len(), 4);
        assert!(last_lines(&dir.path().join("none"), 2).is_empty());
    }
}
