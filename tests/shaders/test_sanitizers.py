"""Every shader under AddressSanitizer and UBSan: shifts, conversions, private arrays and bounds."""

from __future__ import annotations

import numpy as np
import pytest
from attention_cases import Dims, check, make_qkv
from attention_launch import Tuning, run_merge
from codec_cases import assert_same, formats, vectors
from test_attention import features
from test_packed_attention import pack
from vector_launch import encode_float32, run_decode, run_encode, run_hadamard

from metalhead import reference


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("splits", [2, None])
def test_dense_attention(dtype: str, splits: int | None) -> None:
    """Every option at once, sizes that fill neither tiles nor matrices."""
    dims = Dims(4, 2, 2 if splits else 19, 37, 72, 40, batch=2)
    options = features(dims, 3)["all"]
    tuning = Tuning(2, 1, 2) if splits is None else Tuning(1, 2, 1)
    check(*make_qkv(dims, dtype), tuning=tuning, splits=splits, mode="asan", seed=1, **options)


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 8])
def test_packed_attention(bits: int) -> None:
    """Every width of code, in decode and in prefill."""
    for splits in (2, None):
        q, k, v = make_qkv(Dims(3, 1, 2 if splits else 18, 37, 64, 32), "float16", "float32", bits)
        check(q, pack(k, bits), pack(v, bits), tuning=Tuning(1, 1, 1), splits=splits, mode="asan", seed=2)


@pytest.mark.parametrize("bits", [3, 8])
def test_codec(bits: int) -> None:
    """Encode, decode and rotate, vectors of norm zero included."""
    x, format = vectors(64), formats(64, bits)
    packed, status, _ = run_encode(x, format, mode="asan", seed=3)
    assert status == 0
    assert_same(packed, encode_float32(x, format))
    decoded = run_decode(packed, rotated=False, mode="asan", seed=3)
    lengths = np.linalg.norm(decoded, axis=-1, keepdims=True)
    assert (np.abs(decoded - reference.tq_decode(packed)) <= 1e-6 * lengths).all()
    rotated = run_hadamard(x, sign_seed=0, inverse=False, mode="asan", seed=3)
    lengths = np.linalg.norm(rotated, axis=-1, keepdims=True)
    assert (np.abs(rotated - reference.hadamard(x, seed=0)) <= 1e-6 * lengths).all()


def test_merging() -> None:
    """Partial results, one of them of no keys."""
    parts = [np.random.default_rng(i).standard_normal((1, 2, 3, 40)).astype(np.float32) for i in range(3)]
    lses = [np.full((1, 2, 3), value, np.float32) for value in (0.5, -np.inf, 2.0)]
    out, lse = run_merge(parts, lses, mode="asan", seed=1)
    expected, expected_lse = reference.merge_attention(parts, lses, return_lse=True)
    assert np.allclose(out, expected, atol=1e-6, rtol=0)
    assert np.allclose(lse, expected_lse, atol=1e-6, rtol=0)
