"""Write the type stub of the native core; with --check, compare it with the one in the tree instead."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

from nanobind.stubgen import StubGen

STUB = Path(__file__).parent.parent / "python" / "metalhead" / "_core.pyi"


def generate() -> str:
    """Return the stub of the installed `metalhead._core`."""
    core = importlib.import_module("metalhead._core")
    generator = StubGen(module=core, quiet=True)
    generator.put(core)
    return f"from typing import Any\n\nimport numpy\nfrom numpy.typing import NDArray\n\n{generator.get()}"


def main() -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail if the stub in the tree is out of date")
    options = parser.parse_args()
    text = generate()
    if not options.check:
        STUB.write_text(text)
        return 0
    if STUB.read_text() == text:
        return 0
    print(f"{STUB.name} is out of date: run `make stubs`", file=sys.stderr)
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
