"""Writes the file that stands for a metallib in the simulation: a line to know it by, then kernel names."""

from __future__ import annotations

import json
import sys
from pathlib import Path

MAGIC = "metalhead simulated metallib"


def library_text(reflections: list[Path]) -> str:
    """Return the library file's text for the reflection files of its shaders.

    Raises ValueError if two shaders declare a kernel of one name.
    """
    names: list[str] = []
    for path in reflections:
        names += json.loads(path.read_text())["kernels"]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"kernels declared by more than one shader: {', '.join(twice)}")
    return "\n".join([MAGIC, *sorted(names)]) + "\n"


def main() -> int:
    """Command line: output file, then reflection files."""
    Path(sys.argv[1]).write_text(library_text([Path(path) for path in sys.argv[2:]]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
