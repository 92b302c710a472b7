//! What must be set before the first thread starts, and what is asked of the system.

use std::collections::TryReserveError;

/// Version and revision of this build, as `--version` prints them.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("SPG_REVISION"), ")");

/// Revision of the source tree this build was made from; `unknown` outside a repository.
pub const REVISION: &str = env!("SPG_REVISION");

/// Settles process-wide knobs. To be called first in `main`.
pub fn prepare() {
    quiet_candle_pool();
    no_frames_in_errors();
    keep_freed_memory();
    share_cores();
}

/// Several processes of a machine that would each compute with all of its cores would keep each other waiting.
fn share_cores() {
    if let Some(threads) = crate::world::threads_of_a_process() {
        // SAFETY: `prepare` is called first in `main`, when no other thread exists that could read the environment.
        unsafe { std::env::set_var("RAYON_NUM_THREADS", threads.to_string()) };
    }
}

/// Runs `work` on a thread of the pool that the kernels share. A thread outside of it would be put to sleep and woken
/// for every parallel loop, several hundred times a step.
pub fn on_pool<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    rayon::scope(|_| work())
}

/// candle's own thread pool spins while it waits: when anything else holds a core, a step takes two to three times
/// longer. It only serves element-wise loops; the matrix products use rayon's pool, which this leaves alone.
fn quiet_candle_pool() {
    const NAME: &str = "CANDLE_NUM_THREADS";
    if std::env::var_os(NAME).is_none() {
        // SAFETY: as above.
        unsafe { std::env::set_var(NAME, "1") };
    }
}

/// With `RUST_BACKTRACE` candle writes the frames of its errors into their messages. Panics keep theirs; whoever wants
/// those of errors sets `RUST_LIB_BACKTRACE`.
fn no_frames_in_errors() {
    const NAME: &str = "RUST_LIB_BACKTRACE";
    if std::env::var_os(NAME).is_none() {
        // SAFETY: as above.
        unsafe { std::env::set_var(NAME, "0") };
    }
}

/// Buffers from this size on (weights, chunks of logits) still come from the system, and go back to it at once; glibc
/// refuses larger values.
const MAPPED_BYTES: usize = 32 << 20;

/// Free memory of smaller buffers that the heap keeps at its top: memory that was needed once stays resident.
pub const KEPT_BYTES: usize = 256 << 20;

/// Whether a buffer of this size cannot use what the heap keeps of smaller ones.
pub fn is_mapped(bytes: usize) -> bool {
    cfg!(all(target_os = "linux", target_env = "gnu")) && bytes >= MAPPED_BYTES
}

/// Every operation allocates its output. By default glibc gives buffers above 128 KiB straight back to the kernel,
/// which then zeroes new pages for the next one: that costs more than the arithmetic of small layers. Heaps of single
/// threads are 64 MiB at most and are given back whole, so that all threads share the main one: what is allocated by
/// many is small, and what is large is allocated by one.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn keep_freed_memory() {
    // SAFETY: plain calls with documented parameters, before any other thread allocates. A refusal is harmless.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_BYTES as libc::c_int);
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT_BYTES as libc::c_int);
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn keep_freed_memory() {}

/// Bytes from which on a buffer holds some pages of 2 MiB wherever it starts.
#[cfg(target_os = "linux")]
const WORTH_LARGE_PAGES: usize = 4 << 20;

/// Room for `len` elements that are read again and again, in pages of 2 MiB where the system has them: with pages of
/// 4 KiB a pass over the weights of a large model misses the TLB all the time, and prefetching stops at every page.
pub fn with_large_pages<T>(len: usize) -> Vec<T> {
    let mut room = Vec::with_capacity(len);
    ask_for_large_pages(&mut room);
    room
}

/// As [`with_large_pages`].
///
/// # Errors
/// If there is no memory for it.
pub fn try_with_large_pages<T>(len: usize) -> Result<Vec<T>, TryReserveError> {
    let mut room = Vec::new();
    room.try_reserve_exact(len)?;
    ask_for_large_pages(&mut room);
    Ok(room)
}

