#!/usr/bin/env python3
"""Writes metal/common/codebooks.h: the Lloyd-Max levels of N(0, 1) for 2 to 6 bits.

An optimal quantiser has every level at the mean of its cell and every boundary midway between two levels.
Lloyd's iteration converges to that far too slowly above 4 bits, so Newton's method solves the equations.

    tools/make_codebooks.py            write the header
    tools/make_codebooks.py --check    compare it with what would be written
"""

from __future__ import annotations

import argparse
import math
import struct
import sys
from itertools import pairwise
from pathlib import Path

HEADER = Path(__file__).resolve().parent.parent / "metal" / "common" / "codebooks.h"
BITS = (2, 3, 4, 5, 6)
RESIDUAL_LIMIT = 1e-10


def density(x: float) -> float:
    """Density of N(0, 1)."""
    return math.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def tail(x: float) -> float:
    """Probability of a value above x."""
    return math.erfc(x / math.sqrt(2)) / 2


def cells(levels: list[float]) -> tuple[list[float], list[float], list[float]]:
    """Boundaries (0, midpoints, infinity), their densities, and the mass of each positive cell."""
    boundaries = [0.0, *((a + b) / 2 for a, b in pairwise(levels)), math.inf]
    masses = [tail(a) - tail(b) for a, b in pairwise(boundaries)]
    return boundaries, [density(t) if math.isfinite(t) else 0.0 for t in boundaries], masses


def residuals(levels: list[float]) -> list[float]:
    """Level minus mean of its cell, for each positive level."""
    _, d, masses = cells(levels)
    return [c - (d[k] - d[k + 1]) / masses[k] for k, c in enumerate(levels)]


def newton_step(levels: list[float]) -> list[float]:
    """The levels after one Newton step on level * mass = density difference: a tridiagonal system."""
    t, d, masses = cells(levels)
    count = len(levels)
    lower, diagonal, upper = [0.0] * count, list(masses), [0.0] * count
    right = [d[k] - d[k + 1] - levels[k] * masses[k] for k in range(count)]
    for k in range(count):
        if k > 0:
            lower[k] = (t[k] - levels[k]) * d[k] / 2
            diagonal[k] += lower[k]
        if k + 1 < count:
            upper[k] = (levels[k] - t[k + 1]) * d[k + 1] / 2
            diagonal[k] += upper[k]
    for k in range(1, count):
        factor = lower[k] / diagonal[k - 1]
        diagonal[k] -= factor * upper[k - 1]
        right[k] -= factor * right[k - 1]
    step = [0.0] * (count + 1)
    for k in reversed(range(count)):
        step[k] = (right[k] - upper[k] * step[k + 1]) / diagonal[k]
    return [c + s for c, s in zip(levels, step, strict=False)]


def positive_levels(bits: int) -> list[float]:
    """The upper half of the levels, ascending; raises if the equations are not solved."""
    count = 2 ** (bits - 1)
    levels = [0.4 * (k + 0.5) * 5 / count for k in range(count)]
    for _ in range(300):  # Lloyd's iteration, to come within Newton's reach
        levels = [c - r for c, r in zip(levels, residuals(levels), strict=True)]
    for _ in range(30):
        levels = newton_step(levels)
    worst = max(abs(r) for r in residuals(levels))
    if not worst < RESIDUAL_LIMIT or levels != sorted(levels):
        raise ArithmeticError(f"codebook of {bits} bits: residual {worst:g} is not below {RESIDUAL_LIMIT:g}")
    return levels


def mean_squared_error(levels: list[float]) -> float:
    """Of the quantiser on N(0, 1), from its stationarity: 1 - E[c^2]."""
    _, _, masses = cells(levels)
    return 1 - 2 * sum(c * c * m for c, m in zip(levels, masses, strict=True))


def literal(x: float) -> str:
    """The shortest decimal that names the nearest float32."""
    nearest = struct.unpack("f", struct.pack("f", x))[0]
    for digits in range(6, 10):
        text = f"{nearest:.{digits}g}"
        if struct.unpack("f", struct.pack("f", float(text)))[0] == nearest:
            return text + ("f" if "." in text or "e" in text else ".0f")
    raise AssertionError("nine digits name every float32")


def array(name: str, values: list[float]) -> str:
    """One table, at most 110 columns wide."""
    lines, line = [], "   "
    for index, value in enumerate(values):
        item = " " + literal(value) + ("," if index + 1 < len(values) else "")
        if len(line) + len(item) > 110:
            lines.append(line)
            line = "   "
        line += item
    body = "\n".join([*lines, line])
    return f"METALHEAD_TABLE float {name}[{len(values)}] = {{\n{body}}};\n"


def mirrored(positive: list[float], middle: list[float]) -> list[float]:
    """The whole symmetric table."""
    return [-x for x in reversed(positive)] + middle + positive


def header_text() -> str:
    """The whole header."""
    parts = [
        "// Levels and decision boundaries of the TurboQuant codec: the optimal quantisers of N(0, 1).\n"
        "// Written by tools/make_codebooks.py: change that, not this.\n"
        "#pragma once\n\n"
        "// clang-format off\n"
        "#ifdef __METAL_VERSION__\n"
        "#define METALHEAD_TABLE constant\n"
        "#else\n"
        "#define METALHEAD_TABLE inline constexpr\n"
        "#endif\n"
        "\n// kLevelsB: the 2^B levels, ascending. kBoundariesB: the 2^B - 1 boundaries between them.\n"
        "// Both are symmetric: the middle boundary is 0, and the positive halves start at index 2^(B - 1).\n"
    ]
    for bits in BITS:
        levels = positive_levels(bits)
        boundaries = [(a + b) / 2 for a, b in pairwise(levels)]
        parts.append(f"\n// {bits} bits: mean squared error {mean_squared_error(levels):.6g}.\n")
        parts.append(array(f"kLevels{bits}", mirrored(levels, [])))
        parts.append(array(f"kBoundaries{bits}", mirrored(boundaries, [0.0])))
    return "".join(parts)


def main() -> int:
    """Write or check the header; the exit status is 1 if a check fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    arguments = parser.parse_args()
    text = header_text()
    if arguments.check:
        if HEADER.read_text() != text:
            print(f"{HEADER.name} differs from what tools/make_codebooks.py writes", file=sys.stderr)
            return 1
        return 0
    HEADER.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
