"""Attention over packed keys and values, held against float64 attention over the decoded tensors."""

from __future__ import annotations

import ctypes
import itertools
import mmap
from typing import Any

import numpy as np
import pytest

import metalhead as mh
from accuracy import assert_attention_close, assert_lse_close
from cases import DTYPES, Dims, make_cancelling_qkv, make_qkv, make_rising_qkv, random_array
from metalhead import reference

BITS = (2, 3, 4, 5, 6, 8)
LEVELS = mh.Device("cpu").info()["instruction_sets"].split(", ")
BASE = Dims(batch=2, query_heads=4, kv_heads=2, query_length=5, kv_length=37, head_dim=64, value_dim=64)


def pack(x: Any, bits: int, seed: int | None = 0, **fields: Any) -> Any:
    """The packed form of x; x itself for 0 bits."""
    return x if bits == 0 else mh.tq_encode(x, mh.TQFormat(bits, x.shape[-1], seed, **fields))


def at_end_of_memory(x: Any) -> Any:
    """A copy of x that ends at an unreadable page: reading past its end is a crash, not luck."""
    size = -(-x.nbytes // mmap.PAGESIZE) * mmap.PAGESIZE
    memory = np.frombuffer(mmap.mmap(-1, size + mmap.PAGESIZE), np.uint8)
    end = ctypes.c_void_p(memory.ctypes.data + size)
    assert ctypes.CDLL(None).mprotect(end, ctypes.c_size_t(mmap.PAGESIZE), 0) == 0
    copy = memory[size - x.nbytes : size].view(x.dtype).reshape(x.shape)
    copy[...] = x
    return copy


def check_packed(
    q: Any, k: Any, v: Any, *, context: str = "", return_lse: bool = True, **keywords: Any
) -> Any:
    """Run `tq_attention`, hold the result and its lse against the reference, and return the result."""
    result = mh.tq_attention(q, k, v, return_lse=return_lse, **keywords)
    out, lse = result if return_lse else (result, None)
    meaning = {name: x for name, x in keywords.items() if name not in ("device", "splits")}
    decoded = [x if isinstance(x, np.ndarray) else reference.tq_decode(x) for x in (k, v)]
    expected, expected_lse = reference.sdpa(q, *decoded, return_lse=True, **meaning)
    plain, plain_lse = reference.plain_float32(q, *decoded, return_lse=True, **meaning)
    context = f"tq_attention {context} q{q.shape} k{k.shape} {sorted(meaning)}"
    assert out.dtype == q.dtype, context
    assert_attention_close(out, expected, plain, context)
    if return_lse:
        assert_lse_close(lse, expected_lse, plain_lse, context)
    return out


@pytest.mark.parametrize("dim", [32, 64, 128, 256, 512])
@pytest.mark.parametrize("bits", BITS)
def test_bits_and_dims(device, budget, bits, dim):
    """Every way of expanding codes: few rows, more than share registers, and a prefill."""
    for length, heads in budget.thin([(1, 2), (1, 4), (1, 8), (2, 6), (16, 4), (17, 4), (40, 2)]):
        dims = Dims(1, heads, 2, length, 75, dim, dim)
        q, k, v = make_qkv(dims, seed=length)
        check_packed(q, pack(k, bits, 1), pack(v, bits, 2), device=device, context=f"{bits} bits")


@pytest.mark.parametrize("bits", BITS)
def test_rows_of_a_kv_head(device, budget, bits):
    """Any number of query rows is cut into register tiles; keys end anywhere within a tile of theirs."""
    for heads in budget.thin([1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 15, 16, 17, 24, 33]):
        for keys in budget.thin([1, 6, 15, 16, 29, 128, 133]):
            q, k, v = make_qkv(Dims(1, heads, 1, 1, keys, 64, 64), seed=heads + keys)
            packed = pack(k, bits, 1), pack(v, bits, 2)
            check_packed(q, *packed, device=device, splits=1, context=f"{bits} bits")


@pytest.mark.parametrize("query_length", [1, 20])
def test_sides_choose_their_own_bits(device, budget, query_length):
    q, k, v = make_qkv(BASE._replace(query_length=query_length))
    for k_bits, v_bits in budget.thin([p for p in itertools.product((0, *BITS), repeat=2) if any(p)]):
        packed = pack(k, k_bits, 5), pack(v, v_bits, None, norm="unbiased", norm_dtype="float32")
        check_packed(q, *packed, device=device, context=f"k{k_bits}v{v_bits}")


@pytest.mark.heavy
@pytest.mark.parametrize("query_heads", [1, 4, 8])
@pytest.mark.parametrize("query_length", [1, 20])
def test_equal_weights_over_a_long_cache(device, query_heads, query_length):
    """A value added to a running sum over all keys is rounded too often."""
    splits = 1 if query_length == 1 else None
    for seed in range(2):
        q, k, v = make_qkv(Dims(1, query_heads, 1, query_length, 20000, 64, 64), seed=seed)
        check_packed(0 * q, pack(k, 4), pack(v, 4), device=device, splits=splits, context=f"seed {seed}")


@pytest.mark.parametrize("query_length", [1, 18])
def test_head_dims_differ(device, query_length):
    for dims in (Dims(1, 4, 2, query_length, 50, 128, 64), Dims(1, 4, 2, query_length, 50, 64, 512)):
        q, k, v = make_qkv(dims)
        check_packed(q, pack(k, 4), pack(v, 3), device=device)
    q, k, v = make_qkv(Dims(1, 4, 2, query_length, 50, 192, 128))
    check_packed(q, k, pack(v, 4), device=device)
    q, k, v = make_qkv(Dims(1, 4, 2, query_length, 50, 128, 80))
    check_packed(q, pack(k, 4), v, device=device)


FEATURES: dict[str, dict[str, Any]] = {
    "plain": {},
    "full": {"causal": False},
    "window": {"window_size": 6},
    "window_both": {"causal": False, "window_size": (8, 2)},
    "softcap": {"softcap": 1.5},
    "sinks": {"sinks": np.array([0.5, -1.0, 2.0, 0.0], np.float32)},
    "alibi": {"alibi_slopes": np.array([0.5, 0.25, 0.1, 0.0], np.float32)},
    "mask_bool": {"mask": np.random.default_rng(7).random((2, 4, 5, 37)) < 0.7},
    "mask_additive": {"mask": random_array(8, (1, 1, 5, 37))},
    "kv_lengths": {"kv_lengths": [23, 37]},
    "ring": {"ring_start": 30},
    "ring_each": {"ring_start": np.array([5, 36])},
    "scale": {"scale": 0.3},
}


@pytest.mark.parametrize("bits", [(4, 4), (6, 3), (8, 2), (5, 0)], ids=lambda b: f"k{b[0]}v{b[1]}")
@pytest.mark.parametrize("name", FEATURES)
def test_features_in_pairs(device, budget, name, bits):
    q, k, v = make_qkv(BASE)
    packed = pack(k, bits[0], 3), pack(v, bits[1], 4)
    later = list(FEATURES)[list(FEATURES).index(name) :]
    for other in budget.thin(later):
        keywords = FEATURES[name] | FEATURES[other]
        for splits in (None, 3):
            check_packed(q, *packed, device=device, splits=splits, context=f"{name}+{other}", **keywords)


@pytest.mark.parametrize("bits", BITS)
def test_rings_windows_and_lengths(device, budget, bits):
    """The three ways of choosing rows crossed, in decode and in prefill."""
    rng = np.random.default_rng(bits)
    for query_length, window, lengths in budget.thin(
        list(itertools.product((1, 3, 19), (None, 0, 7, (5, 3)), (None, (20, 41), (41, 19))))
    ):
        q, k, v = make_qkv(Dims(2, 6, 2, query_length, 41, 32, 32), seed=bits)
        keywords = {"window_size": window, "kv_lengths": lengths, "ring_start": int(rng.integers(41))}
        if isinstance(window, tuple):
            keywords["causal"] = False
        check_packed(q, pack(k, bits), pack(v, bits), device=device, **keywords)


def test_rows_that_are_not_valid_are_never_read(device):
    q, k, v = make_qkv(BASE._replace(query_length=1))
    k, v = pack(k, 4, norm_dtype="float32"), pack(v, 4, norm_dtype="float32")
    lengths = [11, 30]
    expected = mh.tq_attention(q, k, v, kv_lengths=lengths, device=device)
    for packed, (b, length) in itertools.product((k, v), enumerate(lengths)):
        packed.norms[b, :, length:] = np.nan
        packed.codes[b, :, length:] = 255
    for splits in (None, 1, 5):
        got = mh.tq_attention(q, k, v, kv_lengths=lengths, splits=splits, device=device)
        np.testing.assert_allclose(got, expected, atol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("query_length", [1, 33])
def test_query_dtypes(device, dtype, query_length):
    q, k, v = make_qkv(BASE._replace(query_length=query_length, kv_length=70))
    q = q.astype(DTYPES[dtype])
    check_packed(q, pack(k, 4), pack(v, 4), device=device)
    check_packed(q, pack(k, 4), pack(v, 4), device=device, return_lse=False)
    out = np.full((*q.shape[:-1], 64), np.nan, np.float32)
    assert mh.tq_attention(q, pack(k, 4), pack(v, 4), out=out, device=device) is out
    assert np.isfinite(out).all()
    v16 = v.astype(DTYPES[dtype])
    check_packed(q, pack(k, 4), v16, device=device)


def test_views_of_a_cache(device):
    """Slices of batch, heads and rows, token-major norms and codes, rank 3."""
    q, k, v = make_qkv(Dims(3, 8, 4, 1, 60, 128, 128))
    k, v = pack(k, 6), pack(v, 4)
    check_packed(q[1:], k[1:, :, 7:50], v[1:, :, 7:50], device=device)
    check_packed(q[:, :2], k[:, 1:2], v[:, 2:3], device=device)
    check_packed(q[2], k[2], v[2], device=device)
    token_major = [
        mh.TQTensor(
            np.ascontiguousarray(x.codes.swapaxes(1, 2)).swapaxes(1, 2),
            np.ascontiguousarray(x.norms.swapaxes(1, 2)).swapaxes(1, 2),
            x.format,
        )
        for x in (k, v)
    ]
    check_packed(q, *token_major, device=device)
    check_packed(np.repeat(q, 20, axis=2), *token_major, device=device)


def test_long_caches_are_split(device, budget):
    length = 5000 if budget.keep_every == 1 else 300
    q, k, v = make_qkv(Dims(1, 8, 2, 1, length, 128, 128))
    k, v = pack(k, 4), pack(v, 2)
    for splits in (None, 1, 7):
        check_packed(q, k, v, splits=splits, device=device)


def test_rotated(device):
    """Callers who rotate q and un-rotate the output get the same result."""
    for query_length in (1, 20):
        q, k, v = make_qkv(BASE._replace(query_length=query_length))
        k, v = pack(k, 6, 3), pack(v, 6, None)
        usual = mh.tq_attention(q, k, v, device=device)
        theirs = mh.tq_attention(mh.hadamard(q, seed=3), k, v, rotated=True, device=device)
        np.testing.assert_allclose(mh.hadamard(theirs, seed=None, inverse=True), usual, atol=2e-6)
        dense = reference.tq_decode(k).astype(np.float32)
        theirs = mh.tq_attention(q, dense, v, rotated=True, device=device)
        np.testing.assert_allclose(mh.hadamard(theirs, seed=None, inverse=True), usual, atol=2e-6)


def test_caches_of_older_kernels_by_hand(device):
    """[kv_heads, capacity, D/2], low nibble even, value = level * norm / sqrt(D), rotated by the caller."""
    dim, kv_heads, capacity, length = 32, 2, 12, 9
    level = [0.1283950, 0.3880483, 0.6567591, 0.9423405, 1.2562312, 1.6180464, 2.0690172, 2.7325896]
    level = [-x for x in reversed(level)] + level
    rng = np.random.default_rng(3)
    codes = rng.integers(0, 256, (2, kv_heads, capacity, dim // 2)).astype(np.uint8)
    norms = rng.uniform(1, 8, (2, kv_heads, capacity)).astype(np.float32)
    values = np.zeros((2, kv_heads, capacity, dim))
    for side, head, row, byte in itertools.product(
        range(2), range(kv_heads), range(capacity), range(dim // 2)
    ):
        packed = int(codes[side, head, row, byte])
        norm = float(norms[side, head, row]) / np.sqrt(dim)
        values[side, head, row, 2 * byte] = level[packed & 15] * norm
        values[side, head, row, 2 * byte + 1] = level[packed >> 4] * norm
    q = random_array(4, (4, 1, dim))
    expected = np.zeros((4, 1, dim))
    for head in range(4):
        keys, vals = values[0, head // 2, :length], values[1, head // 2, :length]
        weights = np.exp(keys @ q[head, 0] / np.sqrt(dim))
        expected[head, 0] = weights @ vals / weights.sum()
    form = mh.TQFormat(4, dim, None, "plain", norm_dtype="float32")
    sides = [mh.TQTensor(codes[i], norms[i], form) for i in range(2)]
    got = mh.tq_attention(q, *sides, rotated=True, kv_lengths=[length], device=device)
    np.testing.assert_allclose(got, expected, atol=2e-6)


@pytest.mark.parametrize("level", LEVELS)
def test_every_instruction_set(level):
    special = mh.Device("cpu", instruction_set=level, threads=1)
    for bits, dim, length in itertools.product(BITS, (32, 64, 128), (1, 6, 21)):
        q, k, v = make_qkv(Dims(1, 4, 2, length, 50, dim, dim), seed=bits)
        check_packed(q, pack(k, bits), pack(v, bits), device=special, context=f"{level} {bits} bits")
    for dtype, make in itertools.product(("float16", "bfloat16"), (make_qkv, make_cancelling_qkv)):
        for seed, return_lse in itertools.product(range(2), (False, True)):
            q, k, v = make(Dims(1, 4, 2, 40, 4000, 64, 64), dtype, seed=seed)
            for bits in (4, 8):
                packed = [pack(x.astype(np.float32), bits) for x in (k, v)]
                context = f"{level} {dtype} {bits} bits {make.__name__} {seed}"
                check_packed(q, *packed, device=special, return_lse=return_lse, context=context)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("bits", BITS)
def test_nothing_is_read_past_the_end(level, bits):
    device = mh.Device("cpu", instruction_set=level)
    for dim, length in itertools.product((32, 64, 128, 256), (1, 20)):
        q, k, v = make_qkv(Dims(1, 4, 1, length, 37, dim, dim))
        packed = [pack(x, bits) for x in (k, v)]
        ends = [mh.TQTensor(at_end_of_memory(x.codes), at_end_of_memory(x.norms), x.format) for x in packed]
        expected = mh.tq_attention(q, *packed, device=device)
        np.testing.assert_array_equal(mh.tq_attention(q, *ends, device=device), expected)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_rising_scores(level, dtype):
    """Norms and scores that grow with the key, over a ring: sums so far must shrink all the time."""
    special = mh.Device("cpu", instruction_set=level, threads=1)
    q, k, v = make_rising_qkv(Dims(1, 4, 2, 33, 300, 64, 64), dtype)
    k32, v32 = k.astype(np.float32), v.astype(np.float32)
    for sides in (
        (pack(k32, 6), pack(v32, 3)),
        (pack(k32, 8), pack(v32, 8)),
        (pack(k32, 4), v),
        (k, pack(v32, 8)),
    ):
        for return_lse in (False, True):
            keywords = {"causal": False, "ring_start": 77, "return_lse": return_lse}
            check_packed(q, *sides, device=special, context=f"{level} {dtype}", **keywords)


def test_errors(device):
    q, k, v = make_qkv(BASE)
    packed_k, packed_v = pack(k, 4), pack(v, 4)
    many = np.repeat(q, 4, axis=2)
    for call, error, text in [
        (
            lambda: mh.tq_attention(q, k, v),
            TypeError,
            "k or v must be a TQTensor, got ndarray and ndarray; use sdpa",
        ),
        (
            lambda: mh.tq_attention(q, pack(k[:, :, :9], 4), packed_v),
            ValueError,
            "k and v must share their length",
        ),
        (
            lambda: mh.tq_attention(q[..., :32], packed_k, packed_v),
            ValueError,
            "q and k must share head_dim, got 32 and 64",
        ),
        (
            lambda: mh.tq_attention(q[:, :3], packed_k, packed_v),
            ValueError,
            "query_heads must be a multiple of kv_heads",
        ),
        (
            lambda: mh.tq_attention(many, packed_k, packed_v, splits=2),
            ValueError,
            "splits needs a query_length of at most 16",
        ),
        (lambda: mh.tq_attention(q, packed_k[0], packed_v), ValueError, "must all have rank 4"),
        (
            lambda: mh.tq_attention(q.astype(np.int32), packed_k, packed_v),
            TypeError,
            "q must be float32, float16 or bfloat16",
        ),
        (
            lambda: mh.tq_attention(q, packed_k, packed_v, rotated=1),
            TypeError,
            "rotated must be True or False",
        ),
        (
            lambda: mh.tq_attention(q, packed_k, packed_v, kv_lengths=[40, 3]),
            ValueError,
            "kv_lengths must be from 1 to 37",
        ),
    ]:
        with pytest.raises(error, match=text):
            call()
