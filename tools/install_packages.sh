#!/usr/bin/env bash
# Installs the named Debian packages if they are missing, where apt-get and the right to use it exist.
set -euo pipefail

if ! command -v dpkg-query >/dev/null; then
  echo "== not Debian: if the next step fails, install these (Debian's names): $*"
  exit 0
fi
missing=()
for package in "$@"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q "install ok installed" || missing+=("$package")
done
[ "${#missing[@]}" -eq 0 ] && exit 0

sudo=""
if [ "$(id -u)" -ne 0 ]; then sudo="sudo"; fi
echo "== installing Debian packages: ${missing[*]}"
$sudo apt-get update -qq
DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
