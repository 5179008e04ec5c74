"""Math, integer, vector and conversion functions of the shim against NumPy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from bfloat_arrays import from_bfloat, to_bfloat
from tools.metal.simt import ShaderLibrary

N = 64
RNG = np.random.default_rng(7)


@pytest.fixture(scope="module")
def library() -> ShaderLibrary:
    return ShaderLibrary(["tests/sim/shaders/functions.metal"])


def fract(x: np.ndarray) -> np.ndarray:
    return x - np.floor(x)


def round_away(x: np.ndarray) -> np.ndarray:
    return np.copysign(np.floor(np.abs(x) + 0.5), x)


UNIT = np.linspace(-0.95, 0.95, N)
WIDE = np.concatenate([np.linspace(-4, 4, N - 6), [0.5, 1.5, 2.5, -0.5, -1.5, 0.0]])
POSITIVE = np.linspace(0.05, 9, N)
UNARY: dict[str, tuple[Callable[[np.ndarray], np.ndarray], np.ndarray]] = {
    "acos": (np.arccos, UNIT), "asin": (np.arcsin, UNIT), "atan": (np.arctan, WIDE), "cos": (np.cos, WIDE),
    "cosh": (np.cosh, WIDE), "exp": (np.exp, WIDE), "exp2": (np.exp2, WIDE),
    "exp10": (lambda x: 10.0**x, UNIT),
    "log": (np.log, POSITIVE), "log2": (np.log2, POSITIVE), "log10": (np.log10, POSITIVE),
    "rsqrt": (lambda x: 1 / np.sqrt(x), POSITIVE), "sin": (np.sin, WIDE), "sinh": (np.sinh, WIDE),
    "sqrt": (np.sqrt, POSITIVE), "tan": (np.tan, UNIT), "tanh": (np.tanh, WIDE), "ceil": (np.ceil, WIDE),
    "fabs": (np.abs, WIDE), "floor": (np.floor, WIDE), "fract": (fract, WIDE), "rint": (np.rint, WIDE),
    "round": (round_away, WIDE), "trunc": (np.trunc, WIDE), "saturate": (lambda x: np.clip(x, 0, 1), WIDE),
    "sign": (np.sign, WIDE), "abs": (np.abs, WIDE),
}  # fmt: skip


def close(actual: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    np.testing.assert_allclose(actual.astype(np.float64), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", UNARY)
def test_unary(library: ShaderLibrary, name: str) -> None:
    function, values = UNARY[name]
    x = values.astype(np.float32)
    out = np.zeros_like(x)
    library.run(f"{name}_float", buffers=[x, out], threads=N)
    close(out, function(x.astype(np.float64)), 2e-6)
    out[:] = 0
    library.run(f"{name}_float4", buffers=[x, out], threads=N // 4)
    close(out, function(x.astype(np.float64)), 2e-6)
    half = values.astype(np.float16)
    half_out = np.zeros_like(half)
    library.run(f"{name}_half", buffers=[half, half_out], threads=N)
    close(half_out, function(half.astype(np.float64)).astype(np.float16).astype(np.float64), 1e-3)


@pytest.mark.parametrize("space", ["fast_exp", "fast_exp2", "fast_log", "fast_tanh", "fast_rsqrt",
                                   "precise_exp", "precise_log", "precise_tanh", "precise_sqrt",
                                   "precise_cos"])  # fmt: skip
def test_precise_and_fast(library: ShaderLibrary, space: str) -> None:
    function = UNARY[space.split("_")[1]][0]
    x = POSITIVE.astype(np.float32)
    out = np.zeros_like(x)
    library.run(space, buffers=[x, out], threads=N)
    close(out, function(x.astype(np.float64)), 2e-6)


def bits_reversed(x: np.ndarray) -> np.ndarray:
    return np.array([int(f"{int(v):032b}"[::-1], 2) for v in x], np.uint32)


def leading_zeros(x: np.ndarray, width: int) -> np.ndarray:
    return np.array([width - int(v).bit_length() for v in x])


def ones(x: np.ndarray) -> np.ndarray:
    return np.array([int(v).bit_count() for v in x])


WORDS = np.concatenate([[0, 1, 0xFFFFFFFF, 0x80000000], RNG.integers(0, 2**32, N - 4)]).astype(np.uint32)
INTEGER_UNARY: dict[str, tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]] = {
    "popcount_uint": (WORDS, ones),
    "popcount_uint4": (WORDS, ones),
    "clz_uint": (WORDS, lambda x: leading_zeros(x, 32)),
    "ctz_uint": (
        WORDS,
        lambda x: np.array([32 if v == 0 else (int(v) & -int(v)).bit_length() - 1 for v in x]),
    ),
    "reverse_bits_uint": (WORDS, bits_reversed),
    "abs_int": (WORDS.view(np.int32)[3:] // 2, np.abs),
    "popcount_ushort": (WORDS.astype(np.uint16), ones),
    "clz_ushort": (WORDS.astype(np.uint16), lambda x: leading_zeros(x, 16)),
    "clz_uchar": (WORDS.astype(np.uint8), lambda x: leading_zeros(x, 8)),
}


@pytest.mark.parametrize("name", INTEGER_UNARY)
def test_integer_unary(library: ShaderLibrary, name: str) -> None:
    x, function = INTEGER_UNARY[name]
    out = np.zeros_like(x)
    library.run(name, buffers=[x, out], threads=x.size // (4 if name.endswith("4") else 1))
    np.testing.assert_array_equal(out, function(x).astype(x.dtype))


X32, Y32, Z32 = (RNG.normal(0, 2, N).astype(np.float32) for _ in range(3))
X16, Y16, Z16 = (v.astype(np.float16) for v in (X32, Y32, Z32))
IX, IY, IZ = (RNG.integers(-1000, 1000, N).astype(np.int32) for _ in range(3))
UX, UY = WORDS, RNG.permutation(WORDS)
BX, BY = UX.astype(np.uint8), UY.astype(np.uint8)
BINARY: dict[str, tuple[np.ndarray, np.ndarray, Callable[[np.ndarray, np.ndarray], np.ndarray]]] = {
    "min_float": (X32, Y32, np.minimum), "max_float": (X32, Y32, np.maximum),
    "pow_float": (np.abs(X32), Y32, np.power),
    "fmod_float": (X32, Y32, np.fmod), "atan2_float": (X32, Y32, np.arctan2),
    "copysign_float": (X32, Y32, np.copysign),
    "fdim_float": (X32, Y32, lambda x, y: np.maximum(x - y, 0)),
    "step_float": (X32, Y32, lambda x, y: (y >= x) * 1.0),
    "min_half": (X16, Y16, np.minimum), "max_half": (X16, Y16, np.maximum),
    "max_half4": (X16, Y16, np.maximum),
    "min_float4": (X32, Y32, np.minimum), "min_int": (IX, IY, np.minimum), "max_uint": (UX, UY, np.maximum),
    "min_short": (IX.astype(np.int16), IY.astype(np.int16), np.minimum),
    "max_ulong": (UX.astype(np.uint64) << 20, UY.astype(np.uint64) << 20, np.maximum),
    "mulhi_uint": (UX, UY, lambda x, y: (x.astype(np.uint64) * y) >> np.uint64(32)),
    "mulhi_int": (IX << 12, IY << 12, lambda x, y: (x.astype(np.int64) * y) >> 32),
    "rotate_uint": (UX, UY % 32, lambda x, y: (x << y) | np.where(y == 0, 0, x >> ((32 - y) % 32))),
    "absdiff_uint": (UX, UY, lambda x, y: np.maximum(x, y) - np.minimum(x, y)),
    "hadd_uint": (UX, UY, lambda x, y: (x.astype(np.uint64) + y) >> np.uint64(1)),
    "addsat_uchar": (BX, BY, lambda x, y: np.minimum(x.astype(int) + y, 255)),
    "subsat_uchar": (BX, BY, lambda x, y: np.maximum(x.astype(int) - y, 0)),
    "mul24_uint": (UX & 0xFFF, UY & 0xFFF, lambda x, y: x * y),
}  # fmt: skip


@pytest.mark.parametrize("name", BINARY)
def test_binary(library: ShaderLibrary, name: str) -> None:
    x, y, function = BINARY[name]
    out = np.zeros_like(x)
    library.run(name, buffers=[x, y, out], threads=N // (4 if name.endswith("4") else 1))
    if x.dtype == np.float32:
        close(out, function(x.astype(np.float64), y.astype(np.float64)), 2e-6)
    else:
        np.testing.assert_array_equal(out, function(x, y).astype(x.dtype))


def smooth(low: np.ndarray, high: np.ndarray, x: np.ndarray) -> np.ndarray:
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


LOW, HIGH = X32 - 1, X32 + np.abs(Y32)
TERNARY: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray, Callable[..., np.ndarray]]] = {
    "fma_float": (X32, Y32, Z32, lambda x, y, z: x * y + z),
    "fma_float4": (X32, Y32, Z32, lambda x, y, z: x * y + z),
    "mix_float": (X32, Y32, Z32, lambda x, y, a: x + (y - x) * a), "clamp_float": (Z32, LOW, HIGH, np.clip),
    "clamp_int": (IZ, IX - 5, IX + 5, np.clip), "clamp_half4": (Z16, X16 - 1, X16 + 1, np.clip),
    "max3_float": (X32, Y32, Z32, lambda x, y, z: np.maximum(np.maximum(x, y), z)),
    "min3_float": (X32, Y32, Z32, lambda x, y, z: np.minimum(np.minimum(x, y), z)),
    "median3_float": (X32, Y32, Z32, lambda *v: np.median(np.stack(v), axis=0)),
    "smoothstep_float": (LOW, HIGH, Z32, smooth),
}  # fmt: skip


@pytest.mark.parametrize("name", TERNARY)
def test_ternary(library: ShaderLibrary, name: str) -> None:
    x, y, z, function = TERNARY[name]
    out = np.zeros_like(x)
    library.run(name, buffers=[x, y, z, out], threads=N // (4 if name.endswith("4") else 1))
    close(out, function(*(v.astype(np.float64) for v in (x, y, z))), 1e-5)


def test_fma_half_rounds_once(library: ShaderLibrary) -> None:
    out = np.zeros_like(X16)
    library.run("fma_half", buffers=[X16, Y16, Z16, out], threads=N)
    exact = X16.astype(np.float64) * Y16.astype(np.float64) + Z16.astype(np.float64)
    np.testing.assert_array_equal(out, exact.astype(np.float16))


def test_floating_point_tests(library: ShaderLibrary) -> None:
    x = np.array([1.5, -2.0, np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-40], np.float32)
    out = np.zeros(8, np.uint32)
    library.run("tests", buffers=[x, out], threads=8)
    normal = np.isfinite(x) & (np.abs(x) >= np.finfo(np.float32).tiny)
    expected = np.isnan(x) * 1 + np.isinf(x) * 2 + np.isfinite(x) * 4 + np.signbit(x) * 8 + normal * 16
    clean = ~np.isnan(x)
    np.testing.assert_array_equal(out[clean], expected[clean])
    assert out[2] & 7 == 1


def test_vectors(library: ShaderLibrary) -> None:
    a, b = RNG.normal(size=(2, 8, 4)).astype(np.float32)
    out = np.zeros((8, 12), np.float32)
    library.run("vectors", buffers=[a, b, out], threads=8)
    a64, b64 = a.astype(np.float64), b.astype(np.float64)
    length = np.sqrt((a64**2).sum(1))
    greater = a > b
    expected = np.stack([
        (a64 * b64).sum(1), length, np.sqrt(((a64 - b64) ** 2).sum(1)), a64[:, 1] / length,
        a64[:, 0] * b64[:, 1] - a64[:, 1] * b64[:, 0], np.where(a < b, b, a)[:, 3],
        np.where(a < b, 2, 1)[:, 0],
        greater.any(1) + 2.0 * greater.all(1), (b64**2).sum(1), np.maximum(a, 0.5)[:, 2],
        np.clip(a, -0.25, 0.25)[:, 0], a64[:, 3],
    ], axis=1)  # fmt: skip
    close(out, expected, 2e-6)


def test_bit_fields(library: ShaderLibrary) -> None:
    out = np.zeros((N, 4), np.uint32)
    library.run("bit_fields", buffers=[WORDS, out], threads=N)
    field = (WORDS >> 3) & 0x7F
    signed = np.where(field >= 64, field.astype(np.int64) - 128, field).astype(np.int32).view(np.uint32)
    inserted = (WORDS & ~np.uint32(0x3F0)) | np.uint32(0x2A << 4)
    mad = ((WORDS & 0xFFFFFF).astype(np.uint64) * 3 + 5).astype(np.uint32)
    np.testing.assert_array_equal(out, np.stack([field, signed, inserted, mad], axis=1))


def test_conversions(library: ShaderLibrary) -> None:
    x = RNG.uniform(-100, 100, (16, 4)).astype(np.float32)
    halves, bfloats = np.zeros((16, 4), np.float16), np.zeros((16, 4), np.uint16)
    ints, chars, bits = np.zeros((16, 4), np.int32), np.zeros((16, 4), np.uint8), np.zeros(16, np.uint32)
    packed, combined = np.zeros((16, 3), np.float32), np.zeros((16, 2), np.float32)
    buffers = [x, halves, bfloats, ints, chars, bits, packed, combined]
    library.run("conversions", buffers=buffers, threads=16)
    np.testing.assert_array_equal(halves, x.astype(np.float16))
    np.testing.assert_array_equal(bfloats, to_bfloat(x))
    np.testing.assert_array_equal(ints, x.astype(np.int32))
    np.testing.assert_array_equal(chars, np.abs(x).astype(np.uint8))
    half_bits = np.ascontiguousarray(x[:, 1]).astype(np.float16).view(np.uint16)
    np.testing.assert_array_equal(bits, np.ascontiguousarray(x[:, 0]).view(np.uint32) ^ half_bits)
    np.testing.assert_array_equal(packed, x[:, :3])
    mixed = np.stack([x[:, 0], x[:, 2], x[:, 3], np.trunc(x[:, 1])], axis=1).astype(np.float64)
    close(combined[:, 0], mixed @ np.array([1.0, 10, 100, 1000]), 1e-5)
    half = x.astype(np.float16)
    narrow = from_bfloat(to_bfloat(x))
    product = from_bfloat(to_bfloat(narrow[:, 0] * narrow[:, 1]))
    expected = (half[:, 0] * half[:, 1] + half[:, 2]).astype(np.float32) + product
    np.testing.assert_array_equal(combined[:, 1], expected)


def test_positions(library: ShaderLibrary) -> None:
    groups, size = (2, 3, 2), (5, 4, 2)
    total = tuple(g * s for g, s in zip(groups, size, strict=True))
    out = np.zeros((total[2], total[1], total[0], 16), np.uint32)
    library.run("positions", buffers=[out], grid=groups, threads=size, seed=3)
    z, y, x = np.meshgrid(*(np.arange(n) for n in total[::-1]), indexing="ij")

    def joined(a: object, b: object, c: object) -> np.ndarray:
        return np.asarray(a) + 1000 * np.asarray(b) + 1000000 * np.asarray(c) + 0 * x

    inside = (x % size[0], y % size[1], z % size[2])
    index = (inside[2] * size[1] + inside[1]) * size[0] + inside[0]
    expected = [
        joined(x, y, z), joined(*inside), joined(x // size[0], y // size[1], z // size[2]), joined(*size),
        joined(*total), joined(*groups), index, index % 32, index // 32, 2 + 0 * x, 32 + 0 * x,
        index % 4, index // 4,
    ]  # fmt: skip
    for column, values in enumerate(expected):
        np.testing.assert_array_equal(out[..., column], values, err_msg=f"column {column}")
