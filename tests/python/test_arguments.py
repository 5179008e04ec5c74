"""Every argument that attention rejects: kind and text of the error, and that nothing was allocated."""

from __future__ import annotations

import numpy as np
import pytest

import metalhead as mh
from cases import DTYPES, Dims, check, make_qkv
from rejection import assert_rejected

OPERATIONS = (mh.sdpa, mh.flash_attn_vec)
EACH_OPERATION = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.__name__)
NAN, INF = float("nan"), float("inf")

SHAPES = {
    "rank 2": ((4, 64), (33, 64), (33, 64), ["rank", "(4, 64)"]),
    "rank 5": ((1, 1, 2, 4, 64), (1, 1, 2, 33, 64), (1, 1, 2, 33, 64), ["rank", "(1, 1, 2, 4, 64)"]),
    "rank 1": ((64,), (64,), (64,), ["rank", "(64,)"]),
    "ranks differ": ((1, 2, 4, 64), (2, 33, 64), (2, 33, 64), ["rank", "(2, 33, 64)"]),
    "rank of v differs": ((1, 2, 4, 64), (1, 2, 33, 64), (2, 33, 64), ["rank", "(2, 33, 64)"]),
    "head_dim differs": ((1, 2, 4, 128), (1, 2, 33, 64), (1, 2, 33, 64), ["head_dim", 128, 64]),
    "head_dim too small": ((1, 2, 4, 7), (1, 2, 33, 7), (1, 2, 33, 64), ["head_dim", 8, 576, 7]),
    "head_dim too large": ((1, 2, 4, 577), (1, 2, 33, 577), (1, 2, 33, 64), ["head_dim", 8, 576, 577]),
    "head_dim zero": ((1, 2, 4, 0), (1, 2, 33, 0), (1, 2, 33, 64), ["head_dim", 0]),
    "value_dim too small": ((1, 2, 4, 64), (1, 2, 33, 64), (1, 2, 33, 7), ["value_dim", 7]),
    "value_dim too large": ((1, 2, 4, 64), (1, 2, 33, 64), (1, 2, 33, 577), ["value_dim", 577]),
    "batch of k differs": ((2, 2, 4, 64), (3, 2, 33, 64), (2, 2, 33, 64), ["batch", 2, 3]),
    "batch of v differs": ((2, 2, 4, 64), (2, 2, 33, 64), (5, 2, 33, 64), ["batch", 2, 5]),
    "batch is not broadcast": ((2, 2, 4, 64), (1, 2, 33, 64), (1, 2, 33, 64), ["batch", 2, 1]),
    "no batch": ((0, 2, 4, 64), (0, 2, 33, 64), (0, 2, 33, 64), ["batch", 0]),
    "kv_heads of v differ": ((1, 4, 4, 64), (1, 4, 33, 64), (1, 2, 33, 64), ["kv_heads", 4, 2]),
    "heads are not divisible": (
        (1, 6, 4, 64),
        (1, 4, 33, 64),
        (1, 4, 33, 64),
        ["query_heads", "kv_heads", 6, 4],
    ),
    "more kv_heads": ((1, 2, 4, 64), (1, 4, 33, 64), (1, 4, 33, 64), ["query_heads", "kv_heads", 2, 4]),
    "no query_heads": ((1, 0, 4, 64), (1, 2, 33, 64), (1, 2, 33, 64), ["query_heads", 0]),
    "no kv_heads": ((1, 2, 4, 64), (1, 0, 33, 64), (1, 0, 33, 64), ["kv_heads", 0]),
    "lengths differ": ((1, 2, 4, 64), (1, 2, 33, 64), (1, 2, 32, 64), ["length", 33, 32]),
    "no keys": ((1, 2, 4, 64), (1, 2, 0, 64), (1, 2, 0, 64), ["length", 0]),
}


@pytest.mark.parametrize(
    "operation", [*OPERATIONS, mh.sdpa_sliding], ids=lambda operation: operation.__name__
)
@pytest.mark.parametrize("name", SHAPES)
def test_shapes(device, operation, name):
    *shapes, parts = SHAPES[name]
    keywords = {"window_size": 4} if operation is mh.sdpa_sliding else {}
    arrays = [np.zeros(shape, np.float32) for shape in shapes]
    assert_rejected(ValueError, operation, arrays, parts, device, **keywords)


