#!/usr/bin/env bash
# Checks format, lint and types of the whole tree; the first argument is the folder of the virtual environment's programs.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${1:-.venv/bin}

"$bin/python" -m pip install -q --disable-pip-version-check "ruff>=0.6" "mypy>=1.11" clang-format==19.1.7

echo "== clang-format"
git ls-files '*.h' '*.cpp' '*.mm' | xargs "$bin/clang-format" --dry-run -Werror
echo "== ruff"
"$bin/ruff" check .
"$bin/ruff" format --check .
echo "== mypy"
"$bin/mypy"
echo "== file lengths"
long=$(git ls-files '*.h' '*.cpp' '*.mm' '*.metal' '*.py' | xargs wc -l | awk '$2 != "total" && $1 > 500')
if [ -n "$long" ]; then
  echo "files above 500 lines:" "$long" >&2
  exit 1
fi
echo "lint: clean"
