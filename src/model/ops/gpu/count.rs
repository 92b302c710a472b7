//! What passes cost an accelerator beside arithmetic: launches, and bytes between host and device.

use std::cell::Cell;

/// Costs so far, of this thread: all work of accelerators is given out by one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Kernels, products, copies and casts that were started.
    pub launches: u64,
    /// Bytes from host to device.
    pub bytes_to_device: u64,
    /// How often.
    pub uploads: u64,
    /// Bytes from device to host.
    pub bytes_to_host: u64,
}

impl Traffic {
    /// The same for each of `times` passes, on average.
    pub fn over(self, times: u64) -> Self {
        let each = |total: u64| total / times.max(1);
        Self {
            launches: each(self.launches),
            bytes_to_device: each(self.bytes_to_device),
            uploads: each(self.uploads),
            bytes_to_host: each(self.bytes_to_host),
        }
    }

    /// What was added since `before`.
    pub fn since(self, before: Self) -> Self {
        Self {
            launches: self.launches - before.launches,
            bytes_to_device: self.bytes_to_device - before.bytes_to_device,
            uploads: self.uploads - before.uploads,
            bytes_to_host: self.bytes_to_host - before.bytes_to_host,
        }
    }
}

thread_local! {
    static TRAFFIC: Cell<Traffic> = const {
        Cell::new(Traffic { launches: 0, bytes_to_device: 0, uploads: 0, bytes_to_host: 0 })
    };
}

/// The costs of this thread until now.
pub fn traffic() -> Traffic {
    TRAFFIC.get()
}

fn change(f: impl FnOnce(&mut Traffic)) {
    let mut traffic = TRAFFIC.get();
    f(&mut traffic);
    TRAFFIC.set(traffic);
}

pub(super) fn launched() {
    change(|traffic| traffic.launches += 1);
}

pub(super) fn uploaded(bytes: usize) {
    change(|traffic| {
        traffic.bytes_to_device += bytes as u64;
        traffic.uploads += 1;
    });
}

pub(super) fn downloaded(bytes: usize) {
    change(|traffic| traffic.bytes_to_host += bytes as u64);
}
