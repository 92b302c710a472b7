//! One process at a time works on a run folder.
//!
//! The lock is the system's own, on a file in the folder: it goes with its process, however that ends, so that there are
//! no stale ones to be removed. What the file says is for people. Among machines it is as good as the locks of the file
//! system that they share: some have none, or keep them to each machine.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::runtime::host_name;

/// The file that is locked. It stays in the folder: removing it would let a process that has it open lock a file that is
/// no longer there.
pub const LOCK_FILE: &str = ".spg.lock";

/// The right to write to a run folder, until it is dropped.
#[derive(Debug)]
pub struct RunLock(File);

/// Who has a lock, or had it and did not come to giving it back.
#[derive(Debug, Serialize, Deserialize)]
struct Holder {
    pid: u32,
    host: String,
}

impl RunLock {
    /// Takes the lock of a folder.
    ///
    /// # Errors
    /// If another process has it, which is named; a folder that cannot be written.
    pub fn take(root: &Path) -> Result<Self> {
        let path = root.join(LOCK_FILE);
        let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path);
        let mut file = file.with_context(|| format!("cannot write {}", path.display()))?;
        let locked = file.try_lock();
        let mut text = String::new();
        let _ = file.read_to_string(&mut text);
        let holder: Option<Holder> = serde_json::from_str(&text).ok();
        match (locked, holder) {
            (Ok(()), None) => {}
            (Ok(()), Some(last)) if last.host != host_name() => tracing::warn!(
                "{} was last worked on by process {} on {}, which did not come to its end: if that one is still there, stop \
                 this one, for locks do not reach across machines on every file system",
                root.display(),
                last.pid,
                last.host
            ),
            (Ok(()), Some(last)) => tracing::debug!("process {}, which had {}, is gone", last.pid, path.display()),
            (Err(TryLockError::WouldBlock), holder) => {
                let who =
                    holder.map_or_else(|| "another process".into(), |h| format!("process {} on {}", h.pid, h.host));
                bail!(
                    "{who} works on the run folder {}: wait for it or stop it; two would spoil each other's files",
                    root.display()
                );
            }
            (Err(TryLockError::Error(error)), _) => tracing::warn!(
                "{} cannot be locked ({error}): see to it that no other process works on this folder",
                path.display()
            ),
        }
        let mut lock = Self(file);
        let holder = Holder { pid: std::process::id(), host: host_name() };
        let line = serde_json::to_string(&holder)? + "\n";
        lock.clear()
            .and_then(|()| lock.0.write_all(line.as_bytes()))
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(lock)
    }

    fn clear(&mut self) -> std::io::Result<()> {
        self.0.rewind()?;
        self.0.set_len(0)
    }
}

impl Drop for RunLock {
    /// A file that names nobody tells the next one that this one came to its end. The lock goes with the file's handle.
    fn drop(&mut self) {
        let _ = self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_resumes_at_once_wrote_into_one_folder() {
        let dir = tempfile::tempdir().expect("a folder");
        let first = RunLock::take(dir.path()).expect("free");
        let error = RunLock::take(dir.path()).expect_err("taken").to_string();
        assert!(error.starts_with(&format!("process {} on {}", std::process::id(), host_name())), "{error}");
        drop(first);
        assert_eq!(std::fs::read_to_string(dir.path().join(LOCK_FILE)).expect("it stays"), "");
        drop(RunLock::take(dir.path()).expect("free again"));
    }

    #[test]
    fn what_a_killed_process_left_is_no_lock() {
        let dir = tempfile::tempdir().expect("a folder");
        for left in ["", "{\"pid\": 1, \"host\": \"elsewhere\"}\n", "torn"] {
            std::fs::write(dir.path().join(LOCK_FILE), left).expect("write");
            let lock = RunLock::take(dir.path()).expect("nobody has it");
            let holder: Holder =
                serde_json::from_str(&std::fs::read_to_string(dir.path().join(LOCK_FILE)).expect("read"))
                    .expect("JSON");
            assert_eq!(holder.pid, std::process::id());
            drop(lock);
        }
    }
}
