"""What the codec takes and gives: dtypes, strides, views, devices, results in place, rejections."""

from __future__ import annotations

import copy
import dataclasses
import itertools
import pickle

import numpy as np
import pytest

import metalhead as mh
from cases import DTYPES
from metalhead import reference_codec
from test_codec import BITS, DIMS, gaussian, relative_error


@pytest.mark.parametrize("bits", BITS)
def test_decode_against_the_reference(device, bits):
    for dim, rotated, dtype in itertools.product(DIMS, (False, True), DTYPES):
        packed = mh.tq_encode(gaussian(20, dim, 7), mh.TQFormat(bits, dim, 3), device=device)
        expected = reference_codec.tq_decode(packed, rotated=rotated)
        decoded = mh.tq_decode(packed, rotated=rotated, dtype=dtype)
        assert decoded.dtype == DTYPES[dtype]
        tolerance = {"float32": 1e-6, "float16": 1e-3, "bfloat16": 8e-3}[dtype] * np.abs(expected).max()
        assert np.abs(decoded.astype(np.float64) - expected).max() <= tolerance, (dim, rotated, dtype)


@pytest.mark.parametrize("dim", DIMS)
def test_hadamard(device, dim):
    x = gaussian(9, dim, 2).reshape(3, 3, dim)
    for seed, inverse in itertools.product((None, 0, 2**64 - 1), (False, True)):
        y = mh.hadamard(x, seed=seed, inverse=inverse, device=device)
        expected = reference_codec.hadamard(x, seed=seed, inverse=inverse)
        assert np.abs(y - expected).max() <= 2e-6 * np.abs(expected).max()
        out = np.empty((3, 3, dim), np.float16)
        assert mh.hadamard(x, seed=seed, inverse=inverse, out=out, device=device) is out
        np.testing.assert_allclose(out, y, atol=2e-3 * np.abs(y).max())


def test_formats_survive_pickling_and_copies():
    form = mh.TQFormat(3, 64, None, "plain", 5, "float32")
    packed = mh.tq_encode(gaussian(4, 64), form)
    for again in (pickle.loads(pickle.dumps(form)), copy.deepcopy(form), dataclasses.replace(form)):
        assert again == form
        assert hash(again) == hash(form)
        assert np.array_equal(mh.tq_encode(gaussian(4, 64), again).codes, packed.codes)
    assert dataclasses.asdict(form)["search"] == 5


# Inputs and outputs of every shape


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes_and_strides(device, dtype):
    base = gaussian(2 * 3 * 10 * 2, 64, 4).reshape(2, 3, 20, 64).astype(DTYPES[dtype])
    form = mh.TQFormat(4, 64)
    plain = mh.tq_encode(np.ascontiguousarray(base).astype(np.float32), form, device=device)
    layouts = {
        "contiguous": base,
        "token major": np.ascontiguousarray(base.swapaxes(1, 2)).swapaxes(1, 2),
        "padded rows": np.concatenate([base, base], axis=3)[..., :64],
        "column major": np.asfortranarray(base),
        "negative": np.ascontiguousarray(base[:, :, ::-1])[:, :, ::-1],
    }
    for name, x in layouts.items():
        packed = mh.tq_encode(x, form, device=device)
        assert np.array_equal(packed.codes, plain.codes), name
        assert np.array_equal(packed.norms, plain.norms), name
    every_other = mh.tq_encode(base[::-1, ::2, 1::3], form, device=device)
    assert np.array_equal(every_other.codes, plain.codes[::-1, ::2, 1::3])


@pytest.mark.parametrize("shape", [(32,), (0, 32), (3, 0, 32), (5, 32), (2, 3, 4, 5, 32)])
def test_ranks(device, shape):
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    packed = mh.tq_encode(x, mh.TQFormat(6, 32), device=device)
    assert packed.codes.shape == (*shape[:-1], 24)
    assert packed.norms.shape == shape[:-1]
    decoded = mh.tq_decode(packed)
    assert decoded.shape == shape
    if x.size:
        assert relative_error(x, decoded) < 0.01


