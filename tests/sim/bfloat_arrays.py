"""bfloat16 in NumPy arrays: rounding and widening through uint16."""

from __future__ import annotations

import numpy as np


def to_bfloat(values: np.ndarray) -> np.ndarray:
    """Return float32 values rounded to the nearest bfloat16, as uint16 bit patterns."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def from_bfloat(bits: np.ndarray) -> np.ndarray:
    """Return the float32 values of bfloat16 bit patterns."""
    return (bits.astype(np.uint32) << 16).view(np.float32)
