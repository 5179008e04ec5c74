#!/usr/bin/env python3
"""Check that kernel objects define no symbol that another part of the program could pick.

A kernel source is compiled once per instruction set. If such an object held a weak copy of a function from
outside its own namespace, the linker might keep that copy for the whole program, and a machine without the
instructions would crash.

Usage: check_kernel_symbols.py OBJECT...
"""

from __future__ import annotations

import re
import subprocess
import sys

# Symbols that belong to one instruction set, and what the compiler adds for itself.
_OWN = re.compile(r"\bmetalhead::cpu::isa_\w+::")
_HARMLESS = re.compile(r"^(DW\.ref\.|__odr_asan|\.L|_GLOBAL__|asan\.|__asan|__ubsan|GCC_except_table)")
# Types that nm prints for definitions which other objects can see: T, W, V, D, B, R and so on. Not u: inline
# constants are the same bytes in every copy.
_DEFINED = set("TWVDBRSGCi")


def foreign_symbols(path: str) -> list[str]:
    """Return the global definitions in the object at `path` that lie outside every `isa_*` namespace."""
    command = ["nm", "-C", "--defined-only", path]
    listing = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = []
    for line in listing.splitlines():
        fields = line.split(maxsplit=2)
        if len(fields) != 3 or fields[1] not in _DEFINED:
            continue
        name = fields[2]
        if not _OWN.search(name) and not _HARMLESS.match(name):
            found.append(f"{fields[1]} {name}")
    return found


def main(paths: list[str]) -> int:
    """Check every object; print what is wrong; return the exit status."""
    if not paths:
        print(__doc__, file=sys.stderr)
        return 2
    failed = False
    for path in paths:
        for symbol in foreign_symbols(path):
            print(f"{path}: defines outside its instruction set's namespace: {symbol}")
            failed = True
    if not failed:
        print(f"{len(paths)} kernel objects define nothing outside their namespaces")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
