#!/usr/bin/env bash
# Checks format, lint and types of the whole tree; the first argument is the folder of the virtual environment's programs.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${1:-.venv/bin}

"$bin/python" -m pip install -q --disable-pip-version-check "ruff>=0.6" "mypy>=1.11" clang-format==19.1.7 clang-tidy==19.1.0.1

echo "== clang-format"
git ls-files '*.h' '*.cpp' '*.mm' | xargs "$bin/clang-format" --dry-run -Werror
echo "== clang-tidy"
mkdir -p build
PATH="$(cd "$bin" && pwd):$PATH" cmake -S . -B build/tidy -G Ninja -DPython_EXECUTABLE="$(cd "$bin" && pwd)/python" >build/tidy.log 2>&1 \
  || { cat build/tidy.log; exit 1; }
git ls-files 'cpp/core/*.cpp' 'cpp/ops/*.cpp' 'cpp/devices/*.cpp' | grep -v /kernels/ \
  | xargs -P 2 -n 5 "$bin/clang-tidy" -p build/tidy --quiet --extra-arg=-Wno-unknown-warning-option >build/tidy.log 2>/dev/null \
  || { cat build/tidy.log; exit 1; }
echo "== ruff"
"$bin/ruff" check .
"$bin/ruff" format --check .
echo "== mypy"
"$bin/mypy"
echo "== casters of the bindings"
strays=$(git grep -l 'nanobind/\(nanobind\|stl/.*\)\.h' -- cpp/bindings ':!cpp/bindings/casters.h' || true)
if [ -n "$strays" ]; then
  echo "include bindings/casters.h instead of nanobind's headers:" "$strays" >&2
  exit 1
fi
echo "== file lengths"
long=$(git ls-files '*.h' '*.cpp' '*.mm' '*.metal' '*.py' | xargs wc -l | awk '$2 != "total" && $1 > 500')
if [ -n "$long" ]; then
  echo "files above 500 lines:" "$long" >&2
  exit 1
fi
echo "lint: clean"
