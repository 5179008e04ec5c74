"""Attention over TurboQuant-packed keys and values against the reference over the decoded vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from attention_cases import Dims, check, make_qkv
from attention_launch import Tuning
from vector_launch import encode_float32

from metalhead import reference

BITS = (2, 3, 4, 5, 6, 8)
TUNINGS = [Tuning(1, 2, 1), Tuning(2, 1, 1), Tuning(4, 1, 1), Tuning(1, 1, 1)]


def pack(x: Any, bits: int, seed: int | None = 0, norm_dtype: str = "float16") -> reference.Packed:
    """Vectors in the encoder's rule."""
    return encode_float32(
        x.astype(np.float32), reference.Format(bits, x.shape[-1], seed, "corrected", 1, norm_dtype)
    )


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("dim", [32, 64, 128, 256, 512])
def test_widths_and_sizes(bits: int, dim: int) -> None:
    """Decode at every width and size, with queries rotated or not and norms of both types."""
    number = BITS.index(bits) + dim // 32
    dims = Dims(2, 1, 1 + number % 2, 37, dim, dim)
    q, k, v = make_qkv(dims, ("float32", "float16", "bfloat16")[number % 3], "float32", number)
    norm_dtype = ("float16", "float32")[number % 2]
    keys, values = pack(k, bits, 0, norm_dtype), pack(v, BITS[number % 6], 3, norm_dtype)
    tuning = TUNINGS[number % (3 if dim <= 128 else 2)]
    check(q, keys, values, tuning=tuning, splits=1 + number % 3, seed=number, rotated=number % 5 == 0)


@pytest.mark.parametrize("bits", BITS)
def test_prefill(bits: int) -> None:
    """Packed prefill with two cuts of the threadgroup."""
    for dim, tuning in ((64, Tuning(2, 1, 2)), (128, Tuning(1, 1, 4))):
        q, k, v = make_qkv(Dims(2, 1, 19, 41, dim, dim), "float32", "float32", bits)
        check(q, pack(k, bits), pack(v, bits, None), tuning=tuning, splits=None, seed=bits)


@pytest.mark.parametrize("dense", ["float32", "float16", "bfloat16"])
def test_one_side_dense(dense: str) -> None:
    """Packed keys with dense values of another size, and the reverse; narrow loads as well."""
    for splits, tuning in ((2, Tuning(1, 2, 1)), (1, Tuning(2, 1, 1)), (None, Tuning(1, 1, 4))):
        q, k, v = make_qkv(Dims(2, 1, 5, 38, 64, 80), "float32", dense)
        check(q, pack(k, 4), v, tuning=tuning, splits=splits, seed=1)
        check(q, pack(k, 3), v, tuning=tuning, splits=splits, seed=1, wide=0)
        q, k, v = make_qkv(Dims(2, 1, 5, 38, 192, 128), "float32", dense)
        check(q, k, pack(v, 5), tuning=tuning, splits=splits, seed=2)


@pytest.mark.parametrize("splits", [1, 3, None])
def test_options_and_rings(splits: int | None) -> None:
    """Everything composes: window, softcap, sinks, ALiBi, a mask, lengths and rings over packed caches."""
    random = np.random.default_rng(5)
    dims = Dims(4, 2, 3, 43, 64, 128, batch=2)
    q, k, v = make_qkv(dims, "float32")
    options: dict[str, Any] = {
        "softcap": 4.0,
        "alibi_slopes": random.random(4).astype(np.float32),
        "window_size": (25, 1),
        "causal": False,
        "sinks": random.standard_normal(4).astype(np.float32),
        "mask": random.random((2, 4, 3, 43)) < 0.7,
        "ring_start": np.array([7, 40]),
        "kv_lengths": np.array([43, 30]),
    }
    for seed, bits in enumerate((4, 5, 8)):
        tuning = Tuning(1, 1 if splits is None else 2, 1)
        check(q, pack(k, bits), pack(v, bits), tuning=tuning, splits=splits, seed=seed, **options)


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize(
    "tuning,splits", [(Tuning(1, 2, 1), 2), (Tuning(2, 2, 1), 1), (Tuning(1, 1, 2), None)]
)
def test_instrumented(bits: int, tuning: Tuning, splits: int | None) -> None:
    """No race, no access out of bounds, no misaligned or uninitialised read, at every width."""
    dim = (32, 64, 128)[BITS.index(bits) % 3]
    q, k, v = make_qkv(Dims(3, 1, 3, 37, dim, 64), "float16", "float32", bits)
    check(q, pack(k, bits), pack(v, bits), tuning=tuning, splits=splits, mode="instrumented", seed=bits)


def test_plain_4_bit_layout_of_older_kernels() -> None:
    """bits 4, no signs, plain float32 norms: nibbles as they were written, attended unchanged."""
    q, k, v = make_qkv(Dims(2, 1, 1, 40, 128, 128))
    formats = [encode_float32(x, reference.Format(4, 128, None, "plain", 1, "float32")) for x in (k, v)]
    check(q, *formats, tuning=Tuning(1, 4, 1), splits=1)
