//! The threads that serve a command's three pipes, so that nobody waits for a pipe without a time limit.
//!
//! None is joined: each ends when its pipe does, and a pipe may outlive the command in a process that left its group.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::error::beginning;
use super::quota::Quota;
use crate::terminal::shown_in_line;

/// Lines of standard error kept for an error message.
const LAST_LINES: usize = 10;
/// Of a longer line of standard error only the beginning is logged, bytes.
const LONGEST_MESSAGE: usize = 2 << 10;

/// A line without its line feed, or the beginning of one that is too long.
#[derive(Debug)]
pub(super) struct Line {
    pub bytes: Vec<u8>,
    pub end: End,
    /// What had come right behind it when it was read, up to the next line feed.
    pub rest: Vec<u8>,
}

/// Why a line ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    LineFeed,
    TooLong,
    Eof,
}

/// The next line, as far as `longest` bytes go; `None` at the end of the file.
fn next_line(reader: &mut BufReader<impl Read>, longest: usize) -> io::Result<Option<Line>> {
    let mut bytes = Vec::new();
    reader.by_ref().take(longest as u64 + 1).read_until(b'\n', &mut bytes)?;
    let end = match bytes.last() {
        None => return Ok(None),
        Some(b'\n') => {
            bytes.pop();
            End::LineFeed
        }
        Some(_) if bytes.len() > longest => End::TooLong,
        Some(_) => End::Eof,
    };
    let rest = reader.buffer().split(|byte| *byte == b'\n').next().unwrap_or_default().to_vec();
    Ok(Some(Line { bytes, end, rest }))
}

/// Writes what it receives. Dropping the sender closes the pipe, once everything is written.
pub(super) fn write(mut pipe: impl Write + Send + 'static) -> io::Result<Sender<Vec<u8>>> {
    let (sender, receiver) = mpsc::channel::<Vec<u8>>();
    spawn("reward-stdin", move || {
        for bytes in receiver {
            // Whoever does not read is not told apart from whoever does not answer: both are asked again.
            if pipe.write_all(&bytes).and_then(|()| pipe.flush()).is_err() {
                return;
            }
        }
    })?;
    Ok(sender)
}

/// The lines of a pipe. The channel closes at the end of the file, or after a line that is too long. What stands there
/// without a line feed at the end is dropped: its writer died while it wrote.
pub(super) fn lines(pipe: impl Read + Send + 'static, longest: usize) -> io::Result<Receiver<Line>> {
    // A command that prints without end must wait, not fill the memory.
    let (sender, receiver) = mpsc::sync_channel(4);
    spawn("reward-stdout", move || {
        let mut reader = BufReader::new(pipe);
        while let Ok(Some(line)) = next_line(&mut reader, longest) {
            let end = line.end;
            if end == End::Eof || sender.send(line).is_err() || end == End::TooLong {
                return;
            }
        }
    })?;
    Ok(receiver)
}

/// Standard error: logged line by line as far as a quota goes, the last lines kept.
#[derive(Debug)]
pub(super) struct Messages {
    last: Arc<Mutex<VecDeque<String>>>,
    thread: JoinHandle<()>,
}

impl Messages {
    /// Logs the lines of a pipe under a name. Whatever is not logged is read all the same: a program that waits for its
    /// standard error to be read gives no answers.
    pub fn log(pipe: impl Read + Send + 'static, name: String, quota: Arc<Mutex<Quota>>) -> io::Result<Self> {
        let last = Arc::new(Mutex::new(VecDeque::new()));
        let kept = Arc::clone(&last);
        let thread = spawn("reward-stderr", move || {
            let quota = || quota.lock().unwrap_or_else(PoisonError::into_inner);
            let mut reader = BufReader::new(pipe);
            while let Ok(Some((line, rest))) = message(&mut reader) {
                let line = String::from_utf8_lossy(line.trim_ascii_end());
                let (admitted, left_out) = quota().admit(line.len(), Instant::now());
                if let Some(left_out) = left_out {
                    tracing::info!("{name}: {left_out}");
                }
                if admitted {
                    let rest = if rest > 0 { format!("... ({rest} more bytes)") } else { String::new() };
                    tracing::info!("{name}: {}{rest}", shown_in_line(&line));
                }
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                if kept.len() == LAST_LINES {
                    kept.pop_front();
                }
                kept.push_back(beginning(&line));
            }
            if let Some(left_out) = quota().left_out() {
                tracing::info!("{name}: {left_out}");
            }
        })?;
        Ok(Self { last, thread })
    }

