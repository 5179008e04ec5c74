"""The kernels that handle one vector at a time, and the encoder's rule in NumPy float32."""

from __future__ import annotations

from typing import Any

import numpy as np
from attention_launch import TYPE_CODES, bound, library, sign_bits, strides_of, type_name
from tools.metal.build import Mode
from tools.metal.simt import Counters

from metalhead import reference

CODEC_PARAMS = np.dtype(
    [(name, np.int32) for name in ("outer", "middle", "rows", "head_dim")]
    + [(f"{name}_strides", np.int64, (3,)) for name in ("input", "output", "code", "norm")]
    + [("signs", np.uint32, (16,))]
)
assert CODEC_PARAMS.itemsize == 4 * 4 + 12 * 8 + 16 * 4
NORM_KINDS = {"plain": 0, "corrected": 1, "unbiased": 2}
ROWS_PER_GROUP = 64


def _params(shape: tuple[int, ...], dim: int, seed: int | None) -> Any:
    params = np.zeros((), CODEC_PARAMS)
    params["outer"], params["middle"], params["rows"] = shape
    params["head_dim"], params["signs"] = dim, sign_bits(seed, dim)
    return params


def _grid(shape: tuple[int, ...]) -> tuple[int, int, int]:
    return -(-shape[2] // ROWS_PER_GROUP), shape[1], shape[0]


def run_hadamard(
    x: Any,
    *,
    sign_seed: int | None,
    inverse: bool,
    out_dtype: Any = None,
    mode: Mode = "plain",
    seed: int = 0,
    threads: int = 64,
) -> Any:
    """Rotate vectors [outer, middle, rows, dim]."""
    out = np.zeros(x.shape, out_dtype or x.dtype)
    params = _params(x.shape[:3], x.shape[3], sign_seed)
    params["input_strides"], params["output_strides"] = strides_of(x), strides_of(out)
    constants = {17: inverse, 28: TYPE_CODES[type_name(x)], 29: TYPE_CODES[type_name(out)]}
    buffers = {0: bound(x), 1: bound(out), 30: params}
    library(mode).run("hadamard", constants, buffers, grid=_grid(x.shape[:3]), threads=threads, seed=seed)
    return out


def run_encode(
    x: Any, format: reference.Format, *, mode: Mode = "plain", seed: int = 0, threads: int = 64
) -> tuple[reference.Packed, int, Counters]:
    """Encode vectors [outer, middle, rows, dim]; also return the status bits."""
    shape, dim = x.shape[:3], x.shape[3]
    codes = np.full((*shape, dim * format.bits // 8), 0xA5, np.uint8)
    norms, status = np.zeros(shape, format.norm_dtype), np.zeros(1, np.int32)
    params = _params(shape, dim, format.seed)
    params["input_strides"], params["code_strides"] = strides_of(x), strides_of(codes)
    params["norm_strides"] = [stride // norms.itemsize for stride in norms.strides]
    constants = {
        14: format.bits,
        15: NORM_KINDS[format.norm],
        16: format.search,
        28: TYPE_CODES[type_name(x)],
        29: TYPE_CODES[format.norm_dtype],
    }
    buffers = {0: bound(x), 2: codes, 3: norms, 4: status, 30: params}
    counters = library(mode).run(
        "tq_encode", constants, buffers, grid=_grid(shape), threads=threads, seed=seed
    )
    return reference.Packed(codes, norms, format), int(status[0]), counters


def run_decode(
    packed: reference.Packed,
    *,
    rotated: bool = False,
    out_dtype: Any = np.float32,
    mode: Mode = "plain",
    seed: int = 0,
) -> Any:
    """Decode to [outer, middle, rows, dim]."""
    shape, dim = packed.norms.shape, packed.format.head_dim
    out = np.zeros((*shape, dim), out_dtype)
    params = _params(shape, dim, packed.format.seed)
    params["output_strides"], params["code_strides"] = strides_of(out), strides_of(packed.codes)
    params["norm_strides"] = [stride // packed.norms.itemsize for stride in packed.norms.strides]
    constants = {
        14: packed.format.bits,
        17: not rotated,
        28: TYPE_CODES[type_name(out)],
        29: TYPE_CODES[type_name(packed.norms)],
    }
    buffers = {1: bound(out), 2: packed.codes, 3: packed.norms, 30: params}
    library(mode).run("tq_decode", constants, buffers, grid=_grid(shape), threads=64, seed=seed)
    return out


def _joined(products: Any) -> Any:
    """Sum of float32 products over the last axis in the order of the rule."""
    parts = np.zeros((*products.shape[:-1], 32), np.float32)
    for first in range(0, products.shape[-1], 32):
        parts = parts + products[..., first : first + 32]
    for half in (16, 8, 4, 2, 1):
        parts = parts[..., :half] + parts[..., half:]
    return parts[..., 0]


def _quantised(y: Any, bits: int, unit: Any) -> tuple[Any, Any]:
    """Codes and levels for the unit (2 to 6 bits) or the step (8 bits) of each vector."""
    if bits == 8:
        levels = np.rint(np.clip(y * unit[..., None], np.float32(-127), np.float32(127))).astype(np.float32)
        return (levels + 128).astype(np.uint8), levels
    book = reference.codebook(bits).astype(np.float32)
    boundaries = ((reference.codebook(bits)[:-1] + reference.codebook(bits)[1:]) / 2).astype(np.float32)
    boundaries[len(boundaries) // 2] = 0
    codes = (boundaries * unit[..., None, None] < y[..., None]).sum(axis=-1).astype(np.uint8)
    return codes, book[codes]


def rotate_float32(x: Any, seed: int | None) -> tuple[Any, Any]:
    """The rotated vectors over a power of two each, and the exponents of those powers."""
    x = np.asarray(x, np.float32).astype(np.float64)  # scaling by powers of two is exact here
    exponent = np.frexp(np.abs(x).max(axis=-1))[1]
    exponent = np.where(exponent == 0, 0, exponent - 2)
    y = np.ldexp(x, -exponent[..., None]).astype(np.float32)
    y = np.where(np.abs(y) < np.float32(2.0**-40), np.float32(0), y)
    y = y * reference.splitmix64_signs(seed, x.shape[-1]).astype(np.float32)
    half = 1
    while half < x.shape[-1]:
        pairs = y.reshape(-1, x.shape[-1] // (2 * half), 2, half)
        y = np.stack([pairs[:, :, 0] + pairs[:, :, 1], pairs[:, :, 0] - pairs[:, :, 1]], axis=2).reshape(
            x.shape
        )
        half *= 2
    return y, exponent


def encode_float32(x: Any, format: reference.Format) -> reference.Packed:
    """The encoder's rule step by step in float32: what every device must give bit for bit."""
    y, exponent = rotate_float32(x, format.seed)
    dim = x.shape[-1]
    total = _joined(y * y)
    rms = np.sqrt(total / np.float32(dim))
    largest = np.abs(y).max(axis=-1)
    best: Any = None
    zero = total == 0
    one = np.float32(1)
    for factor in np.float32(reference_factors(format.search)):
        divisor = np.where(zero, one, largest * factor)
        unit = np.float32(127) / divisor if format.bits == 8 else rms * factor
        codes, levels = _quantised(y, format.bits, unit)
        along, square = _joined(levels * y), _joined(levels * levels)
        if best is None:
            best = [codes, along, square]
            continue
        better = along * along * best[2] > best[1] * best[1] * square
        best = [
            np.where(better[..., None], codes, best[0]),
            np.where(better, along, best[1]),
            np.where(better, square, best[2]),
        ]
    codes, along, square = best
    along, square = np.where(zero, one, along), np.where(zero, one, square)
    norm = {
        "corrected": np.sqrt(total / square),
        "unbiased": total / along,
        "plain": largest / np.float32(127) if format.bits == 8 else rms,
    }[format.norm]
    norms = np.ldexp(norm.astype(np.float64), exponent).astype(np.float32).astype(format.norm_dtype)
    codes = np.where(zero[..., None], 128 if format.bits == 8 else 2 ** (format.bits - 1) - 1, codes)
    return reference.Packed(reference.pack(codes, format.bits), norms, format)


def reference_factors(steps: int) -> list[float]:
    """Divisors that the search tries, as codec_rule.h lists them."""
    return {1: [1.0], 5: [0.9, 0.95, 1.0, 1.05, 1.1], 17: [0.9 + 0.0125 * i for i in range(17)]}[steps]