BOTH_VALUES = {
    "scale nan": ({"scale": NAN}, ["scale", "nan"]),
    "scale infinite": ({"scale": INF}, ["scale", "inf"]),
    "softcap nan": ({"softcap": NAN}, ["softcap", "nan"]),
    "softcap negative": ({"softcap": -3.0}, ["softcap", "-3"]),
    "softcap infinite": ({"softcap": INF}, ["softcap", "inf"]),
    "window negative": ({"window_size": -2}, ["window_size", "-2"]),
    "window left negative": ({"window_size": (-7, 0)}, ["window_size", "-7"]),
    "window right negative": ({"window_size": (4, -9)}, ["window_size", "-9"]),
    "window of three": ({"window_size": (1, 2, 3)}, ["window_size"]),
    "window of one": ({"window_size": (1,)}, ["window_size"]),
    "kv_lengths zero": ({"kv_lengths": [33, 0]}, ["kv_lengths", 33, 0]),
    "kv_lengths negative": ({"kv_lengths": [-1, 5]}, ["kv_lengths", "-1"]),
    "kv_lengths above capacity": ({"kv_lengths": [5, 34]}, ["kv_lengths", 33, 34]),
    "kv_lengths above 32 bits": ({"kv_lengths": [5, 2**32 + 5]}, ["kv_lengths"]),
    "kv_lengths too many": ({"kv_lengths": [5, 5, 5]}, ["kv_lengths", 2, 3]),
    "kv_lengths of rank 2": ({"kv_lengths": np.full((2, 1), 5)}, ["kv_lengths", "(2, 1)"]),
    "ring_start negative": ({"ring_start": -1}, ["ring_start", 32, "-1"]),
    "ring_start at capacity": ({"ring_start": 33}, ["ring_start", 32, 33]),
    "ring_start above 32 bits": ({"ring_start": 2**32}, ["ring_start"]),
    "ring_start of one sequence": ({"ring_start": np.array([0, 33])}, ["ring_start", 32, 33]),
    "ring_start too many": ({"ring_start": np.array([0, 1, 2])}, ["ring_start", 2, 3]),
    "sinks too few": ({"sinks": np.zeros(3, np.float32)}, ["sinks", 4, 3]),
    "sinks of rank 2": ({"sinks": np.zeros((4, 1), np.float32)}, ["sinks", "(4, 1)"]),
}
VALUES = BOTH_VALUES | {
    "slopes too many": ({"alibi_slopes": np.zeros(5, np.float32)}, ["alibi_slopes", 4, 5]),
    "mask of other keys": ({"mask": np.zeros((5, 32), bool)}, ["mask", 33, "(5, 32)"]),
    "mask of other rows": ({"mask": np.zeros((2, 4, 4, 33), bool)}, ["mask", "(2, 4, 4, 33)"]),
    "mask of other heads": ({"mask": np.zeros((2, 2, 5, 33), bool)}, ["mask", "(2, 2, 5, 33)"]),
    "mask of other batch": ({"mask": np.zeros((3, 4, 5, 33), bool)}, ["mask", "(3, 4, 5, 33)"]),
    "mask of rank 5": ({"mask": np.zeros((1, 2, 4, 5, 33), bool)}, ["mask"]),
    "mask without keys": ({"mask": np.zeros((5, 0), bool)}, ["mask", "(5, 0)"]),
}
DIMS = Dims(batch=2, query_heads=4, kv_heads=2, query_length=5, kv_length=33)


@EACH_OPERATION
@pytest.mark.parametrize("name", VALUES)
def test_values(device, operation, name):
    keywords, parts = VALUES[name]
    assert_rejected(ValueError, operation, make_qkv(DIMS), parts, device, **keywords)


@pytest.mark.parametrize("name", BOTH_VALUES)
def test_values_of_sliding(device, name):
    keywords, parts = BOTH_VALUES[name]
    assert_rejected(
        ValueError, mh.sdpa_sliding, make_qkv(DIMS), parts, device, **({"window_size": 4} | keywords)
    )


@pytest.mark.parametrize("splits", [0, -1, 10**6])
def test_splits(device, splits):
    assert_rejected(ValueError, mh.flash_attn_vec, make_qkv(DIMS), ["splits", splits], device, splits=splits)


@pytest.mark.parametrize("query_length", [17, 100])
def test_too_many_rows_for_flash_attn_vec(device, query_length):
    arrays = make_qkv(DIMS._replace(query_length=query_length))
    assert_rejected(ValueError, mh.flash_attn_vec, arrays, ["query_length", 16, query_length], device)


KINDS = {
    "scale": ({"scale": "wide"}, ["scale"]),
    "softcap": ({"softcap": "soft"}, ["softcap"]),
    "window": ({"window_size": 2.5}, ["window_size"]),
    "window of text": ({"window_size": "12"}, ["window_size"]),
    "window of floats": ({"window_size": (1.5, 0)}, ["window_size"]),
    "kv_lengths of floats": ({"kv_lengths": np.array([5.0, 5.0])}, ["kv_lengths"]),
    "ring_start of floats": ({"ring_start": 1.5}, ["ring_start"]),
    "mask of integers": ({"mask": np.ones((5, 33), np.int32)}, ["mask", "int32"]),
    "mask of doubles": ({"mask": np.ones((5, 33))}, ["mask", "float64"]),
    "mask as list": ({"mask": [[True] * 33] * 5}, ["mask"]),
    "sinks of text": ({"sinks": np.array(["a", "b", "c", "d"])}, ["sinks"]),
    "slopes of complex": ({"alibi_slopes": np.ones(4, complex)}, ["alibi_slopes"]),
    "out as list": ({"out": [1.0]}, ["out"]),
    "out of integers": ({"out": np.zeros((2, 4, 5, 64), np.int32)}, ["out", "int32"]),
    "out of doubles": ({"out": np.zeros((2, 4, 5, 64))}, ["out", "float64"]),
}


