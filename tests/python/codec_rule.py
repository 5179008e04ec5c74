"""The encoder's written rule (docs/turboquant.md) in NumPy float32: what every device must match."""

from __future__ import annotations

from typing import Any

import numpy as np

from metalhead import reference_codec

FACTORS = {
    1: (1.0,),
    5: (0.90, 0.95, 1.0, 1.05, 1.10),
    17: tuple(0.90 + 0.0125 * i for i in range(17)),
}
F32 = np.float32


def transform(values: Any) -> Any:
    """Walsh-Hadamard in float32, shortest distance first."""
    count, dim = values.shape
    distance = 1
    while distance < dim:
        pairs = values.reshape(count, -1, 2, distance)
        values = np.stack([pairs[:, :, 0] + pairs[:, :, 1], pairs[:, :, 0] - pairs[:, :, 1]], axis=2)
        values = values.reshape(count, dim)
        distance *= 2
    return values


def fixed_sum(terms: Any) -> Any:
    """32 partial sums by coordinate mod 32, ascending; then joined at distances 16, 8, 4, 2, 1."""
    parts = np.zeros((len(terms), 32), F32)
    for first in range(0, terms.shape[1], 32):
        parts = parts + terms[:, first : first + 32]
    for distance in (16, 8, 4, 2, 1):
        parts = parts[:, :distance] + parts[:, distance : 2 * distance]
    return parts[:, 0]


def encode(x: Any, form: Any) -> tuple[Any, Any]:
    """Codes ``[count, bytes]`` and norms ``[count]`` of vectors ``[count, head_dim]``."""
    dim, bits = form.head_dim, form.bits
    wide = x.astype(np.float64)
    top = np.abs(wide).max(axis=1)
    exponent = np.where(top > 0, np.frexp(np.where(top > 0, top, 1.0))[1] - 1, 0)
    scaled = np.ldexp(wide, (1 - exponent)[:, None])
    scaled = np.where(np.abs(scaled) < 2.0**-40, 0.0, scaled).astype(F32)
    y = transform(scaled * reference_codec.splitmix64_signs(form.seed, dim).astype(F32))
    square_sum = fixed_sum(y * y)
    rms = np.sqrt(square_sum / F32(dim))
    largest = np.abs(y).max(axis=1)

    best: Any = None
    for factor in FACTORS[form.search]:
        with np.errstate(divide="ignore", invalid="ignore"):
            trial, levels = quantise(y, bits, rms, largest, F32(factor))
        along, square = fixed_sum(levels * y), fixed_sum(levels * levels)
        if best is None:
            best = [trial, along, square]
            continue
        better = along * along * best[2] > best[1] * best[1] * square
        best = [
            np.where(better[:, None], trial, best[0]),
            *(np.where(better, *pair) for pair in ((along, best[1]), (square, best[2]))),
        ]
    codes, along, square = best
    with np.errstate(divide="ignore", invalid="ignore"):
        norms = {
            "plain": largest / F32(127) if bits == 8 else rms,
            "corrected": np.sqrt(square_sum / square),
            "unbiased": square_sum / along,
        }[form.norm]
    zero = top == 0
    codes[zero] = 128 if bits == 8 else 2 ** (bits - 1) - 1
    norms = np.where(zero, 0.0, np.ldexp(norms.astype(np.float64), exponent - 1)).astype(F32)
    return reference_codec.pack(codes, bits), norms.astype(form.norm_dtype)


def quantise(y: Any, bits: int, rms: Any, largest: Any, factor: Any) -> tuple[Any, Any]:
    """Codes and their levels: boundaries times rms strictly below y, or rounding for 8 bits."""
    if bits == 8:
        step = F32(127) / (largest * factor)
        rounded = np.rint(np.clip(y * step[:, None], F32(-127), F32(127)))
        rounded = np.nan_to_num(rounded)
        return (rounded + 128).astype(np.uint8), rounded.astype(F32)
    levels = reference_codec.codebook(bits)
    boundaries = ((levels[1:] + levels[:-1]) / 2).astype(F32)
    thresholds = boundaries * (rms * factor)[:, None]
    codes = (thresholds[:, None, :] < y[:, :, None]).sum(axis=2)
    return codes.astype(np.uint8), levels.astype(F32)[codes]
