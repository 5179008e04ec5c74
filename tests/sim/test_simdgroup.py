"""simdgroup and quadgroup functions, matrices and atomics against NumPy, in several schedules and modes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from bfloat_arrays import from_bfloat, to_bfloat
from tools.metal.build import Mode
from tools.metal.simt import ShaderLibrary

SEEDS = (0, 1, 2, 3)
DTYPES = {"float": np.float32, "half": np.float16, "int": np.int32, "float4": np.float32}
LANE = np.arange(32)
QUAD = LANE & ~3
SHADER = "tests/sim/shaders/simdgroup.metal"


@pytest.fixture(scope="module", params=["plain", "instrumented"])
def library(request: pytest.FixtureRequest) -> ShaderLibrary:
    mode: Mode = request.param
    return ShaderLibrary([SHADER], mode)


def spread(reduced: np.ndarray, x: np.ndarray) -> np.ndarray:
    return np.broadcast_to(reduced, x.shape)


def by_quad(function: Callable[..., np.ndarray], x: np.ndarray) -> np.ndarray:
    rows = x.reshape(-1, 8, 4, *x.shape[2:])
    return np.broadcast_to(function(rows, axis=2, keepdims=True), rows.shape).reshape(x.shape)


def exclusive(x: np.ndarray) -> np.ndarray:
    return np.cumsum(x, axis=1) - x


# Each takes x [simdgroups, 32, ...] and the uniform argument n, and gives the same shape.
REFERENCES: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {
    "simd_sum": lambda x, n: spread(x.sum(1, keepdims=True), x),
    "simd_max": lambda x, n: spread(x.max(1, keepdims=True), x),
    "simd_min": lambda x, n: spread(x.min(1, keepdims=True), x),
    "simd_product": lambda x, n: spread(x.prod(1, keepdims=True), x),
    "simd_shuffle": lambda x, n: x[:, np.full(32, n)],
    "simd_shuffle_xor": lambda x, n: x[:, LANE ^ n],
    "simd_shuffle_up": lambda x, n: x[:, np.where(n <= LANE, LANE - n, LANE)],
    "simd_shuffle_down": lambda x, n: x[:, np.where(LANE + n < 32, LANE + n, LANE)],
    "simd_shuffle_rotate_up": lambda x, n: x[:, (LANE - n) % 32],
    "simd_shuffle_rotate_down": lambda x, n: x[:, (LANE + n) % 32],
    "simd_broadcast": lambda x, n: x[:, np.full(32, n)],
    "simd_broadcast_first": lambda x, n: x[:, np.zeros(32, int)],
    "simd_prefix_inclusive_sum": lambda x, n: np.cumsum(x, axis=1),
    "simd_prefix_exclusive_sum": lambda x, n: exclusive(x),
    "quad_sum": lambda x, n: by_quad(np.sum, x),
    "quad_max": lambda x, n: by_quad(np.max, x),
    "quad_broadcast": lambda x, n: x[:, QUAD | (n & 3)],
    "quad_shuffle_xor": lambda x, n: x[:, QUAD | ((LANE ^ n) & 3)],
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", REFERENCES)
def test_lane_function(library: ShaderLibrary, name: str, dtype: str) -> None:
    rng = np.random.default_rng(len(name))
    width = (4,) if dtype == "float4" else ()
    # Small integers and signs keep sums and products exact in every type.
    values = (
        rng.choice([-1, 1], (4, 32, *width))
        if name == "simd_product"
        else rng.integers(-9, 10, (4, 32, *width))
    )
    x = values.astype(DTYPES[dtype])
    for n, seed in zip((0, 1, 5, 31), SEEDS, strict=True):
        out = np.zeros_like(x)
        library.run(f"{name}_{dtype}", buffers=[x, out, np.uint16(n)], grid=2, threads=64, seed=seed)
        expected = REFERENCES[name](values.astype(np.float64), n)
        np.testing.assert_array_equal(out.astype(np.float64), expected, err_msg=f"n={n} seed={seed}")


@pytest.mark.parametrize("kind", ["inclusive", "exclusive"])
def test_prefix_product(library: ShaderLibrary, kind: str) -> None:
    x = np.where(LANE % 5 == 0, 2, -1).astype(np.float32)
    out = np.zeros_like(x)
    library.run(f"simd_prefix_{kind}_product_float", buffers=[x, out, np.uint16(0)], threads=32)
    product = np.cumprod(x)
    np.testing.assert_array_equal(
        out, product if kind == "inclusive" else np.concatenate([[1], product[:-1]])
    )


@pytest.mark.parametrize(
    "name, ufunc", [("and", np.bitwise_and), ("or", np.bitwise_or), ("xor", np.bitwise_xor)]
)
def test_bit_reduction(library: ShaderLibrary, name: str, ufunc: np.ufunc) -> None:
    x = (np.random.default_rng(3).integers(0, 2**31, 32) | 0x1001).astype(np.int32)
    out = np.zeros_like(x)
    library.run(f"simd_{name}_int", buffers=[x, out, np.uint16(0)], threads=32)
    np.testing.assert_array_equal(out, np.full(32, ufunc.reduce(x)))


def test_votes(library: ShaderLibrary) -> None:
    x = np.zeros((3, 32), np.int32)
    x[0] = 1
    x[1, [0, 1, 2, 3, 9]] = 1
    out = np.zeros((3, 32, 4), np.uint32)
    library.run("votes", buffers=[x, out], grid=3, threads=32)
    odd = x.astype(bool)
    ballot = (odd * (np.uint64(1) << LANE.astype(np.uint64))).sum(1).astype(np.uint32)
    quads = odd.reshape(3, 8, 4)
    quad_all, quad_any = (np.repeat(f(quads, 2), 4, axis=1) for f in (np.all, np.any))
    np.testing.assert_array_equal(out[..., 0], np.repeat(ballot[:, None], 32, 1))
    expected = odd.all(1)[:, None] + 2 * odd.any(1)[:, None] + 4 * quad_all + 8 * quad_any
    np.testing.assert_array_equal(out[..., 1], expected)
    np.testing.assert_array_equal(out[..., 2], np.tile(LANE == 0, (3, 1)))
    np.testing.assert_array_equal(out[..., 3], np.repeat(odd.any(1)[:, None] + 2, 32, 1))


def test_reduction_skips_returned_lanes(library: ShaderLibrary) -> None:
    x, out = np.arange(32, dtype=np.float32), np.zeros(32, np.float32)
    library.run("after_return", buffers=[x, out], threads=32, seed=5)
    np.testing.assert_array_equal(out, np.where(LANE < 20, x[:20].sum(), 0))


def element_positions() -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the two elements of each lane, from the published layout: quads of 2x4 blocks."""
    rows, columns = np.zeros((32, 2), int), np.zeros((32, 2), int)
    for lane in range(32):
        quad, inside = divmod(lane, 4)
        block_row = [0, 2, 0, 2, 4, 6, 4, 6][quad]
        block_column = [0, 0, 4, 4, 0, 0, 4, 4][quad]
        rows[lane] = block_row + inside // 2
        columns[lane] = block_column + 2 * (inside % 2) + np.arange(2)
    return rows, columns