def test_views_of_a_cache(device):
    """Rows written through a view land in the cache, and nothing else changes."""
    form = mh.TQFormat(5, 64)
    cache = mh.TQTensor(np.full((2, 3, 50, 40), 7, np.uint8), np.full((2, 3, 50), -1, np.float16), form)
    x = gaussian(2 * 3 * 4, 64, 3).reshape(2, 3, 4, 64)
    view = cache[:, :, 10:14]
    assert mh.tq_encode(x, form, out=view, device=device) is view
    alone = mh.tq_encode(x, form, device=device)
    assert np.array_equal(cache.codes[:, :, 10:14], alone.codes)
    assert np.array_equal(cache.norms[:, :, 10:14], alone.norms)
    for rows in (slice(0, 10), slice(14, None)):
        assert (cache.codes[:, :, rows] == 7).all()
        assert (cache.norms[:, :, rows] == -1).all()


def test_five_axes_that_cannot_be_folded(device):
    x = gaussian(2 * 5 * 7 * 8, 32, 3).reshape(2, 5, 7, 8, 32)
    part = x[:, ::2, ::3, 1::2]
    form = mh.TQFormat(4, 32)
    packed, whole = mh.tq_encode(part, form, device=device), mh.tq_encode(x, form, device=device)
    assert np.array_equal(packed.codes, whole.codes[:, ::2, ::3, 1::2])
    target = mh.TQTensor(np.zeros((2, 5, 7, 4, 16), np.uint8), np.zeros((2, 5, 7, 4), np.float16), form)
    mh.tq_encode(part, form, out=target[:, ::2, ::3], device=device)
    assert np.array_equal(target.codes[:, ::2, ::3], packed.codes)
    assert np.array_equal(target.norms[:, ::2, ::3], packed.norms)
    assert (target.codes[:, 1::2] == 0).all()
    assert (target.norms[:, :, 1:3] == 0).all()


def test_device_arrays(device):
    x = gaussian(10, 128)
    packed = mh.tq_encode(mh.asarray(x, device=device), mh.TQFormat())
    assert isinstance(packed.codes, mh.Array)
    assert isinstance(mh.tq_decode(packed), mh.Array)
    assert np.array_equal(packed.codes.numpy(), mh.tq_encode(x, mh.TQFormat()).codes)


# Errors


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("bits", [4, 8])
def test_non_finite_input_writes_nothing(device, bad, bits):
    form = mh.TQFormat(bits, 64)
    x = gaussian(200, 64)
    x[137, 63] = bad
    out = mh.TQTensor(np.full((200, form.code_bytes), 3, np.uint8), np.full(200, 2, np.float16), form)
    with pytest.raises(ValueError, match="tq_encode: x must be finite"):
        mh.tq_encode(x, form, out=out, device=device)
    assert (out.codes == 3).all()
    assert (out.norms == 2).all()
    with pytest.raises(ValueError, match="tq_encode: x must be finite"):
        mh.tq_encode(x, form, device=device)


def test_norms_that_do_not_fit(device):
    x = gaussian(70, 64)
    x[69] *= 20000
    form = mh.TQFormat(4, 64)
    out = mh.TQTensor(np.full((70, 32), 3, np.uint8), np.full(70, 2, np.float16), form)
    with pytest.raises(ValueError, match=r"norms must fit float16.*use norm_dtype float32"):
        mh.tq_encode(x, form, out=out, device=device)
    assert (out.codes == 3).all()
    assert (out.norms == 2).all()
    assert relative_error(x, mh.tq_decode(mh.tq_encode(x, mh.TQFormat(4, 64, norm_dtype="float32")))) < 0.02
    with pytest.raises(ValueError, match="tq_encode: x must be finite, and so must the norm"):
        mh.tq_encode(
            np.full((1, 512), 3e38, np.float32), mh.TQFormat(4, 512, norm_dtype="float32"), device=device
        )


