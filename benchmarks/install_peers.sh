#!/usr/bin/env bash
# Installs the peers into build/bench-venv and builds ggml: about 1 GB on disk, some ten minutes on two cores.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=build/bench-venv
python=$venv/bin/python
llama=0.3.36 # llama-cpp-python: its source archive carries llama.cpp, of which only ggml is built
sources=build/peer-sources
pip() { "$python" -m pip "$1" -q --disable-pip-version-check "${@:2}"; }

if [ ! -e "$venv/.peers" ]; then
  echo "== installing peers into $venv"
  [ -x "$python" ] || "${PYTHON:-python3}" -m venv "$venv"
  pip install "numpy>=2.0" "ml_dtypes>=0.4" "scikit-build-core>=0.10" "nanobind>=2.4" cmake ninja matplotlib onnxruntime onnx
  # This version has wheels for the CPU alone; others bring gigabytes of CUDA.
  pip install "torch==2.13.0" || echo "-- torch: not installed, its rows will be skipped"
  pip install "mlx[cpu]" || echo "-- mlx: not installed, its rows will be skipped"
  touch "$venv/.peers"
fi

if [ ! -e build/bench/libggml_shim.so ] || [ benchmarks/native/ggml_shim.cpp -nt build/bench/libggml_shim.so ]; then
  if [ ! -d "$sources/ggml" ]; then
    echo "== fetching ggml (inside llama-cpp-python $llama)"
    [ -e "$sources/llama_cpp_python-$llama.tar.gz" ] || pip download --no-binary :all: --no-deps --no-build-isolation -d "$sources" "llama-cpp-python==$llama"
    tar -C "$sources" --strip-components 3 -xzf "$sources/llama_cpp_python-$llama.tar.gz" \
      "llama_cpp_python-$llama/vendor/llama.cpp/ggml"
    touch "$sources/ggml/ggml.pc.in" # the archive lacks this template of a pkg-config file
  fi
  echo "== building ggml"
  mkdir -p build/bench
  export PATH="$PWD/$venv/bin:$PATH"
  nice -n 10 cmake -S "$sources/ggml" -B build/bench/ggml -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_POSITION_INDEPENDENT_CODE=ON \
    -DGGML_NATIVE=ON -DGGML_OPENMP=ON -DBUILD_SHARED_LIBS=OFF -DGGML_BUILD_TESTS=OFF -DGGML_BUILD_EXAMPLES=OFF \
    >build/bench/ggml.log 2>&1 || { tail -20 build/bench/ggml.log; exit 1; }
  nice -n 10 ninja -C build/bench/ggml -j2 >>build/bench/ggml.log 2>&1 || { tail -20 build/bench/ggml.log; exit 1; }
  libraries=build/bench/ggml/src
  ${CXX:-g++} -O2 -std=c++17 -fPIC -shared -fopenmp -I"$sources/ggml/include" benchmarks/native/ggml_shim.cpp \
    "$libraries/libggml.a" "$libraries/libggml-cpu.a" "$libraries/libggml-base.a" -ldl -lpthread -o build/bench/libggml_shim.new
  mv build/bench/libggml_shim.new build/bench/libggml_shim.so
fi