@pytest.mark.parametrize("kind", ["float", "half", "bfloat", "half_half"])
def test_matrix(library: ShaderLibrary, kind: str) -> None:
    rng = np.random.default_rng(11)
    stride = 13
    a, b = (rng.integers(-4, 5, (12, stride)).astype(np.float32) for _ in range(2))
    out_type = np.float16 if kind == "half_half" else np.float32
    stored = [
        to_bfloat(m) if kind == "bfloat" else m.astype(np.float16 if "half" in kind else np.float32)
        for m in (a, b)
    ]
    for seed in SEEDS:
        out = np.zeros(256, out_type)
        counters = library.run(
            f"matrix_{kind}", buffers=[*stored, out, np.uint32(stride)], threadgroup_bytes=[256], seed=seed
        )
        left, right = a[2:10, 1:9], b[:8, :8]
        total = left @ right + 1
        np.testing.assert_array_equal(out[:64].reshape(8, 8), total)
        np.testing.assert_array_equal(out[64:128].reshape(8, 8), (left @ right.T).T)
        np.testing.assert_array_equal(out[128:192].reshape(8, 8), 6 * np.eye(8))
        rows, columns = element_positions()
        np.testing.assert_array_equal(out[192:].reshape(32, 2), total[rows, columns])
        assert counters.matrix_multiplies == 2


def test_matrix_products_round_like_the_element_type(library: ShaderLibrary) -> None:
    a = from_bfloat(to_bfloat(np.random.default_rng(1).normal(size=(12, 12)).astype(np.float32)))
    out = np.zeros(256, np.float32)
    stored = to_bfloat(a)
    library.run("matrix_bfloat", buffers=[stored, stored.copy(), out, np.uint32(12)], threadgroup_bytes=[256])
    np.testing.assert_allclose(out[:64].reshape(8, 8), a[2:10, 1:9] @ a[:8, :8] + 1, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("seed", SEEDS)
def test_atomics(library: ShaderLibrary, seed: int) -> None:
    x = np.random.default_rng(5).integers(-500, 500, 192).astype(np.int32)
    counters, sums, ints = np.zeros(4, np.uint32), np.zeros(1, np.float32), np.zeros(3, np.int32)
    counted = library.run("atomics", buffers=[counters, sums, ints, x], grid=3, threads=64, seed=seed)
    np.testing.assert_array_equal(counters, [2 * 192, 0xFFFFFFFF, 3 * 192, 77])
    np.testing.assert_array_equal(sums, [96.0])
    np.testing.assert_array_equal(ints, [min(0, x.min()), max(0, x.max()), -192])
    assert counted.atomic_operations > 192 * 7
