"""Bytes moved per binding: lanes of a simdgroup that execute one instruction together count once."""

from __future__ import annotations

import numpy as np
import pytest
from tools.metal.simt import Counters, ShaderLibrary

SEEDS = (0, 1, 2)


@pytest.fixture(scope="module")
def library() -> ShaderLibrary:
    return ShaderLibrary(["tests/sim/shaders/traffic.metal"], "instrumented")


def floats(count: int) -> np.ndarray:
    return np.arange(count, dtype=np.float32)


def loads(counters: Counters, name: str) -> tuple[int, int, int, int]:
    traffic = counters.of(name)
    return traffic.lane_load_bytes, traffic.load_bytes, traffic.unique_load_bytes, traffic.simdgroup_loads


def stores(counters: Counters, name: str) -> tuple[int, int, int]:
    traffic = counters.of(name)
    return traffic.store_bytes, traffic.unique_store_bytes, traffic.simdgroup_stores


@pytest.mark.parametrize("seed", SEEDS)
def test_known_patterns(library: ShaderLibrary, seed: int) -> None:
    run = library.run
    counted = run("coalesced", buffers=[floats(128), floats(128)], grid=2, threads=64, seed=seed)
    assert loads(counted, "in") == (512, 512, 512, 4)
    assert stores(counted, "out") == (512, 512, 4)
    counted = run("uniform_load", buffers=[floats(1), floats(128)], grid=2, threads=64, seed=seed)
    assert loads(counted, "in") == (512, 16, 4, 4)
    halves = np.ones(256, np.float16)
    counted = run("vector_load", buffers=[halves, halves.copy()], threads=64, seed=seed)
    assert loads(counted, "in") == (512, 512, 512, 2)
    assert stores(counted, "out") == (512, 512, 2)
    counted = run("strided", buffers=[floats(128), floats(32)], seed=seed)
    assert loads(counted, "in") == (128, 128, 128, 1)


@pytest.mark.parametrize("seed", SEEDS)
def test_loops(library: ShaderLibrary, seed: int) -> None:
    out = floats(128)
    counted = library.run("rows", buffers=[floats(320), out, np.uint32(10)], grid=2, threads=64, seed=seed)
    assert loads(counted, "in") == (4 * 1280, 4 * 1280, 1280, 40)
    np.testing.assert_array_equal(out, np.full(128, np.arange(320).sum()))
    counted = library.run("triangle", buffers=[floats(32), floats(32)], seed=seed)
    assert counted.of("in").lane_load_bytes == 4 * 32 * 33 // 2
    assert counted.of("in").load_bytes == counted.of("in").unique_load_bytes == 128


def test_read_modify_write_counts_both(library: ShaderLibrary) -> None:
    data = floats(32)
    counted = library.run("increment", buffers=[data])
    assert loads(counted, "data") == (128, 128, 128, 1)
    assert stores(counted, "data") == (128, 128, 1)
    np.testing.assert_array_equal(data, floats(32) + 1)


def test_threadgroup_memory_is_counted_apart(library: ShaderLibrary) -> None:
    out = floats(128)
    counted = library.run(
        "through_threadgroup", buffers=[floats(128), out], threadgroup_bytes=[256], grid=2, threads=64
    )
    assert loads(counted, "in") == (512, 512, 512, 4)
    assert loads(counted, "block") == (512, 512, 256, 4)
    assert stores(counted, "block") == (512, 256, 4)
    assert counted.of("block").index == -1
    assert counted.threadgroup_bytes == 256
    np.testing.assert_array_equal(out.reshape(2, 64), floats(128).reshape(2, 64)[:, ::-1])


def test_matrix_and_struct(library: ShaderLibrary) -> None:
    source, out = np.arange(128, dtype=np.float16), np.zeros(64, np.float16)
    counted = library.run("matrix_tile", buffers=[source, out])
    assert counted.of("in").load_bytes == counted.of("in").unique_load_bytes == 128
    assert counted.of("out").store_bytes == 128
    np.testing.assert_array_equal(out.reshape(8, 8), source.reshape(8, 16)[:, :8])
    pairs = np.arange(32 * 8, dtype=np.uint32)
    counted = library.run("whole_struct", buffers=[pairs, np.zeros_like(pairs)])
    assert counted.of("in").load_bytes == 32 * 24
    assert counted.of("out").store_bytes == 32 * 24


def test_plain_libraries_count_no_traffic() -> None:
    counted = ShaderLibrary(["tests/sim/shaders/traffic.metal"]).run(
        "coalesced", buffers=[floats(32), floats(32)]
    )
    assert counted.traffic == []
    assert (counted.threadgroups, counted.threads) == (1, 32)