    /// Waits a moment for what a command that has ended wrote at its end, and for the count of what was left out.
    pub fn settle(&self) {
        wait_until(Duration::from_millis(500), || self.thread.is_finished());
    }

    /// The last lines of a command that has ended and settled.
    pub fn last(&self) -> Vec<String> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// The beginning of the next line of standard error and how many bytes of it follow; `None` at the end of the file.
fn message(reader: &mut BufReader<impl Read>) -> io::Result<Option<(Vec<u8>, usize)>> {
    let Some(line) = next_line(reader, LONGEST_MESSAGE)? else { return Ok(None) };
    let rest = if line.end == End::TooLong { reader.skip_until(b'\n')? } else { 0 };
    Ok(Some((line.bytes, rest)))
}

/// Waits until something holds, for some time at most; whether it holds.
pub(super) fn wait_until(longest: Duration, mut holds: impl FnMut() -> bool) -> bool {
    const PAUSE: Duration = Duration::from_millis(5);
    let start = std::time::Instant::now();
    loop {
        if holds() {
            return true;
        }
        if start.elapsed() >= longest {
            return false;
        }
        thread::sleep(PAUSE);
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.to_owned()).spawn(work)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_at_line_feeds_and_at_the_limit() {
        let mut reader = BufReader::with_capacity(3, &b"ab\n\nabcd\nabcde"[..]);
        let mut ends = Vec::new();
        while let Some(line) = next_line(&mut reader, 4).unwrap() {
            ends.push((String::from_utf8(line.bytes).unwrap(), line.end));
        }
        let expected = [("ab", End::LineFeed), ("", End::LineFeed), ("abcd", End::LineFeed), ("abcde", End::TooLong)];
        assert_eq!(ends, expected.map(|(text, end)| (text.to_owned(), end)));
    }

    #[test]
    fn half_a_line_is_no_line() {
        let receiver = lines(&b"one\ntw"[..], 10).unwrap();
        let lines: Vec<_> = receiver.iter().map(|line| (line.bytes, line.rest)).collect();
        assert_eq!(lines, [(b"one".to_vec(), b"tw".to_vec())]);
    }

    fn messages(text: impl Into<Vec<u8>>) -> Messages {
        Messages::log(io::Cursor::new(text.into()), "test".into(), Arc::default()).unwrap()
    }

    #[test]
    fn the_last_messages_are_kept() {
        let text: String = (0..3000).map(|i| format!("line {i}\n")).collect();
        let messages = messages(text);
        messages.settle();
        let last = messages.last();
        assert_eq!((last.len(), last[0].as_str(), last[9].as_str()), (10, "line 2990", "line 2999"));
    }

    #[test]
    fn a_message_without_end_is_one_message() {
        let mut reader = BufReader::new(io::Cursor::new([&vec![b'x'; 1 << 20][..], b"\nnext"].concat()));
        let (line, rest) = message(&mut reader).unwrap().unwrap();
        assert_eq!(line.len() + rest, (1 << 20) + 1, "the line feed is one of the bytes that follow");
        assert_eq!(message(&mut reader).unwrap(), Some((b"next".to_vec(), 0)));
        assert_eq!(message(&mut reader).unwrap(), None);
        let messages = messages(vec![b'x'; 1 << 20]);
        messages.settle();
        assert_eq!(messages.last().len(), 1);
    }
}