@pytest.mark.parametrize(
    ("fields", "error", "text"),
    [
        ({"bits": 7}, ValueError, "bits must be 2, 3, 4, 5, 6 or 8, got 7"),
        ({"bits": 4.0}, TypeError, "bits must be an integer, got float"),
        ({"head_dim": 96}, ValueError, "head_dim must be a power of two from 32 to 512, got 96"),
        ({"head_dim": 1024}, ValueError, "head_dim must be a power of two from 32 to 512, got 1024"),
        ({"seed": -1}, ValueError, "seed must be from 0 to 2\\^64 - 1, got -1"),
        ({"seed": 2**64}, ValueError, "seed must be from 0 to"),
        ({"seed": 1.5}, TypeError, "seed must be an integer or None"),
        ({"norm": "exact"}, ValueError, "norm must be 'plain', 'corrected' or 'unbiased', got 'exact'"),
        ({"search": 3}, ValueError, "search must be 1, 5 or 17, got 3"),
        ({"norm_dtype": "bfloat16"}, TypeError, "norm_dtype must be float32 or float16, got bfloat16"),
        ({"version": 2}, ValueError, "version must be 1, got 2"),
    ],
)
def test_format_errors(fields, error, text):
    with pytest.raises(error, match=f"TQFormat: {text}"):
        mh.TQFormat(**fields)


def test_format_is_a_value():
    assert mh.TQFormat() == mh.TQFormat(4, 128, 0, "corrected", 1, "float16")
    assert mh.TQFormat(norm_dtype=np.float16) == mh.TQFormat()
    assert len({mh.TQFormat(), mh.TQFormat(), mh.TQFormat(bits=5)}) == 2
    with pytest.raises(AttributeError):
        mh.TQFormat().bits = 3


def test_tensor_errors():
    form = mh.TQFormat(4, 64)
    codes, norms = np.zeros((5, 32), np.uint8), np.zeros(5, np.float16)
    for wrong, error, text in [
        ((codes.astype(np.int8), norms, form), TypeError, "codes must have dtype uint8, got int8"),
        ((codes, norms.astype(np.float32), form), TypeError, "norms must have dtype float16, got float32"),
        ((codes[:, :31], norms, form), ValueError, "must end in an axis of 32 bytes"),
        ((codes, norms[:4], form), ValueError, "norms must have the shape of codes without the last axis"),
        ((codes, norms, (4, 64)), TypeError, "format must be a TQFormat, got tuple"),
        (([1, 2], norms, form), TypeError, "codes must be an array, got list"),
    ]:
        with pytest.raises(error, match=text):
            mh.TQTensor(*wrong)
    packed = mh.TQTensor(codes, norms, form)
    with pytest.raises(IndexError, match="at most 1 indices"):
        packed[0, 0]
    assert packed[..., 1:].shape == (4, 64)
    assert packed[2].shape == (64,)
    assert packed.nbytes == 5 * 34


def test_encode_errors(device):
    x, form = gaussian(4, 64), mh.TQFormat(4, 64)
    other = mh.tq_encode(x, mh.TQFormat(4, 64, seed=9))
    short = mh.tq_encode(x[:3], form)
    for call, error, text in [
        (
            lambda: mh.tq_encode(x, mh.TQFormat()),
            ValueError,
            "last axis of x must be the format's head_dim, got 64 and 128",
        ),
        (
            lambda: mh.tq_encode(x.astype(np.int32), form),
            TypeError,
            "x must be float32, float16 or bfloat16, got int32",
        ),
        (lambda: mh.tq_encode(x, "tq4"), TypeError, "format must be a TQFormat, got str"),
        (lambda: mh.tq_encode(x, form, out=other), ValueError, "out must have the format"),
        (lambda: mh.tq_encode(x, form, out=x), TypeError, "out must be a TQTensor, got ndarray"),
        (lambda: mh.tq_encode(x, form, out=short), ValueError, "out must hold one vector for each of x"),
        (lambda: mh.tq_decode(x), TypeError, "x must be a TQTensor, got ndarray"),
        (
            lambda: mh.tq_decode(short, dtype="int32"),
            TypeError,
            "dtype must be float32, float16 or bfloat16, got int32",
        ),
        (
            lambda: mh.hadamard(x[:, :48]),
            ValueError,
            "head_dim must be a power of two from 32 to 512, got 48",
        ),
        (lambda: mh.hadamard(x, out=x), ValueError, "out must not share memory with x"),
    ]:
        with pytest.raises(error, match=text):
            call()


def test_out_that_repeats_addresses():
    form = mh.TQFormat(4, 64)
    codes = np.lib.stride_tricks.as_strided(np.zeros(32, np.uint8), (4, 32), (0, 1))
    with pytest.raises(ValueError, match="must not overlap itself"):
        mh.tq_encode(gaussian(4, 64), form, out=mh.TQTensor(codes, np.zeros(4, np.float16), form))
