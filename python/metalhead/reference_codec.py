"""The oracle of the TurboQuant codec, in NumPy and float64."""

from __future__ import annotations

import functools
import math
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

PLANES = {2: (2,), 3: (2, 1), 4: (4,), 5: (4, 1), 6: (4, 2), 8: (8,)}
SEARCH_FACTORS = {
    1: (1.0,),
    5: (0.90, 0.95, 1.0, 1.05, 1.10),
    17: tuple(np.linspace(0.90, 1.10, 17).tolist()),
}


class Format(NamedTuple):
    """How vectors are packed; has the fields of `metalhead.TQFormat`."""

    bits: int = 4
    head_dim: int = 128
    seed: int | None = 0
    norm: str = "corrected"
    search: int = 1
    norm_dtype: str = "float16"


class Packed(NamedTuple):
    """Codes uint8 ``[..., head_dim * bits / 8]``, norms ``[...]`` and format, as `metalhead.TQTensor`."""

    codes: Array
    norms: Array
    format: Format


def splitmix64_signs(seed: int | None, head_dim: int) -> Array:
    """Signs +1.0 or -1.0, ``[head_dim]``: -1 where the top bit of that output of SplitMix64 is set.

    Examples
    --------
    >>> splitmix64_signs(0, 4).tolist()
    [-1.0, 1.0, 1.0, -1.0]
    """
    signs = np.ones(head_dim)
    if seed is not None:
        for j in range(head_dim):
            z = (seed + (j + 1) * 0x9E3779B97F4A7C15) & (2**64 - 1)
            z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & (2**64 - 1)
            z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & (2**64 - 1)
            signs[j] = -1.0 if (z ^ (z >> 31)) >> 63 else 1.0
    return signs


