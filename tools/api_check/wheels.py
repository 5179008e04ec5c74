"""Fetches Apple's API as others publish it: metal-cpp in mlx-metal, enum values in pyobjc-framework-Metal."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache" / "api_check"

# Package, platforms to ask for, and the part of the wheel that is read.
WHEELS = (
    ("mlx-metal", ("macosx_14_0_arm64",), "mlx/include/metal_cpp/"),
    ("pyobjc-framework-Metal", ("macosx_10_9_universal2", "macosx_11_0_universal2"), "Metal/_metadata.py"),
)


class WheelUnavailableError(Exception):
    """A wheel could not be fetched, so nothing can be checked against it."""


def download(package: str, platforms: tuple[str, ...], folder: Path) -> None:
    """Download the package's macOS wheel into the folder; raise WheelUnavailableError if pip cannot."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    command += ["--python-version", "3.11", "--dest", str(folder), package]
    for platform in platforms:
        command += ["--platform", platform]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise WheelUnavailableError(f"pip could not download {package}: {result.stderr.strip()[-300:]}")


def unpacked(package: str, platforms: tuple[str, ...], part: str) -> Path:
    """Return the folder that holds the wanted part of the wheel, fetched once."""
    folder = CACHE / package
    if not (folder / part).exists():
        wheels = CACHE / "wheels" / package
        wheels.mkdir(parents=True, exist_ok=True)
        if not any(wheels.glob("*.whl")):
            download(package, platforms, wheels)
        with zipfile.ZipFile(next(iter(sorted(wheels.glob("*.whl"))))) as wheel:
            wheel.extractall(folder, [name for name in wheel.namelist() if name.startswith(part)])
    if not (folder / part).exists():
        raise WheelUnavailableError(f"the wheel of {package} does not hold {part}")
    return folder / part


def metal_cpp() -> Path:
    """Return the folder of the metal-cpp headers."""
    return unpacked(*WHEELS[0])


def pyobjc_metadata() -> Path:
    """Return the file with the names and values of Metal's enums."""
    return unpacked(*WHEELS[1])
