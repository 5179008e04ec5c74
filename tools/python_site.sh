#!/usr/bin/env bash
# Makes <build folder>/site, where Python finds the package with that build's extension; put it into PYTHONPATH.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
folder=$1
cmake --install "$folder" --prefix "$folder/site" >"$folder/install.log" || { cat "$folder/install.log"; exit 1; }
for path in "$root"/python/metalhead/*; do
  case $path in
    *.so | */__pycache__) ;;
    *) ln -sfn "$path" "$folder/site/metalhead/" ;;
  esac
done
# The package reads its version from what an installer leaves.
version=$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/pyproject.toml")
mkdir -p "$folder/site/metalhead-$version.dist-info"
printf 'Metadata-Version: 2.1\nName: metalhead\nVersion: %s\n' "$version" >"$folder/site/metalhead-$version.dist-info/METADATA"
