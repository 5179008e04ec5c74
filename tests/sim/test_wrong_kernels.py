"""Kernels that are wrong on purpose: each must be reported, with kernel, binding and shader line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tools.metal.simt import ShaderLibrary, SimtError
from tools.metal.toolchain import ROOT

SHADER = "tests/sim/shaders/wrong.metal"
SEEDS = (0, 1, 2, 3)


@pytest.fixture(scope="module")
def instrumented() -> ShaderLibrary:
    return ShaderLibrary([SHADER], "instrumented")


@pytest.fixture(scope="module")
def plain() -> ShaderLibrary:
    return ShaderLibrary([SHADER], "plain")


@pytest.fixture(scope="module")
def asan() -> ShaderLibrary:
    return ShaderLibrary([SHADER], "asan")


def marked_lines(kernel: str) -> list[int]:
    """The lines of the shader that end in a comment with the kernel's name."""
    lines = Path(ROOT, SHADER).read_text().splitlines()
    return [number for number, line in enumerate(lines, 1) if line.endswith(f"// {kernel}")]


def failure(library: ShaderLibrary, kernel: str, **arguments: Any) -> str:
    with pytest.raises(SimtError) as error:
        library.run(kernel, **arguments)
    return str(error.value)


def expect_line(text: str, kernel: str) -> None:
    named = [int(number) for number in re.findall(r"wrong\.metal:(\d+)", text)]
    assert set(named) & set(marked_lines(kernel)), text


def floats(count: int) -> np.ndarray:
    return np.zeros(count, np.float32)


RACES: dict[str, tuple[int, int, list[int], str]] = {
    "race_threadgroup": (1, 64, [64], "threadgroup memory `tile`"),
    "race_missing_simdgroup_barrier": (1, 32, [32], "threadgroup memory `scores`"),
    "race_wrong_barrier": (1, 64, [64, 64], "buffer 0 (`out`)"),
    "race_simdgroup_scope": (1, 64, [64], "threadgroup memory `tile`"),
    "race_same_value": (1, 32, [1], "buffer 0 (`out`)"),
    "race_between_threadgroups": (4, 32, [2], "buffer 0 (`out`)"),
    "race_read_between_threadgroups": (2, 32, [1, 32], "buffer 0 (`out`)"),
}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kernel", RACES)
def test_race(instrumented: ShaderLibrary, kernel: str, seed: int) -> None:
    grid, threads, sizes, binding = RACES[kernel]
    text = failure(
        instrumented, kernel, buffers=[floats(n) for n in sizes], grid=grid, threads=threads, seed=seed
    )
    if "uninitialised" in text:  # in some orders the other thread has not even written yet
        assert kernel in ("race_threadgroup", "race_simdgroup_scope", "race_missing_simdgroup_barrier")
    else:
        assert f"kernel '{kernel}': data race: thread " in text
        assert ", against " in text
    assert binding in text
    expect_line(text, kernel)


DIVERGENT: dict[str, tuple[int, str]] = {
    "divergent_barrier": (
        64,
        "is not reached by all threads of threadgroup (0, 0, 0): threads 0..31 at threadgroup_barrier",
    ),
    "divergent_barrier_in_simdgroup": (32, "divergent simdgroup 0"),
    "divergent_simd": (64, "divergent simdgroup"),
    "divergent_loop": (32, "divergent simdgroup 0 of threadgroup (0, 0, 0): thread 0 at threadgroup_barrier"),
    "returned_before_simdgroup_barrier": (32, "thread 5 returned"),
    "shuffle_from_returned": (32, "reads lane 30, which is not active"),
    "broadcast_of_mixed_lanes": (32, "the source lane differs"),
    "matrix_in_part": (32, "needs all 32 lanes of simdgroup 0 of threadgroup (0, 0, 0), 24 are active"),
}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kernel", DIVERGENT)
def test_divergence(plain: ShaderLibrary, kernel: str, seed: int) -> None:
    threads, expected = DIVERGENT[kernel]
    text = failure(plain, kernel, buffers=[floats(threads)], threads=threads, seed=seed)
    assert text.startswith(f"kernel '{kernel}': ")
    assert expected in text
    expect_line(text, kernel)


