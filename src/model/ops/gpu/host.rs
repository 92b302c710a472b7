//! An accelerator for tests: the kernels, compiled by the machine's C++ compiler, on tensors in main memory.

use std::cell::Cell;
use std::ffi::{CString, c_void};
use std::os::unix::ffi::OsStrExt as _;
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};

use candle_core::{CpuStorage, DType, InplaceOp1, Layout, Result, Storage, Tensor, bail};

use super::launch::Argument;
use super::product::{ByColumns, Operand};

thread_local! {
    static PLAYS: Cell<bool> = const { Cell::new(false) };
}

/// Whether main memory plays the device's on this thread.
pub fn plays_device() -> bool {
    PLAYS.get()
}

/// Runs `f` with main memory as that of an accelerator.
pub fn as_device<T>(f: impl FnOnce() -> T) -> T {
    struct Restored(bool);
    impl Drop for Restored {
        fn drop(&mut self) {
            PLAYS.set(self.0);
        }
    }
    let _restored = Restored(PLAYS.replace(true));
    f()
}

/// The compiled kernels.
struct Library(*mut c_void);

// SAFETY: a handle that is only given back to `dlsym`, which any thread may call.
unsafe impl Send for Library {}
// SAFETY: as above.
unsafe impl Sync for Library {}

fn library() -> &'static Library {
    static LIBRARY: OnceLock<Library> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let dir = tempfile::tempdir().expect("a folder");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src/model/ops/gpu/kernels/host.cpp");
        let object = dir.path().join("kernels.so");
        let mut compiler = Command::new("c++");
        compiler.args(["-std=c++17", "-O2", "-shared", "-fPIC", "-ffp-contract=off", "-o"]).arg(&object).arg(source);
        assert!(compiler.status().expect("a C++ compiler").success());
        let path = CString::new(object.as_os_str().as_bytes()).expect("a path");
        // SAFETY: a C string; the library has no code that runs when it is loaded.
        let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW) };
        assert!(!handle.is_null(), "the kernels do not load");
        Library(handle)
    })
}

/// Runs a kernel thread by thread.
pub(super) fn run(kernel: &str, threads: usize, arguments: &[Argument<'_>]) -> Result<()> {
    /// The number of the thread that runs is one for all.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    enum Value {
        Address(*mut c_void),
        Whole(u32),
        Number(f32),
    }
    let value = |argument: &Argument<'_>| match *argument {
        Argument::Input(x) => read(x).map(Value::Address),
        Argument::Output(x) => written(x).map(Value::Address),
        Argument::Whole(whole) => Ok(Value::Whole(whole)),
        Argument::Number(number) => Ok(Value::Number(number)),
    };
    let mut values: Vec<Value> = arguments.iter().map(value).collect::<Result<_>>()?;
    let mut addresses: Vec<*mut c_void> = values
        .iter_mut()
        .map(|value| match value {
            Value::Address(address) => (&raw mut *address).cast(),
            Value::Whole(whole) => (&raw mut *whole).cast(),
            Value::Number(number) => (&raw mut *number).cast(),
        })
        .collect();
    let name = CString::new(kernel).expect("a name");
    // SAFETY: the handle is that of a library that stays.
    let symbol = unsafe { libc::dlsym(library().0, name.as_ptr()) };
    if symbol.is_null() {
        bail!("there is no kernel {kernel}");
    }
    // SAFETY: this is what the macros of host.cpp define.
    let f: extern "C" fn(u32, *mut *mut c_void) = unsafe { std::mem::transmute(symbol) };
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    f(threads as u32, addresses.as_mut_ptr());
    Ok(())
}

/// A product as cuBLAS computes it, number by number.
pub(super) fn product(out: &Tensor, (a, b): (Operand<'_>, Operand<'_>), by_columns: ByColumns) -> Result<()> {
    let ByColumns { batch, m, n, k, transposed, widths, steps, scale, adds, .. } = by_columns;
    let numbers = |x: &Tensor| x.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>();
    let (left, right, mut sums) = (numbers(b.x)?, numbers(a.x)?, numbers(out)?);
    let at = |i: usize, j: usize, which: usize| match transposed[which] {
        false => i + j * widths[which],
        true => j + i * widths[which],
    };
    for one in 0..batch {
        let (left, right) = (&left[one * steps[0]..], &right[one * steps[1]..]);
        let sums = &mut sums[one * m * n..];
        for (i, j) in (0..n).flat_map(|j| (0..m).map(move |i| (i, j))) {
            let sum: f32 = (0..k).map(|l| left[at(i, l, 0)] * right[at(l, j, 1)]).sum();
            let there = if adds { sums[i + j * m] } else { 0.0 };
            sums[i + j * m] = there + scale * sum;
        }
    }
    let sums = Tensor::from_vec(sums, out.shape(), out.device())?.to_dtype(out.dtype())?;
    let (from, to) = (read(&sums)?, written(out)?);
    // SAFETY: both are as long as `out`, and apart.
    unsafe { to.cast::<u8>().copy_from(from.cast(), out.elem_count() * out.dtype().size_in_bytes()) };
    Ok(())
}

fn read(x: &Tensor) -> Result<*mut c_void> {
    let (storage, layout) = x.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => Ok(start(storage, layout)?.cast_mut()),
        _ => bail!("not in main memory"),
    }
}

/// Where the kernel may write.
fn written(x: &Tensor) -> Result<*mut c_void> {
    struct Find(Cell<*mut c_void>);
    impl InplaceOp1 for Find {
        fn name(&self) -> &'static str {
            "find"
        }

        fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
            self.0.set(start(storage, layout)?.cast_mut());
            Ok(())
        }
    }
    let find = Find(Cell::new(std::ptr::null_mut()));
    x.inplace_op1(&find)?;
    Ok(find.0.get())
}

fn start(storage: &CpuStorage, layout: &Layout) -> Result<*const c_void> {
    let at = layout.start_offset();
    match storage {
        CpuStorage::F32(values) => Ok(values[at..].as_ptr().cast()),
        CpuStorage::BF16(values) => Ok(values[at..].as_ptr().cast()),
        CpuStorage::F16(values) => Ok(values[at..].as_ptr().cast()),
        CpuStorage::U32(values) => Ok(values[at..].as_ptr().cast()),
        _ => bail!("kernels know no such dtype"),
    }
}
