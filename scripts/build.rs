//! Records the revision the binary is built from, so that a run folder can name it, and compiles the kernels for CUDA.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=scripts/build.rs");
    // A path that does not exist would make every build start anew, so only existing ones are watched; git is asked
    // for them because in a linked worktree they do not lie in `.git`.
    // The log of HEAD grows with every commit, also where the branch itself is packed away.
    for name in ["HEAD", "logs/HEAD"] {
        if let Some(path) = git(&["rev-parse", "--git-path", name]).filter(|path| Path::new(path).exists()) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    let revision = git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|| "unknown".into());
    println!("cargo::rustc-env=SPG_REVISION={revision}");
    compile_kernels();
}

#[cfg(not(feature = "cuda"))]
fn compile_kernels() {}

/// To PTX, which the driver makes the GPU's code of.
#[cfg(feature = "cuda")]
fn compile_kernels() {
    let folder = "src/model/ops/gpu/kernels";
    println!("cargo::rerun-if-changed={folder}");
    println!("cargo::rerun-if-env-changed=SPG_CUDA_LIBRARIES");
    let out = std::env::var_os("OUT_DIR").expect("cargo names a folder");
    let text = format!("{folder}/cuda.cu");
    let kernels = cudaforge::KernelBuilder::new().source_files([text]).watch([folder]).args(["-std=c++17", "-O3"]);
    let written = kernels.build_ptx().and_then(|ptx| ptx.write(Path::new(&out).join("kernels.rs")));
    written.expect("nvcc compiles the kernels");
}

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok().filter(|o| o.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
