"""Where the compiler and the project's folders are, and how a child process is run."""

from __future__ import annotations

import platform
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from .errors import ShaderError

ROOT = Path(__file__).resolve().parents[2]
SHIM = ROOT / "sim" / "metal"
RUNTIME = ROOT / "sim" / "simt"
SHADERS = ROOT / "metal"

METAL_DEFINES = ("-D__METAL__=1", "-D__METAL_VERSION__=310", "-D__METAL_MACOS__=1")

# The arithmetic of the host must round half and bfloat after every operation, as a GPU does.
NUMERIC_FLAGS = (
    "-ffp-contract=off",
    "-Xclang",
    "-ffloat16-excess-precision=none",
    "-Xclang",
    "-fbfloat16-excess-precision=none",
    "-Xclang",
    "-cl-single-precision-constant",
)


def find_tool(name: str) -> str:
    """Return the path of an LLVM 19 tool such as ``clang++``; raise ShaderError if it is not installed."""
    if path := shutil.which(f"{name}-19"):
        return path
    raise ShaderError(f"{name}-19 not found: install the packages of sim/packages.txt")


def machine_flags() -> tuple[str, ...]:
    """Return the -march flag of this host; half and bfloat conversions need x86-64-v3 on Intel machines."""
    return ("-march=x86-64-v3",) if platform.machine() == "x86_64" else ()


def run_tool(command: Sequence[str | Path], cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run a command in the repository root and return it with its captured text, whatever its exit status."""
    return subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False
    )


def display_path(path: Path) -> str:
    """Return a path relative to the repository root where it lies inside it."""
    resolved = path.resolve()
    return str(resolved.relative_to(ROOT)) if resolved.is_relative_to(ROOT) else str(resolved)
