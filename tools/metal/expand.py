"""Runs the C preprocessor over a shader, leaving Metal's own headers as marked includes."""

from __future__ import annotations

import functools
import os
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

from .errors import ShaderError
from .toolchain import METAL_DEFINES, ROOT, SHADERS, SHIM, display_path, find_tool, run_tool

INCLUDE_MARK = "#pragma metalhead_include"


_making_headers = threading.Lock()


def marker_headers() -> str:
    """Return a folder with one header for each of the shim's, that says only that it was included."""
    # The cache alone would let two threads make a folder each, and one of them vanish with its object.
    with _making_headers:
        return _made_headers().name


@functools.cache
def _made_headers() -> tempfile.TemporaryDirectory[str]:
    folder = tempfile.TemporaryDirectory(prefix="metalhead-headers-")
    for header in SHIM.iterdir():
        if header.name.startswith("metal_"):
            Path(folder.name, header.name).write_text(f"#pragma once\n{INCLUDE_MARK} {header.name}\n")
    return folder


def expand(
    path: Path, include_dirs: Sequence[Path] = (), defines: Sequence[str] = (), standard: str = "c++14"
) -> str:
    """Return the shader with macros and project includes expanded and line markers kept.

    Raises ShaderError with the compiler's text if the preprocessor fails.
    """
    if not path.is_file():
        raise ShaderError(f"{path}: no such shader")
    folders = [*include_dirs, SHADERS]
    command: list[str | Path] = [
        find_tool("clang++"), "-E", "-x", "c++", f"-std={standard}", "-nostdinc", "-nostdinc++",
        "-isystem", marker_headers(), *METAL_DEFINES,
        *(f"-I{os.path.relpath(folder, ROOT)}" for folder in folders), *(f"-D{define}" for define in defines),
        display_path(path),
    ]  # fmt: skip
    result = run_tool(command)
    if result.returncode != 0:
        raise ShaderError(result.stderr.strip() or f"{path}: the preprocessor failed")
    return result.stdout
