"""Inputs for the codec shaders, and the comparison with what every device must give."""

from __future__ import annotations

from typing import Any

import numpy as np

from metalhead import reference


def vectors(dim: int, rows: int = 5, seed: int = 0) -> Any:
    """Vectors [2, 1, rows, dim] of different norms, one of them zero and one with a single coordinate."""
    random = np.random.default_rng(seed)
    x = random.standard_normal((2, 1, rows, dim)).astype(np.float32)
    x *= np.float32(10) ** random.integers(-3, 4, (2, 1, rows, 1))
    x[0, 0, 0] = 0
    x[0, 0, 1] = 0
    x[0, 0, 1, 3] = -2.5
    return x


def formats(dim: int, bits: int, **changes: Any) -> reference.Format:
    """A format with float32 norms."""
    return reference.Format(**{"bits": bits, "head_dim": dim, "norm_dtype": "float32", **changes})


def assert_same(actual: reference.Packed, expected: reference.Packed) -> None:
    """Same codes and same norms, bit for bit."""
    assert np.array_equal(actual.codes, expected.codes), (
        f"{(actual.codes != expected.codes).sum()} bytes of codes differ"
    )
    assert np.array_equal(actual.norms, expected.norms)
