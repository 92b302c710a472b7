//! Files that are read where they are there, and written whole or not at all.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Whether a file or folder is there. A link whose target is gone is an error, not an absence: whoever made it meant
/// something to be there.
///
/// # Errors
/// Such a link, and whatever keeps the system from looking.
pub fn is_there(path: &Path) -> io::Result<bool> {
    let error = match path.metadata() {
        Ok(_) => return Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => error,
        Err(error) => return Err(error),
    };
    match path.read_link() {
        Ok(target) => {
            let message = format!("it is a link to {}, which is not there", target.display());
            Err(io::Error::new(io::ErrorKind::NotFound, message))
        }
        Err(_) if path.symlink_metadata().is_ok() => Err(error),
        Err(_) => Ok(false),
    }
}

/// The bytes of a file, or `None` if there is no such file.
///
/// # Errors
/// A link to nowhere, and a file that cannot be read.
pub fn read_optional(path: &Path) -> io::Result<Option<Vec<u8>>> {
    if is_there(path)? { std::fs::read(path).map(Some) } else { Ok(None) }
}

/// Writes a file whole or not at all: into a new file beside it whose name nobody else can have, flushed to the disk
/// and then renamed. A link is followed, a file that is replaced keeps its permissions, and what is no regular file
/// (`/dev/stdout`, a pipe) is written to as it is.
///
/// # Errors
/// Whatever the system refuses; then nothing is left behind and what was there is as it was.
pub fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let old = match target.metadata() {
        Ok(old) => {
            // Renaming asks for no right to write to the file itself.
            let mut file = OpenOptions::new().write(true).open(&target)?;
            if !old.is_file() {
                return file.write_all(content).and_then(|()| file.flush());
            }
            Some(old)
        }
        Err(_) => None,
    };
    let (temporary, mut file) = create_beside(&target)?;
    let written = file.write_all(content).and_then(|()| {
        if let Some(old) = old {
            file.set_permissions(old.permissions())?;
        }
        file.sync_all()?;
        std::fs::rename(&temporary, &target)
    });
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    written
}

/// Whether files can be made in a folder.
///
/// # Errors
/// Whatever the system refuses.
pub fn check_writable(dir: &Path) -> io::Result<()> {
    let (temporary, _) = create_beside(&dir.join("tried"))?;
    std::fs::remove_file(temporary)
}

/// Bytes, such as a digest of a file, in hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether a file or folder has the name of one that this program was writing when it was killed.
pub fn is_unfinished(name: &str) -> bool {
    name.starts_with('.') && name.contains(".spg-") && name.ends_with(".tmp")
}

/// Removes what was [not finished](is_unfinished) in a folder that nobody else is writing to.
///
/// # Errors
/// Whatever the system refuses.
pub fn remove_unfinished(dir: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if is_unfinished(&entry.file_name().to_string_lossy()) {
            match entry.file_type()?.is_dir() {
                true => std::fs::remove_dir_all(entry.path())?,
                false => std::fs::remove_file(entry.path())?,
            }
        }
    }
    Ok(())
}

/// Makes names in a folder last; folders cannot be opened as files everywhere.
///
/// # Errors
/// Whatever the system refuses.
pub fn sync_folder(dir: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(dir)?.sync_all() } else { Ok(()) }
}

/// Fills the folder `to`, which is made if it is not there, with what is in `from`, but for the files of these names: under a second name where the file
/// system has hard links, else as copies, flushed to the disk.
///
/// # Errors
/// Whatever the system refuses.
pub fn duplicate(from: &Path, to: &Path, without: &[&str]) -> io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let (entry, target) = entry.map(|entry| (entry.path(), to.join(entry.file_name())))?;
        if entry.is_dir() {
            duplicate(&entry, &target, without)?;
        } else if !without.iter().any(|name| target.ends_with(name)) && std::fs::hard_link(&entry, &target).is_err() {
            std::fs::copy(&entry, &target)?;
            File::open(&target)?.sync_all()?;
        }
    }
    sync_folder(to)
}

/// Removes a folder, if it is there. It loses its name first, so that what bears it is always whole.
///
/// # Errors
/// Whatever the system refuses.
pub fn remove_folder(dir: &Path) -> io::Result<()> {
    let doomed = NewFolder::replacing(dir)?;
    // an empty folder can be replaced
    match std::fs::rename(dir, doomed.path()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => std::fs::remove_dir_all(doomed.path()),
    }
}

