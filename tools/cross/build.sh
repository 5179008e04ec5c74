#!/usr/bin/env bash
# Cross-builds the arm64 macOS wheel and checks what the extension leaves undefined; $1 is a Python with the build packages.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
python=${1:-$root/.venv/bin/python}
output=${2:-$root/build/cross}
python=$(cd "$(dirname "$python")" && pwd)/$(basename "$python")
if ! "$python" -c "import ziglang, scikit_build_core, nanobind, numpy" 2> /dev/null; then
  if ! "$python" -m pip install -q ziglang scikit-build-core nanobind numpy ninja; then
    echo "cross: SKIPPED, nothing was built: ziglang and the build packages cannot be installed"
    exit 0
  fi
fi
export ZIG_PYTHON=$python
export _PYTHON_HOST_PLATFORM=macosx-14.0-arm64
export SETUPTOOLS_EXT_SUFFIX=.cpython-$("$python" -c 'import sys; print("%d%d" % sys.version_info[:2])')-darwin.so
rm -rf "$output/wheel"
mkdir -p "$output"
"$python" -m pip wheel -q --no-deps --no-build-isolation "$root" -w "$output/wheel" \
  -C "cmake.define.CMAKE_TOOLCHAIN_FILE=$root/tools/cross/toolchain.cmake" -C "build-dir=$output/build"
"$python" "$root/tools/cross/check_wheel.py" "$output"/wheel/*.whl