def hadamard(x: Any, *, seed: int | None = 0, inverse: bool = False) -> Array:
    """Signs, then the orthonormal Walsh-Hadamard transform (Sylvester order) of the last axis; or inverse.

    Examples
    --------
    >>> hadamard([1.0, 0.0, 0.0, 1.0], seed=None).tolist()
    [1.0, 0.0, 0.0, 1.0]
    """
    y = np.asarray(x).astype(np.float64)
    head_dim, shape = y.shape[-1], y.shape
    signs = splitmix64_signs(seed, head_dim)
    y = y if inverse else y * signs
    half = 1
    while half < head_dim:
        pairs = y.reshape(-1, head_dim // (2 * half), 2, half)
        y = np.stack([pairs[:, :, 0] + pairs[:, :, 1], pairs[:, :, 0] - pairs[:, :, 1]], axis=2)
        half *= 2
    y = y.reshape(shape) / math.sqrt(head_dim)
    return y * signs if inverse else y


@functools.cache
def codebook(bits: int) -> Array:
    """The 2^bits levels, ascending, float64: Lloyd-Max levels of N(0,1), or integers from -128 for 8 bits.

    Solves the stationarity equations of the positive half, whose boundaries are midpoints of levels.

    Examples
    --------
    >>> codebook(2).round(4).tolist()
    [-1.5104, -0.4528, 0.4528, 1.5104]
    """
    if bits == 8:
        return np.arange(256.0) - 128
    normal, count = NormalDist(), 2 ** (bits - 1)
    c = np.array([3**0.5 * normal.inv_cdf((count + k + 0.5) / (2 * count)) for k in range(count)])
    for iteration in range(220):
        t = np.array([0.0, *(c[:-1] + c[1:]) / 2, np.inf])
        density = np.exp(-t * t / 2) / math.sqrt(2 * math.pi)
        mass = np.diff([-math.erfc(x / 2**0.5) / 2 for x in t])
        if iteration < 200:  # Lloyd's iteration: slow, but it brings Newton's method within its reach.
            c = -np.diff(density) / mass
            continue
        # A boundary t between two levels moves by half of each; the residual is c * mass + diff(density).
        below, above = (c[:-1] - t[1:-1]) * density[1:-1] / 2, (t[1:-1] - c[1:]) * density[1:-1] / 2
        jacobian = (
            np.diag(mass + np.append(below, 0) + np.append(0, above)) + np.diag(below, 1) + np.diag(above, -1)
        )
        c = c - np.linalg.solve(jacobian, c * mass + np.diff(density))
    return np.concatenate([-c[::-1], c])


def pack(values: Any, bits: int) -> Array:
    """Code values ``[..., head_dim]`` to bytes ``[..., head_dim * bits / 8]``: planes, high bits first."""
    values = np.asarray(values).astype(np.uint8)
    planes, left = [], bits
    for width in PLANES[bits]:
        left -= width
        part = (values >> left & (2**width - 1)).reshape(*values.shape[:-1], -1, 8 // width)
        planes.append((part << np.arange(0, 8, width, dtype=np.uint8)).sum(axis=-1, dtype=np.uint8))
    return np.concatenate(planes, axis=-1)


def unpack(codes: Any, bits: int) -> Array:
    """The inverse of `pack`."""
    codes = np.asarray(codes)
    head_dim = codes.shape[-1] * 8 // bits
    values: Array = np.zeros((*codes.shape[:-1], head_dim), np.uint8)
    first = 0
    for width in PLANES[bits]:
        plane = codes[..., first : first + head_dim * width // 8, None]
        part = plane >> np.arange(0, 8, width, dtype=np.uint8) & (2**width - 1)
        values = values << width | part.reshape(values.shape)
        first += head_dim * width // 8
    return values


def tq_encode(x: Any, format: Any) -> Packed:
    """Pack vectors ``[..., head_dim]``.

    Parameters
    ----------
    x : array_like ``[..., head_dim]`` of any float type
    format : `Format` or `metalhead.TQFormat`

    Raises
    ------
    ValueError
        A vector is not finite, or its norm does not fit float16.
    """
    x = np.asarray(x).astype(np.float64)
    bits, head_dim = format.bits, x.shape[-1]
    y = hadamard(x, seed=format.seed)
    n = np.sqrt((y * y).sum(axis=-1, keepdims=True))
    if not np.isfinite(n).all():
        raise ValueError("tq_encode: x must be finite")
    u = y * math.sqrt(head_dim) / np.where(n == 0, 1, n)
    step = np.abs(u).max(axis=-1, keepdims=True) / 127 if bits == 8 else np.ones_like(n)
    z = u / np.where(step == 0, 1, step)

    values, c, best = np.zeros(u.shape, np.uint8), np.zeros_like(u), np.full_like(n, np.inf)
    for factor in SEARCH_FACTORS[format.search]:
        trial = _nearest(z / factor, bits)
        levels = codebook(bits)[trial]
        along, square = (levels * z).sum(axis=-1, keepdims=True), (levels**2).sum(axis=-1, keepdims=True)
        error = (z * z).sum(axis=-1, keepdims=True) - along**2 / np.where(square == 0, 1, square)
        better = error < best
        values, c = np.where(better, trial, values), np.where(better, levels, c)
        best = np.where(better, error, best)

    with np.errstate(divide="ignore", invalid="ignore"):
        norms = {
            "plain": n * step,
            "corrected": n * math.sqrt(head_dim) / np.sqrt((c * c).sum(axis=-1, keepdims=True)),
            "unbiased": n * head_dim / (c * u).sum(axis=-1, keepdims=True),
        }[format.norm]
    norms = np.where(n == 0, 0, norms)[..., 0]
    with np.errstate(over="ignore"):
        stored = norms.astype(format.norm_dtype)
    if not np.isfinite(stored).all():
        given = f"{format.norm_dtype}, got {norms.max():g}"
        raise ValueError(f"tq_encode: norms must fit {given}; use float32 norms")
    return Packed(pack(values, bits), stored, format)


def tq_decode(x: Any, *, rotated: bool = False) -> Array:
    """Float64 vectors ``[..., head_dim]`` of a packed tensor; if `rotated`, before the inverse rotation."""
    bits, seed = x.format.bits, x.format.seed
    levels = codebook(bits)[unpack(x.codes, bits)]
    norms = np.asarray(x.norms).astype(np.float64)[..., None]
    y: Array = levels * norms / math.sqrt(levels.shape[-1])
    return y if rotated else hadamard(y, seed=seed, inverse=True)


def _nearest(z: Array, bits: int) -> Array:
    """Index of the nearest level; on a boundary the lower one."""
    if bits == 8:
        linear: Array = (np.rint(np.clip(z, -127, 127)) + 128).astype(np.uint8)
        return linear
    levels = codebook(bits)
    boundaries = (levels[:-1] + levels[1:]) / 2
    index: Array = np.searchsorted(boundaries, z, side="left").astype(np.uint8)
    return index