OUTSIDE: dict[str, tuple[list[int], dict[str, Any], str]] = {
    "read_out_of_bounds": (
        [32, 32],
        {},
        "reads 4 bytes at offset 128 of buffer 0 (`in`), which has 128 bytes",
    ),
    "write_out_of_bounds": (
        [32],
        {},
        "writes 4 bytes at offset 128 of buffer 0 (`out`), which has 128 bytes",
    ),
    "read_before_start": ([32, 32], {}, "of buffer 0 (`in`), which has 128 bytes"),
    "vector_past_end": (
        [124, 32],
        {},
        "reads 16 bytes at offset 496 of buffer 0 (`in`), which has 496 bytes",
    ),
    "threadgroup_out_of_bounds": (
        [32],
        {"threadgroup_bytes": [64]},
        "at offset 64 of threadgroup memory `block`",
    ),
    "static_out_of_bounds": ([32], {}, "at offset 64 of threadgroup memory `tile`, which has 64 bytes"),
}


@pytest.mark.parametrize("kernel", OUTSIDE)
def test_out_of_bounds(instrumented: ShaderLibrary, kernel: str) -> None:
    sizes, more, expected = OUTSIDE[kernel]
    text = failure(instrumented, kernel, buffers=[floats(n) for n in sizes], **more)
    assert "out of bounds: thread " in text
    assert expected in text
    expect_line(text, kernel)


@pytest.mark.parametrize("kernel", OUTSIDE)
def test_out_of_bounds_with_address_sanitizer(asan: ShaderLibrary, kernel: str) -> None:
    sizes, more, _ = OUTSIDE[kernel]
    text = failure(asan, kernel, buffers=[floats(n) for n in sizes], **more)
    assert "AddressSanitizer" in text or "runtime error: index 16 out of bounds" in text
    expect_line(text, kernel)


def test_private_array_bounds_with_undefined_behaviour_sanitizer(asan: ShaderLibrary) -> None:
    text = failure(asan, "private_array_bounds", buffers=[np.zeros(32, np.uint32)])
    assert "out of bounds for type" in text
    expect_line(text, "private_array_bounds")


def test_the_child_process_goes_on_after_a_report(asan: ShaderLibrary) -> None:
    failure(asan, "write_out_of_bounds", buffers=[floats(32)])
    source, out = np.arange(32, dtype=np.float32), floats(32)
    asan.run("copy", buffers=[source, out])
    np.testing.assert_array_equal(out, source)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(
    "kernel",
    [
        "uninitialised_threadgroup",
        "uninitialised_in_next_group",
        "uninitialised_accumulator",
        "uninitialised_atomic",
    ],
)
def test_uninitialised(instrumented: ShaderLibrary, kernel: str, seed: int) -> None:
    text = failure(instrumented, kernel, buffers=[floats(64)], grid=2 if "next" in kernel else 1, seed=seed)
    assert f"kernel '{kernel}': uninitialised read: thread " in text
    assert "threadgroup memory `tile`, which this threadgroup has not written" in text
    expect_line(text, kernel)


def test_threadgroup_variable_of_another_kernel(plain: ShaderLibrary) -> None:
    text = failure(plain, "calls_another_kernel", buffers=[floats(32)])
    assert "threadgroup variable `tile` (line " in text
    assert "belongs to another kernel" in text


def test_misaligned_vector(instrumented: ShaderLibrary, asan: ShaderLibrary) -> None:
    text = failure(instrumented, "misaligned_vector", buffers=[floats(64), floats(32)])
    assert "misaligned access: thread 1 " in text
    expect_line(text, "misaligned_vector")
    text = failure(asan, "misaligned_vector", buffers=[floats(64), floats(32)])
    assert "misaligned address" in text
    expect_line(text, "misaligned_vector")


def test_misaligned_vector_does_not_crash_a_plain_run(plain: ShaderLibrary) -> None:
    source, out = np.arange(64, dtype=np.float32), floats(32)
    plain.run("misaligned_vector", buffers=[source, out])
    np.testing.assert_array_equal(out, 4 * source[:32] + 6)


def test_write_through_const(instrumented: ShaderLibrary) -> None:
    text = failure(instrumented, "write_through_const", buffers=[floats(32)])
    assert "write to a read-only binding" in text
    expect_line(text, "write_through_const")


def test_overlapping_bindings(instrumented: ShaderLibrary) -> None:
    shared = floats(64)
    text = failure(instrumented, "copy", buffers=[shared[:32], shared[16:48]])
    assert "buffer 0 (`in`) and buffer 1 (`out`) overlap" in text
    instrumented.run("copy", buffers=[shared[:32], shared[32:]])


def test_threadgroup_memory_limit(plain: ShaderLibrary) -> None:
    text = failure(plain, "too_much_threadgroup_memory", buffers=[floats(32)], threadgroup_bytes=[16400])
    assert "32784 bytes of threadgroup memory (16384 of them static), the limit is 32768" in text
    plain.run("too_much_threadgroup_memory", buffers=[floats(32)], threadgroup_bytes=[16384])


