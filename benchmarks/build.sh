#!/usr/bin/env bash
# Builds the limits library, and installs metalhead with the call floor beside it for the given Python.
set -euo pipefail
cd "$(dirname "$0")/.."
python=$1
export PATH="$PWD/$(dirname "$python"):$PATH"

mkdir -p build/bench
if [ benchmarks/native/limits.cpp -nt build/bench/liblimits.so ]; then
  ${CXX:-g++} -O3 -march=native -std=c++20 -fPIC -shared -pthread -ffp-contract=fast benchmarks/native/limits.cpp \
    -o build/bench/liblimits.new
  mv build/bench/liblimits.new build/bench/liblimits.so
fi
echo "== building and installing metalhead for $python"
"$python" -m pip install -q --disable-pip-version-check --no-build-isolation --no-deps --force-reinstall \
  -C build-dir=build/bench/package -C cmake.define.METALHEAD_BUILD_BENCHMARKS=ON .
