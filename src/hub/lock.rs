//! One download of a blob at a time, among all processes that honour the lock of Hugging Face's library.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;

use super::failure::Failure;

/// Takes the lock, for as long as the file is open; waits for whoever has it. None: this file system has no locks.
///
/// # Errors
/// The lock's file cannot be made.
pub(super) fn hold(path: &Path, what: &str) -> Result<Option<File>, Failure> {
    let failed = |error| Failure::disk("write", path, error);
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(failed)?;
    }
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path).map_err(failed)?;
    let locked = match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => {
            tracing::info!("another process is downloading {what}: waiting for it");
            file.lock()
        }
        Err(TryLockError::Error(error)) => Err(error),
    };
    match locked {
        Ok(()) => Ok(Some(file)),
        Err(error) => {
            tracing::debug!("{} cannot be locked ({error}): going on without", path.display());
            Ok(None)
        }
    }
}