def test_threadgroup_length_rules(plain: ShaderLibrary) -> None:
    text = failure(plain, "threadgroup_out_of_bounds", buffers=[floats(32)], threadgroup_bytes=[40])
    assert "threadgroup memory 0 (`block`) has 40 bytes, which is not a multiple of 16" in text
    text = failure(plain, "threadgroup_out_of_bounds", buffers=[floats(32)])
    assert "threadgroup memory 0 (`block`) has no length" in text


def test_thread_limits(plain: ShaderLibrary) -> None:
    text = failure(plain, "copy", buffers=[floats(2048), floats(2048)], threads=(32, 33))
    assert "threads (32, 33, 1) make 1056 in a threadgroup, the limit is 1024" in text
    text = failure(plain, "few_threads", buffers=[floats(96)], threads=96)
    assert "threads (96, 1, 1) make 96 in a threadgroup, the limit is 64" in text
    text = failure(plain, "copy", buffers=[floats(8), floats(8)], grid=(1, 0, 1), threads=8)
    assert "must not be zero" in text


def test_undefined_constant(plain: ShaderLibrary) -> None:
    text = failure(plain, "undefined_constant", buffers=[floats(32)])
    assert "function constant 7 (`missing`) is read" in text
    expect_line(text, "undefined_constant")
    out = floats(32)
    plain.run("undefined_constant", constants={"missing": True}, buffers=[out])
    np.testing.assert_array_equal(out, np.ones(32))


def test_unbound_buffer(plain: ShaderLibrary) -> None:
    out, given, extra = floats(32), np.ones(32, np.float32), np.full(32, 2, np.float32)
    text = failure(plain, "unbound_buffer", constants={8: False}, buffers=[out, None])
    assert text == "kernel 'unbound_buffer': buffer 1 (`in`, device const float*) is not bound"
    text = failure(plain, "unbound_buffer", constants={8: True}, buffers=[out, given])
    assert "buffer 2 (`extra`" in text and "is not bound" in text
    assert "function constant 8" in failure(plain, "unbound_buffer", buffers=[out, given])
    plain.run("unbound_buffer", constants={8: False}, buffers=[out, given])
    np.testing.assert_array_equal(out, given)
    plain.run("unbound_buffer", constants={8: True}, buffers=[out, given, extra])
    np.testing.assert_array_equal(out, given + extra)


def test_short_or_misaligned_params(plain: ShaderLibrary) -> None:
    text = failure(plain, "short_params", buffers=[floats(1), bytes(16)])
    assert "buffer 1 (`params`, constant Params&) has 16 bytes, the argument needs 32" in text
    room = np.zeros(64, np.uint8)
    odd = room[1 - room.ctypes.data % 4 :][:16]
    text = failure(plain, "write_out_of_bounds", buffers=[odd], threads=1)
    assert "is not aligned to 4 bytes" in text


def test_schedules_expose_lockstep(plain: ShaderLibrary) -> None:
    results = []
    for seed in range(8):
        out = floats(32)
        plain.run("depends_on_lockstep", buffers=[out], seed=seed)
        results.append(out.copy())
    lockstep = np.arange(31, -1, -1, dtype=np.float32)
    assert all(not np.array_equal(result, lockstep) for result in results)
    assert len({result.tobytes() for result in results}) >= 3


def test_schedules_shuffle_threadgroups(plain: ShaderLibrary) -> None:
    orders = set()
    for seed in range(6):
        out, last = floats(8), floats(1)
        plain.run("order_of_threadgroups", buffers=[out, last], grid=8, threads=1, seed=seed)
        orders.add(tuple(np.argsort(out, kind="stable")))
        repeated, again = floats(8), floats(1)
        plain.run("order_of_threadgroups", buffers=[repeated, again], grid=8, threads=1, seed=seed)
        np.testing.assert_array_equal(out, repeated)
    assert len(orders) >= 4


def test_driver_rejects_what_it_cannot_bind(plain: ShaderLibrary) -> None:
    with pytest.raises(KeyError, match="no kernel 'copies'"):
        plain.run("copies")
    with pytest.raises(KeyError, match="has no function constant 'causal'"):
        plain.run("copy", constants={"causal": True}, buffers=[floats(1), floats(1)])
    with pytest.raises(KeyError, match="has no buffer 2"):
        plain.run("copy", buffers=[floats(1), floats(1), floats(1)])
    with pytest.raises(ValueError, match=r"buffer 1 \(`out`\) is written"):
        plain.run("copy", buffers=[floats(8), floats(16)[::2]], threads=8)
    with pytest.raises(ValueError, match="one to three counts"):
        plain.run("copy", buffers=[floats(1), floats(1)], grid=(1, 1, 1, 1))