/// A new file in the folder of `path`, under a name that was free.
fn create_beside(path: &Path) -> io::Result<(PathBuf, File)> {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    loop {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let temporary = path.with_file_name(format!(".spg-{}-{count}.tmp", std::process::id()));
        match OpenOptions::new().write(true).create_new(true).open(&temporary) {
            Ok(file) => return Ok((temporary, file)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}

/// A folder that is there whole or not at all: it is filled under another name beside its place, and removed if it is not
/// [finished](NewFolder::finish).
#[derive(Debug)]
pub struct NewFolder {
    temporary: PathBuf,
    target: PathBuf,
    replaces: bool,
}

impl NewFolder {
    /// An empty folder that is to become `target`, whose parents are made if they are not there.
    ///
    /// # Errors
    /// If `target` is there already; whatever the system refuses.
    pub fn create(target: &Path) -> io::Result<Self> {
        refuse_taken(target)?;
        Self::beside(target, false)
    }

    /// As [`NewFolder::create`], for a folder that takes the place of one that may be there.
    ///
    /// # Errors
    /// Whatever the system refuses.
    pub fn replacing(target: &Path) -> io::Result<Self> {
        Self::beside(target, true)
    }

    fn beside(target: &Path, replaces: bool) -> io::Result<Self> {
        let name = target.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
        let parent = parent(target);
        std::fs::create_dir_all(parent)?;
        for count in 0.. {
            let temporary = parent.join(format!(".{name}.spg-{}-{count}.tmp", std::process::id()));
            match std::fs::create_dir(&temporary) {
                Ok(()) => return Ok(Self { temporary, target: target.to_owned(), replaces }),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// Where it is filled.
    pub fn path(&self) -> &Path {
        &self.temporary
    }

    /// Puts it into its place: all files flushed to the disk, then their names, then the name of the folder.
    ///
    /// # Errors
    /// If something else is there by now that it was not to replace; whatever the system refuses.
    pub fn finish(self) -> io::Result<()> {
        flush(&self.temporary)?;
        match self.replaces {
            true => remove_folder(&self.target)?,
            // an empty folder would be replaced
            false => refuse_taken(&self.target)?,
        }
        std::fs::rename(&self.temporary, &self.target)?;
        sync_folder(parent(&self.target))
    }
}

impl Drop for NewFolder {
    fn drop(&mut self) {
        // after `finish` there is nothing of this name
        let _ = std::fs::remove_dir_all(&self.temporary);
    }
}

fn refuse_taken(target: &Path) -> io::Result<()> {
    if target.symlink_metadata().is_ok() { Err(io::ErrorKind::AlreadyExists.into()) } else { Ok(()) }
}

fn parent(target: &Path) -> &Path {
    target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Flushes everything in a folder.
fn flush(dir: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            flush(&entry.path())?;
        } else {
            File::open(entry.path())?.sync_all()?;
        }
    }
    sync_folder(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(dir).unwrap();
        let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_temporary_file_was_one_that_the_user_may_have() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.jsonl");
        for name in ["x.jsonl.tmp".to_owned(), format!(".spg-{}-0.tmp", std::process::id())] {
            std::fs::write(dir.path().join(name), "mine").unwrap();
        }
        let before = names(dir.path());
        write_whole(&path, b"one").unwrap();
        write_whole(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(names(dir.path()).len(), before.len() + 1);
        for name in before {
            assert_eq!(std::fs::read(dir.path().join(name)).unwrap(), b"mine");
        }
    }

    #[test]
    fn a_failure_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("taken")).unwrap();
        assert!(write_whole(&dir.path().join("taken"), b"x").is_err());
        assert!(write_whole(&dir.path().join("no/folder"), b"x").is_err());
        assert!(write_whole(Path::new(""), b"x").is_err());
        assert_eq!(names(dir.path()), ["taken"]);
    }

    #[cfg(unix)]
    #[test]
    fn links_and_permissions_stay_as_they_are() {
        use std::os::unix::fs::{PermissionsExt as _, symlink};
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        std::fs::write(&file, "old").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        symlink("file", &link).unwrap();
        write_whole(&link, b"new").unwrap();
        assert!(link.symlink_metadata().unwrap().is_symlink());
        assert_eq!(std::fs::read(&file).unwrap(), b"new");
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        write_whole(Path::new("/dev/null"), b"gone").unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn a_link_to_nowhere_was_taken_for_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("chat_template.jinja");
        assert!(!is_there(&link).unwrap() && read_optional(&link).unwrap().is_none());
        std::os::unix::fs::symlink("../blobs/gone", &link).unwrap();
        for error in [is_there(&link).unwrap_err(), read_optional(&link).unwrap_err()] {
            assert_eq!(error.to_string(), "it is a link to ../blobs/gone, which is not there");
        }
        std::fs::write(dir.path().join("file"), "x").unwrap();
        assert_eq!(read_optional(&dir.path().join("file")).unwrap().as_deref(), Some(&b"x"[..]));
    }

    #[test]
    fn a_folder_is_there_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("a/b");
        let fill = || -> NewFolder {
            let folder = NewFolder::create(&target).unwrap();
            std::fs::create_dir(folder.path().join("sub")).unwrap();
            std::fs::write(folder.path().join("sub/file"), "x").unwrap();
            assert!(!target.exists());
            folder
        };
        drop(fill());
        assert_eq!(names(&dir.path().join("a")), Vec::<String>::new());
        let late = fill();
        fill().finish().unwrap();
        assert_eq!(std::fs::read(target.join("sub/file")).unwrap(), b"x");
        for error in [late.finish().unwrap_err(), NewFolder::create(&target).unwrap_err()] {
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        }
        assert_eq!(names(&dir.path().join("a")), ["b"]);
        assert!(NewFolder::create(Path::new("..")).is_err());
    }
}
