"""Writes the shader sources with their includes into a C++ file, for machines without a Metal toolchain."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"')
PRAGMA_ONCE = re.compile(r"^\s*#\s*pragma\s+once\b")
HEADER = """// Generated from metal/*.metal: the shader sources as text.
#include "devices/metal/embedded_shaders.h"

namespace metalhead::metal {
"""


def find_include(name: str, includer: Path, folders: list[Path]) -> Path:
    """Return the included file; raise FileNotFoundError if no folder has it."""
    for folder in [includer.parent, *folders]:
        if (folder / name).is_file():
            return (folder / name).resolve()
    raise FileNotFoundError(f'{includer}: "{name}" not found')


def flatten(path: Path, folders: list[Path], seen: set[Path] | None = None) -> str:
    """Return the file's text with every quoted include written out once, and #line directives in it."""
    seen = set() if seen is None else seen
    seen.add(path.resolve())
    lines = [f'#line 1 "{path.name}"']
    for number, line in enumerate(path.read_text().splitlines(), 1):
        match = INCLUDE.match(line)
        if match:
            included = find_include(match[1], path, folders)
            if included not in seen:
                lines += [flatten(included, folders, seen), f'#line {number + 1} "{path.name}"']
            else:
                lines.append("")
        else:
            lines.append("" if PRAGMA_ONCE.match(line) else line)
    return "\n".join(lines)


def raw_string(text: str) -> str:
    """Return a C++ literal; pieces stay below the 64 KiB that some compilers allow."""
    pieces = [text[start : start + 15000] for start in range(0, len(text), 15000)] or [""]
    return "\n".join(f'R"__msl({piece})__msl"' for piece in pieces)


def embedded_source(shaders: list[Path], folders: list[Path]) -> str:
    """Return the C++ file's text."""
    parts = [HEADER, "static const EmbeddedShader kShaders[] = {"]
    parts += [f'    {{"{path.name}", {raw_string(flatten(path, folders))}}},' for path in shaders]
    parts += ["};", "", "std::span<const EmbeddedShader> embedded_shaders() { return kShaders; }"]
    return "\n".join([*parts, "", "}  // namespace metalhead::metal", ""])


def main() -> int:
    """Command line: --output FILE [-I FOLDER ...] SHADER ..."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shaders", type=Path, nargs="+")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("-I", dest="folders", type=Path, action="append", default=[])
    options = parser.parse_args()
    options.output.write_text(embedded_source(options.shaders, options.folders))
    return 0


if __name__ == "__main__":
    sys.exit(main())
