#!/usr/bin/env bash
# Type-checks the Metal build for Apple silicon from any machine.
#
# `cargo check` needs the target's standard library but no linker and no Apple SDK: the Objective-C bindings are plain
# declarations. Some dependencies compile C in their build scripts, which a Linux compiler cannot do for this target;
# as nothing is linked, a stand-in compiler that creates its outputs empty is enough.
# The result says that our code fits candle's Metal API, not that the kernels work.
#
# A target folder of its own keeps the everyday build from starting anew.
set -euo pipefail
cd "$(dirname "$0")/.."

target=aarch64-apple-darwin
sysroot=$(rustc --print sysroot)
if [[ ! -d $sysroot/lib/rustlib/$target/lib ]]; then
    if ! command -v rustup > /dev/null; then
        echo "error: the standard library of $target is not installed, and there is no rustup to fetch it." >&2
        exit 1
    fi
    if ! rustup target add "$target"; then
        echo "error: not checked: the standard library of $target could not be fetched (rustup's message is above)." >&2
        echo "This needs https://static.rust-lang.org; run this script where that can be reached." >&2
        exit 1
    fi
fi

if [[ $(uname -s) != Darwin ]]; then
    stub=$(mktemp -d)
    trap 'rm -rf "$stub"' EXIT
    cat > "$stub/cc" <<'CC'
#!/usr/bin/env bash
# A compiler and archiver that creates its output empty: `-o FILE` (cc) or the first *.a (ar).
while (($#)); do
    case $1 in
        -o) : > "$2"; shift ;;
        *.a) : > "$1" ;;
    esac
    shift
done
CC
    chmod +x "$stub/cc"
    ln -s cc "$stub/ar"
    export CC_aarch64_apple_darwin="$stub/cc" CXX_aarch64_apple_darwin="$stub/cc" AR_aarch64_apple_darwin="$stub/ar"
    # Else the C compiler's build helper asks Xcode for the SDK.
    export SDKROOT="$stub"
fi

export CARGO_TARGET_DIR="${CHECK_METAL_TARGET_DIR:-${CARGO_TARGET_DIR:-target}/check-metal}"
# The manifest optimises dependencies, here only build scripts and macros: not worth the time.
cargo check --config 'profile.dev.package."*".opt-level=0' --target "$target" --features metal "$@"
echo "the Metal build type-checks for $target"
