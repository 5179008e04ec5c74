"""tq_encode, tq_decode and hadamard against the reference and, bit for bit, against the encoder's rule."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from codec_cases import assert_same, formats, vectors
from vector_launch import encode_float32, run_decode, run_encode, run_hadamard

from metalhead import reference

BITS = (2, 3, 4, 5, 6, 8)
STATUS_NOT_FINITE, STATUS_NORM_OVERFLOW = 1, 2


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("dim", [32, 64, 128, 256, 512])
def test_codes_are_those_of_the_rule(bits: int, dim: int) -> None:
    """Every size and width, with a norm kind and a search that change with them."""
    norm = ("plain", "corrected", "unbiased")[(bits + dim // 32) % 3]
    format = formats(
        dim, bits, norm=norm, search=(1, 5)[bits % 2], norm_dtype=("float32", "float16")[dim // 64 % 2]
    )
    x = vectors(dim, rows=3)
    packed, status, _ = run_encode(x, format, seed=bits)
    assert status == 0
    assert_same(packed, encode_float32(x, format))


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("bits", [3, 8])
def test_encoder_is_free_of_races(bits: int, seed: int) -> None:
    """Instrumented, more vectors than simdgroups, a wide search."""
    format = formats(64, bits, search=17, seed=7)
    x = vectors(64, seed=seed)
    packed, status, _ = run_encode(x, format, mode="instrumented", seed=seed, threads=96)
    assert status == 0
    assert_same(packed, encode_float32(x, format))


def test_signs_may_be_absent_and_inputs_16_bits_wide() -> None:
    """seed None, float16 and bfloat16 inputs."""
    for dtype in (np.float16, ml_dtypes.bfloat16):
        format = formats(128, 4, seed=None)
        x = vectors(128, rows=2).astype(dtype)
        packed, status, _ = run_encode(x, format)
        assert status == 0
        assert_same(packed, encode_float32(x.astype(np.float32), format))


def test_tiny_and_huge_vectors_keep_their_codes() -> None:
    """Scaling by powers of two changes no code, down to denormal numbers."""
    format = formats(64, 4)
    x = np.random.default_rng(3).standard_normal((1, 1, 1, 64)).astype(np.float32)
    expected = encode_float32(x, format)
    for exponent in (-100, -60, 60, 120):
        packed, status, _ = run_encode(np.ldexp(x, exponent), format)
        assert status == 0
        assert np.array_equal(packed.codes, expected.codes), exponent
        assert np.array_equal(packed.norms, np.ldexp(expected.norms, exponent)), exponent
    denormal = np.ldexp(np.float32(np.rint(x * 4)), -149)
    packed, _, _ = run_encode(denormal, format)
    assert np.array_equal(packed.codes, encode_float32(np.float32(np.rint(x * 4)), format).codes)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite_is_reported(value: float) -> None:
    """The status tells; vectors beside it are encoded all the same."""
    x = vectors(32, rows=3)
    x[1, 0, 2, 5] = value
    format = formats(32, 4)
    packed, status, _ = run_encode(x, format)
    assert status == STATUS_NOT_FINITE
    clean = np.delete(x.reshape(6, 32), 5, axis=0)
    expected = encode_float32(clean, format)
    assert np.array_equal(packed.codes.reshape(6, -1)[:5], expected.codes)


def test_norms_beyond_float16_are_reported() -> None:
    """65520 and more rounds to infinity in float16."""
    x = np.zeros((1, 1, 2, 32), np.float32)
    x[0, 0, 1, 0] = 70000
    _, status, _ = run_encode(x, formats(32, 4, norm="plain", norm_dtype="float16"))
    assert status == STATUS_NORM_OVERFLOW


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("rotated", [False, True])
def test_decoding(bits: int, rotated: bool) -> None:
    """Decoded vectors equal the reference's to float32 rounding."""
    dim = (32, 128, 512)[bits % 3]
    packed = encode_float32(vectors(dim), formats(dim, bits, norm_dtype=("float32", "float16")[bits % 2]))
    for seed, mode in ((1, "plain"), (2, "instrumented")):
        decoded = run_decode(packed, rotated=rotated, mode=mode, seed=seed)
        expected = reference.tq_decode(packed, rotated=rotated)
        lengths = np.linalg.norm(expected, axis=-1, keepdims=True)
        assert (np.abs(decoded - expected) <= 1e-6 * lengths).all()


@pytest.mark.parametrize("dim", [32, 64, 128, 256, 512])
@pytest.mark.parametrize("inverse", [False, True])
def test_hadamard(dim: int, inverse: bool) -> None:
    """All sizes and both directions, with and without signs; 70 rows need two threadgroups."""
    x = vectors(dim, rows=70 if dim == 32 else 3)
    for seed, sign_seed in ((0, 0), (1, None), (2, 5)):
        mode = "instrumented" if dim <= 64 else "plain"
        out = run_hadamard(x, sign_seed=sign_seed, inverse=inverse, mode=mode, seed=seed)
        expected = reference.hadamard(x, seed=sign_seed, inverse=inverse)
        lengths = np.linalg.norm(expected, axis=-1, keepdims=True)
        assert (np.abs(out - expected) <= 1e-6 * lengths).all()


def test_hadamard_converts_types() -> None:
    """float16 in, bfloat16 out."""
    x = vectors(64).astype(np.float16)
    out = run_hadamard(x, sign_seed=0, inverse=False, out_dtype=ml_dtypes.bfloat16)
    expected = reference.hadamard(x, seed=0)
    assert (np.abs(out.astype(np.float64) - expected) <= 0.004 * np.abs(expected) + 1e-30).all()
