#!/usr/bin/env bash
# Type-checks the CUDA build on a machine without the CUDA toolkit.
#
# candle's build scripts ask `nvcc` for its version and let it compile the kernels; `cargo check` never links
# or runs what comes out. So a stand-in `nvcc` is enough that answers the questions and creates the files it is told
# to. The result says that our code fits candle's CUDA API, not that the kernels work.
#
# A target folder of its own keeps the everyday build from starting anew.
set -euo pipefail
cd "$(dirname "$0")/.."

stub=$(mktemp -d)
trap 'rm -rf "$stub"' EXIT
mkdir "$stub/bin" "$stub/include"

cat > "$stub/bin/nvcc" <<'NVCC'
#!/usr/bin/env bash
# Answers like nvcc 12.8 and creates its outputs empty.
for arg in "$@"; do
    case $arg in
        --version)
            # Line for line like the real one: cudarc reads the version from the fourth.
            echo "nvcc: NVIDIA (R) Cuda compiler driver"
            echo "Copyright (c) 2005-2025 NVIDIA Corporation"
            echo "Built on Fri_Feb_21_20:23:50_PST_2025"
            echo "Cuda compilation tools, release 12.8, V12.8.93"
            echo "Build cuda_12.8.r12.8/compiler.35583870_0"
            exit 0 ;;
        --list-gpu-code)
            printf 'sm_%s\n' 75 80 86 89 90
            exit 0 ;;
        --list-gpu-arch)
            printf 'compute_%s\n' 75 80 86 89 90
            exit 0 ;;
    esac
done
output= dir=. ptx= inputs=()
while (($#)); do
    case $1 in
        -o | --output-file) output=$2; shift ;;
        -o=* | --output-file=*) output=${1#*=} ;;
        --output-directory | -odir) dir=$2; shift ;;
        --output-directory=* | -odir=*) dir=${1#*=} ;;
        --ptx | -ptx) ptx=1 ;;
        *.cu) inputs+=("$1") ;;
    esac
    shift
done
if [[ -n $output ]]; then
    mkdir -p "$(dirname "$output")" && : > "$output"
elif [[ -n $ptx ]]; then
    for input in "${inputs[@]}"; do
        name=${input##*/} && : > "$dir/${name%.cu}.ptx"
    done
fi
NVCC
chmod +x "$stub/bin/nvcc"
# Build scripts that look for the toolkit's folder take it to be there when the header is.
echo '#define CUDA_VERSION 12080' > "$stub/include/cuda.h"

export PATH="$stub/bin:$PATH" NVCC="$stub/bin/nvcc"
export CUDA_HOME="$stub" CUDA_PATH="$stub" CUDA_ROOT="$stub" CUDA_TOOLKIT_ROOT_DIR="$stub"
export CUDA_COMPUTE_CAP="${CUDA_COMPUTE_CAP:-80}"
export CARGO_TARGET_DIR="${CHECK_CUDA_TARGET_DIR:-${CARGO_TARGET_DIR:-target}/check-cuda}"

# The manifest optimises dependencies, here only build scripts and macros: not worth the time.
check=(cargo check --config 'profile.dev.package."*".opt-level=0')
"${check[@]}" --features cuda "$@"
echo "the CUDA build type-checks (stub nvcc, compute capability $CUDA_COMPUTE_CAP)"
if command -v mpicc > /dev/null; then
    "${check[@]}" --features nccl "$@"
    echo "so does that for several GPUs (NCCL)"
fi
