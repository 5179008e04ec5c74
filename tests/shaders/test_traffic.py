"""What the kernels move and compute, counted by the runtime: the claims of docs/performance-metal.md."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from attention_cases import Dims, make_qkv
from attention_launch import Result, Tuning, attend
from test_packed_attention import pack

STEP = 32  # keys that a simdgroup takes at a time with one row block


def loaded(result: Result, name: str) -> int:
    """Bytes that the first kernel loaded through a binding, each load of each simdgroup counted once."""
    return int(next(iter(result.counters.values())).of(name).load_bytes)


def total_loads(result: Result, *names: str) -> int:
    return sum(loaded(result, name) for name in names)


@pytest.mark.parametrize("query_heads,kv_heads,dim", [(4, 1, 128), (2, 1, 256), (8, 1, 512)])
def test_decode_reads_keys_and_values_once(query_heads: int, kv_heads: int, dim: int) -> None:
    """One KV head of each shape that the goal names: all rows of its group share one read."""
    dims = Dims(query_heads, kv_heads, 1, 512, dim, dim)
    q, k, v = make_qkv(dims, "float16")
    groups = {128: 4, 256: 4, 512: 2}[dim]
    result = attend(q, k, v, tuning=Tuning(1, groups, 1), splits=2, mode="instrumented")
    assert loaded(result, "key") == k.nbytes
    assert loaded(result, "value") == v.nbytes


@pytest.mark.slow
@pytest.mark.parametrize("query_heads,kv_heads,dim", [(32, 8, 128), (16, 8, 256), (8, 1, 512)])
def test_decode_at_full_size(query_heads: int, kv_heads: int, dim: int) -> None:
    """kv_length 4096, everything counted: queries, partial results and the reduction included."""
    q, k, v = make_qkv(Dims(query_heads, kv_heads, 1, 4096, dim, dim), "float16")
    groups = {128: 4, 256: 4, 512: 2}[dim]
    result = attend(q, k, v, tuning=Tuning(1, groups, 1), splits=8, mode="instrumented")
    minimum = k.nbytes + v.nbytes
    assert total_loads(result, "key", "value") <= 1.05 * minimum
    moved = sum(
        traffic.load_bytes + traffic.store_bytes
        for counters in result.counters.values()
        for traffic in counters.traffic
        if traffic.index >= 0
    )
    print(f"({query_heads}, {kv_heads}, {dim}): {moved / minimum:.4f} x the minimum")
    assert moved <= 1.05 * minimum


@pytest.mark.parametrize("packed_bits", [0, 4])
def test_window_bounds_are_loop_limits(packed_bits: int) -> None:
    """Decode with a window reads the rows inside it and no other."""
    q, k, v = make_qkv(Dims(4, 1, 2, 600, 64, 64), "float16")
    keys, values = (pack(x, packed_bits) if packed_bits else x for x in (k, v))
    result = attend(q, keys, values, tuning=Tuning(1, 2, 1), window_size=99, mode="instrumented")
    row_bytes = 64 * packed_bits // 8 if packed_bits else 128
    assert loaded(result, "key") == 101 * row_bytes
    assert loaded(result, "value") == 101 * row_bytes


def test_causal_bounds_are_loop_limits() -> None:
    """Prefill: each row group of 16 rows reads the keys up to its own last row and no further."""
    dims = Dims(1, 1, 64, 64, 64, 64)
    q, k, v = make_qkv(dims, "float16")
    result = attend(q, k, v, tuning=Tuning(2, 1, 2), splits=None, mode="instrumented")
    groups = [16 * (group + 1) for group in range(4)]
    assert loaded(result, "key") == sum(groups) * 128
    assert loaded(result, "value") == sum(groups) * 128


def test_prefill_window_skips_keys() -> None:
    """Prefill with a window: the time does not depend on the length of the cache."""
    rows, window = 32, 20
    read = []
    for length in (128, 512):
        q, k, v = make_qkv(Dims(1, 1, rows, length, 64, 64), "float16")
        result = attend(q, k, v, tuning=Tuning(2, 1, 2), splits=None, window_size=window, mode="instrumented")
        read.append(loaded(result, "key"))
    assert read == [2 * (window + 16) * 128] * 2


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 8])
def test_arithmetic_of_packed_decode(bits: int) -> None:
    """Codes are expanded once for all rows: look-ups and matrix products do not grow with the heads."""
    counts: dict[int, Any] = {}
    length, dim = 128, 128
    for heads in (1, 8):
        q, k, v = make_qkv(Dims(heads, 1, 1, length, dim, dim), "float32")
        result = attend(q, pack(k, bits), pack(v, bits), tuning=Tuning(1, 2, 1), mode="instrumented")
        counters = next(iter(result.counters.values()))
        tables = (
            0
            if bits == 8
            else sum(counters.of(name).simdgroup_loads for name in ("key_table", "value_table"))
        )
        counts[heads] = (counters.matrix_multiplies, tables, loaded(result, "key"), loaded(result, "value"))
    assert counts[1] == counts[8]
    multiplies, tables, key_bytes, value_bytes = counts[1]
    codes = 2 * length * dim
    # One 8x8x8 product takes 64 elements of K or V past 8 rows.
    assert multiplies == codes // 64
    lookups_per_code = 32 * tables / codes
    assert lookups_per_code == {2: 0.5, 3: 0.5, 4: 0.5, 5: 1, 6: 1, 8: 0}[bits]
    assert key_bytes == value_bytes == length * dim * bits // 8


def test_norms_multiply_scores() -> None:
    """A norm is read once a key by each simdgroup that needs it, not once a coordinate."""
    q, k, v = make_qkv(Dims(4, 1, 1, 256, 128, 128), "float32")
    result = attend(q, pack(k, 4), pack(v, 4), tuning=Tuning(1, 2, 1), mode="instrumented")
    assert loaded(result, "key_norms") == 256 * 2
    assert loaded(result, "value_norms") == 256 * 2


def test_partial_results_are_small() -> None:
    """A split of 256 keys leaves as many bytes as 4 to 8 keys have."""
    q, k, v = make_qkv(Dims(4, 1, 1, 512, 128, 128), "float16")
    result = attend(q, k, v, tuning=Tuning(1, 4, 1), splits=2, mode="instrumented")
    counters = result.counters["flash_attn_vec_float16"]
    stored = counters.of("partial_out").store_bytes + counters.of("partial_stats").store_bytes
    assert stored == 2 * 4 * (128 + 2) * 4
    assert np.isfinite(result.lse).all()
