"""Offsets past 4 GiB: sparse memory of which only the pages that take part exist."""

import mmap
import sys

import numpy as np
import pytest

import metalhead as mh
from accuracy import assert_attention_close
from cases import random_array
from metalhead import reference

pytestmark = [pytest.mark.slow, pytest.mark.heavy]
GIB = 2**30
MAP_NORESERVE = 0x4000 if sys.platform == "linux" else 0
HEAD_DIM = 64
ROWS = pytest.mark.parametrize("query_length", [2, 20])


def sparse(nbytes, dtype):
    """Zeros of this many bytes that take memory only where they are written."""
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_NORESERVE
    try:
        return np.frombuffer(mmap.mmap(-1, nbytes, flags=flags), dtype)
    except OSError as error:
        pytest.skip(f"no address space for {nbytes} bytes: {error}")


def strided(memory, shape, strides_in_elements):
    strides = [memory.itemsize * stride for stride in strides_in_elements]
    return np.lib.stride_tricks.as_strided(memory, shape, strides)


def compare(q, k, v, small_k, small_v, device, out=None, **keywords):
    """Run on the large arrays, and judge by the same problem in small ones."""
    actual = mh.sdpa(q, k, v, out=out, device=device, **keywords)
    meaning = {name: x for name, x in keywords.items() if name not in ("kv_lengths", "ring_start")}
    expected = reference.sdpa(q, small_k, small_v, **meaning)
    plain = reference.plain_float32(q, small_k, small_v, **meaning)
    assert_attention_close(actual, expected, plain, "large")


@ROWS
def test_heads_far_apart(device, query_length):
    """Three KV heads whose distance is over 2 GiB, so that the third starts past 4 GiB."""
    capacity = 2**24 + 1000
    q = random_array(0, (1, 6, query_length, HEAD_DIM), "float16", 2.0)
    k, v = (
        sparse(3 * capacity * HEAD_DIM * 2, np.float16).reshape(1, 3, capacity, HEAD_DIM) for _ in range(2)
    )
    for x, seed in ((k, 1), (v, 2)):
        x[:, :, :40] = random_array(seed, (1, 3, 40, HEAD_DIM), "float16")
    compare(q, k, v, k[:, :, :40], v[:, :, :40], device, kv_lengths=[40])


@ROWS
def test_a_ring_that_wraps_past_4_gib(device, query_length):
    capacity, length = 2**26, 60
    start = capacity - 25
    q = random_array(0, (1, 4, query_length, HEAD_DIM), "float16", 2.0)
    k, v = (sparse(capacity * HEAD_DIM * 2, np.float16).reshape(1, 1, capacity, HEAD_DIM) for _ in range(2))
    rows = (start + np.arange(length)) % capacity
    for x, seed in ((k, 1), (v, 2)):
        x[:, :, rows] = random_array(seed, (1, 1, length, HEAD_DIM), "float16")
    compare(q, k, v, k[:, :, rows], v[:, :, rows], device, kv_lengths=[length], ring_start=start)


@ROWS
def test_a_window_at_the_end_of_a_long_cache(device, query_length):
    """67 million keys of which the window shows 30: the others are not even read."""
    capacity, seen = 2**26, 29 + query_length
    q = random_array(0, (1, 4, query_length, HEAD_DIM), "float16", 2.0)
    k, v = (sparse(capacity * HEAD_DIM * 2, np.float16).reshape(1, 1, capacity, HEAD_DIM) for _ in range(2))
    for x, seed in ((k, 1), (v, 2)):
        x[:, :, -seen:] = random_array(seed, (1, 1, seen, HEAD_DIM), "float16")
    slopes = np.full(4, 0.25, np.float32)
    compare(q, k, v, k[:, :, -seen:], v[:, :, -seen:], device, window_size=29, alibi_slopes=slopes)


@ROWS
def test_rows_far_apart(device, query_length):
    """A row stride of 2^26 elements: row 33 of a float32 cache lies past 8 GiB."""
    length, stride = 34, 2**26
    q = random_array(0, (1, 4, query_length, HEAD_DIM), spread=2.0)
    memory = [sparse((length - 1) * stride * 4 + HEAD_DIM * 4, np.float32) for _ in range(2)]
    k, v = (strided(x, (1, 1, length, HEAD_DIM), (0, 0, stride, 1)) for x in memory)
    for x, seed in ((k, 1), (v, 2)):
        x[...] = random_array(seed, x.shape)
    compare(q, k, v, k, v, device)


@ROWS
def test_queries_masks_and_results_far_apart(device, query_length):
    """Strides past 4 GiB in q, the mask and out."""
    far = 2**30 + 64
    shape = (3, 2, query_length, HEAD_DIM)
    nbytes = (2 * far + 2 * query_length * HEAD_DIM) * 4
    q, out = (
        strided(sparse(nbytes, np.float32), shape, (far, query_length * HEAD_DIM, HEAD_DIM, 1))
        for _ in range(2)
    )
    q[...] = random_array(0, shape, spread=2.0)
    mask = strided(sparse((2 * far + 2000) * 4, np.float32), (3, 1, query_length, 40), (far, 0, 40, 1))
    mask[...] = random_array(3, mask.shape)
    k, v = (random_array(seed, (3, 2, 40, HEAD_DIM)) for seed in (1, 2))
    compare(q, k, v, k, v, device, out=out, mask=mask)


def test_an_array_past_4_gib(device):
    """Metalhead's own memory, with a view past the 4 GiB border."""
    try:
        a = mh.empty((5 * GIB,), "uint8", device=device)
    except MemoryError:
        pytest.skip("no memory for 5 GiB")
    a[4 * GIB + 3 : 4 * GIB + 13].numpy()[...] = np.arange(10)
    assert np.array_equal(a.numpy()[4 * GIB + 3 : 4 * GIB + 13], np.arange(10))
    assert a[-1:].shape == (1,)