@EACH_OPERATION
@pytest.mark.parametrize("name", KINDS)
def test_kinds(device, operation, name):
    keywords, parts = KINDS[name]
    assert_rejected(TypeError, operation, make_qkv(DIMS), parts, device, **keywords)


@EACH_OPERATION
@pytest.mark.parametrize("dtype", ["float64", "int32", "int8", "complex64", "bool", "O", "S4", "longdouble"])
@pytest.mark.parametrize("position", [0, 1, 2])
def test_element_types(device, operation, dtype, position):
    arrays = list(make_qkv(DIMS))
    arrays[position] = np.zeros(arrays[position].shape, dtype)
    assert_rejected(TypeError, operation, arrays, ["qkv"[position]], device)


@EACH_OPERATION
@pytest.mark.parametrize(
    "dtypes",
    [
        ("float16", "float32", "float32"),
        ("bfloat16", "float32", "float32"),
        ("float16", "bfloat16", "bfloat16"),
        ("bfloat16", "float16", "float16"),
        ("float32", "float16", "float32"),
        ("float32", "float16", "bfloat16"),
        ("float16", "float16", "bfloat16"),
    ],
    ids="-".join,
)
def test_mixtures_of_types(device, operation, dtypes):
    arrays = [x.astype(DTYPES[dtype]) for x, dtype in zip(make_qkv(DIMS), dtypes, strict=True)]
    assert_rejected(TypeError, operation, arrays, set(dtypes), device)


@EACH_OPERATION
@pytest.mark.parametrize("position", [0, 1, 2])
@pytest.mark.parametrize(
    "bad", [None, 3.0, "text", [[1.0]], object()], ids=["None", "float", "text", "list", "object"]
)
def test_things_that_are_no_arrays(device, operation, position, bad):
    arrays = list(make_qkv(DIMS))
    arrays[position] = bad
    assert_rejected(TypeError, operation, arrays, ["qkv"[position]], device)


@EACH_OPERATION
def test_unknown_and_positional_keywords(device, operation):
    q, k, v = make_qkv(DIMS)
    with pytest.raises(TypeError, match="dropout"):
        operation(q, k, v, dropout=0.1, device=device)
    with pytest.raises(TypeError):
        operation(q, k, v, 0.5)
    with pytest.raises(TypeError):
        operation(q, k)


def test_sliding_requires_a_window(device):
    q, k, v = make_qkv(DIMS)
    with pytest.raises(TypeError, match="window_size"):
        mh.sdpa_sliding(q, k, v, device=device)
    with pytest.raises(TypeError):
        mh.sdpa_sliding(q, k, v, window_size=4, mask=np.ones((5, 33), bool), device=device)
    assert_rejected(
        (TypeError, ValueError), mh.sdpa_sliding, (q, k, v), ["window_size"], device, window_size=None
    )


@EACH_OPERATION
def test_unknown_devices(operation):
    q, k, v = make_qkv(DIMS)
    with pytest.raises(mh.DeviceError, match="nope"):
        operation(q, k, v, device="nope")
    with pytest.raises(TypeError, match="device"):
        operation(q, k, v, device=3)


@EACH_OPERATION
def test_sizes_that_overflow(device, operation):
    """Views that repeat one row claim more rows, keys or outputs than can be counted or held."""

    def repeated(*shape):
        return np.lib.stride_tricks.as_strided(np.zeros(shape[-1], np.float16), shape, (0, 0, 0, 2))

    keys = repeated(1, 1, 4, 8)
    too_many_rows = (repeated(1, 1, 2**40, 8), keys, keys)
    too_many_keys = (repeated(1, 1, 1, 8), repeated(1, 1, 2**40, 8), repeated(1, 1, 2**40, 8))
    too_many_heads = (repeated(1, 2**40, 1, 8), keys, keys)
    too_many_sequences = (repeated(2**40, 1, 1, 8), repeated(2**40, 1, 4, 8), repeated(2**40, 1, 4, 8))
    for arrays in (too_many_rows, too_many_keys, too_many_heads, too_many_sequences):
        assert_rejected(ValueError, operation, arrays, [2**40], device)


@EACH_OPERATION
def test_numbers_of_any_kind_are_accepted(device, operation):
    q, k, v = make_qkv(DIMS)
    for keywords in (
        {"scale": np.float32(0.25), "softcap": np.float64(3)},
        {"scale": 1, "softcap": 2},
        {"window_size": np.int64(5)},
        {"window_size": [np.int32(5), 1]},
        {"ring_start": np.int16(7), "causal": np.bool_(False)},
        {"kv_lengths": (5, 33)},
        {"kv_lengths": np.array([5, 33], np.uint8)},
        {"sinks": [0.0, 1.0, 2.0, 3.0], "alibi_slopes": (0.0, 0.1, 0.2, 0.3)},
    ):
        check(operation, q, k, v, context=str(keywords), device=device, **keywords)