/// Before anything is written there: pages that are there stay as they are.
#[cfg(target_os = "linux")]
fn ask_for_large_pages<T>(room: &mut Vec<T>) {
    let room = room.spare_capacity_mut();
    if let (Some(page), bytes @ WORTH_LARGE_PAGES..) = (page_bytes(), size_of_val(room)) {
        let start = room.as_ptr() as usize;
        let (first, end) = (start.next_multiple_of(page), (start + bytes) / page * page);
        if first < end {
            // SAFETY: whole pages inside a buffer of ours; advice changes no byte of them. A refusal is harmless.
            unsafe { libc::madvise(first as *mut libc::c_void, end - first, libc::MADV_HUGEPAGE) };
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn ask_for_large_pages<T>(_: &mut Vec<T>) {}

/// The name of this machine, fit to be part of a file's name.
pub fn host_name() -> String {
    let name: String = system_name().chars().filter(|c| c.is_ascii_alphanumeric() || "-._".contains(*c)).collect();
    if name.is_empty() { "localhost".to_owned() } else { name }
}

#[cfg(unix)]
fn system_name() -> String {
    let mut name = [0_u8; 256];
    // SAFETY: the pointer is valid for one byte less than the buffer has, so that a zero remains at its end.
    let failed = unsafe { libc::gethostname(name.as_mut_ptr().cast(), name.len() - 1) } != 0;
    let end = name.iter().position(|&byte| byte == 0).filter(|_| !failed).unwrap_or(0);
    String::from_utf8_lossy(&name[..end]).into_owned()
}

#[cfg(not(unix))]
fn system_name() -> String {
    std::env::var("COMPUTERNAME").unwrap_or_default()
}

/// The cores that the process which started this one may use; none where the system does not say.
#[cfg(target_os = "linux")]
pub fn cores_of_parent() -> Option<usize> {
    // SAFETY: an all-zero set is a valid one, the call writes no more than its size, and the count only reads it.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        let known = libc::sched_getaffinity(libc::getppid(), size_of_val(&set), &mut set) == 0;
        known.then(|| libc::CPU_COUNT(&set) as usize)
    }
}

/// The cores that the process which started this one may use; none where the system does not say.
#[cfg(not(target_os = "linux"))]
pub fn cores_of_parent() -> Option<usize> {
    None
}

/// The most memory this process has held so far, in MiB.
#[cfg(unix)]
pub fn peak_memory_mib() -> Option<f64> {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: the pointer is valid for a `rusage`, which the call fills when it returns 0.
    let usage = unsafe {
        if libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) != 0 {
            return None;
        }
        usage.assume_init()
    };
    let unit = if cfg!(target_vendor = "apple") { 1.0 } else { 1024.0 };
    Some(usage.ru_maxrss as f64 * unit / (1024.0 * 1024.0))
}

/// The most memory this process has held so far, in MiB.
#[cfg(not(unix))]
pub fn peak_memory_mib() -> Option<f64> {
    None
}

/// The memory of this machine, in bytes, or what a container or a scheduler leaves of it to this process; nothing where
/// the system does not say.
#[cfg(unix)]
pub fn memory_bytes() -> Option<usize> {
    // SAFETY: a plain call; what the system does not know is below zero.
    let pages = usize::try_from(unsafe { libc::sysconf(libc::_SC_PHYS_PAGES) }).ok()?;
    let machine = pages.checked_mul(page_bytes()?)?;
    let limits = control_groups().into_iter().filter_map(|file| {
        // "max" where there is none
        std::fs::read_to_string(file).ok()?.trim().parse::<usize>().ok()
    });
    limits.chain([machine]).min()
}

#[cfg(not(unix))]
pub fn memory_bytes() -> Option<usize> {
    None
}

/// The files that hold the limits of this process's control group and those above it, of both versions of the system.
#[cfg(unix)]
fn control_groups() -> Vec<std::path::PathBuf> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mut files = Vec::new();
    for line in groups.lines() {
        let Some((controllers, path)) = line.split_once(':').and_then(|(_, rest)| rest.split_once(':')) else {
            continue;
        };
        let (root, name) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            c if c.split(',').any(|c| c == "memory") => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => continue,
        };
        let path = std::path::Path::new(path.trim_start_matches('/'));
        files.extend(path.ancestors().map(|group| std::path::Path::new(root).join(group).join(name)));
    }
    files
}

/// What this process holds now, in bytes, without what the heap keeps of freed memory; where only the most it has held
/// is known, that.
pub fn resident_bytes() -> Option<usize> {
    release_freed_memory();
    held_bytes()
}

/// What this process holds now, in bytes, with what the heap keeps; where only the most it has held is known, that.
pub fn held_bytes() -> Option<usize> {
    if cfg!(target_os = "linux") {
        // pages: all, resident, shared, ...
        let pages = std::fs::read_to_string("/proc/self/statm").ok()?;
        return Some(pages.split(' ').nth(1)?.parse::<usize>().ok()? * page_bytes()?);
    }
    peak_memory_mib().map(|mib| (mib * 1024.0 * 1024.0) as usize)
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn release_freed_memory() {
    // SAFETY: a plain call.
    unsafe { libc::malloc_trim(0) };
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn release_freed_memory() {}

#[cfg(unix)]
fn page_bytes() -> Option<usize> {
    // SAFETY: a plain call.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).ok()
}

#[cfg(not(unix))]
fn page_bytes() -> Option<usize> {
    None
}
