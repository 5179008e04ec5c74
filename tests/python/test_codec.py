"""The TurboQuant codec: its rule, its figures, and its errors."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import codec_rule
import metalhead as mh
from metalhead import reference_codec

ROOT = Path(__file__).parents[2]
BITS = (2, 3, 4, 5, 6, 8)
DIMS = (32, 64, 128, 256, 512)
NORMS = ("plain", "corrected", "unbiased")

# Relative squared error on Gaussian vectors with corrected norms, by head_dim and bits.
FIGURES = {
    (64, 2): 0.1168, (64, 3): 0.0329, (64, 4): 0.00889,
    (128, 2): 0.1191, (128, 3): 0.0339, (128, 4): 0.00920, (128, 5): 0.002425, (128, 6): 6.19e-4,
    (256, 2): 0.1198, (256, 3): 0.0343, (256, 4): 0.00934,
    (512, 2): 0.1205, (512, 3): 0.0346, (512, 4): 0.00944,
}  # fmt: skip
SEARCHED = {2: 0.1181, 3: 0.0324, 4: 0.00817, 5: 0.00205, 6: 5.20e-4}


def gaussian(count, dim, seed=0):
    return np.random.default_rng((seed, dim)).standard_normal((count, dim)).astype(np.float32)


def relative_error(x, decoded, axis=None):
    x, decoded = x.astype(np.float64), np.asarray(decoded).astype(np.float64)
    return ((decoded - x) ** 2).sum(axis) / (x**2).sum(axis)


def unusual_vectors(dim):
    """Vectors on which order of sums, scaling and ties could differ between machines."""
    rng = np.random.default_rng(dim)
    g = gaussian(6, dim, 5)
    j = np.arange(dim)
    rows = [
        np.zeros(dim),
        -np.zeros(dim),
        np.ones(dim),
        (-1.0) ** j,
        j == 3,
        np.where(j == 0, 1e30, g[0] * 1e-10),
        np.where(j % 7 == 0, 1e38, -1e-38) / dim,
        g[1] * 1e35,
        g[2] * 1e-30,
        g[3] * 1e-37,
        g[4] * 1e-40,
        g[5] * 3e-44,
        np.where(j == 1, 1.4e-45, 0.0),
        np.where(j == 1, 1.2e-38, 1e-40),
        rng.integers(-3, 4, dim),
        np.sin(j / 9.0),
        np.exp(rng.standard_normal(dim) * 6),
    ]
    return np.stack([np.asarray(row, np.float64) for row in rows]).astype(np.float32)


# The codebooks


def test_header_is_what_the_tool_writes():
    tool = ROOT / "tools" / "make_codebooks.py"
    done = subprocess.run([sys.executable, tool, "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("bits", BITS)
def test_codebook_matches_the_reference(bits):
    levels = mh.codebook(bits)
    assert levels.dtype == np.float32
    assert levels.shape == (2**bits,)
    np.testing.assert_allclose(levels, reference_codec.codebook(bits), rtol=1e-7, atol=0)
    if bits == 4:
        half = [0.1283950, 0.3880483, 0.6567591, 0.9423405, 1.2562312, 1.6180464, 2.0690172, 2.7325896]
        np.testing.assert_allclose(levels[8:], half, atol=1e-7)


@pytest.mark.parametrize("bits", [0, 1, 7, 9, -4])
def test_codebook_of_other_bits(bits):
    with pytest.raises(ValueError, match=f"bits must be 2, 3, 4, 5, 6 or 8, got {bits}"):
        mh.codebook(bits)


# Codes and norms are what the written rule says, bit for bit


@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("bits", BITS)
def test_rule_bit_for_bit(device, budget, dim, bits):
    x = np.concatenate([gaussian(40, dim), unusual_vectors(dim)])
    for norm, search, seed in budget.thin(list(itertools.product(NORMS, (1, 5, 17), (None, 11)))):
        form = mh.TQFormat(bits, dim, seed, norm, search, "float32")
        packed = mh.tq_encode(x, form, device=device)
        codes, norms = codec_rule.encode(x, form)
        assert np.array_equal(packed.codes, codes), (
            f"{form}: rows {np.nonzero((packed.codes != codes).any(1))[0]}"
        )
        assert np.array_equal(packed.norms, norms), f"{form}: rows {np.nonzero(packed.norms != norms)[0]}"


@pytest.mark.parametrize("search", [1, 5, 17])
@pytest.mark.parametrize("bits", BITS)
def test_the_float64_reference_chooses_the_same_codes(device, bits, search):
    """Up to ties between scales that rounding decides: a vector in a hundred at most."""
    x = gaussian(200, 64, 8)
    form = mh.TQFormat(bits, 64, search=search, norm_dtype="float32")
    packed, expected = mh.tq_encode(x, form, device=device), reference_codec.tq_encode(x, form)
    same = (packed.codes == expected.codes).all(axis=1)
    assert same.mean() >= 0.99, f"{form}: {np.nonzero(~same)[0]} differ"
    np.testing.assert_allclose(packed.norms[same], expected.norms[same], rtol=2e-6)


def instruction_sets():
    return mh.Device("cpu").info()["instruction_sets"].split(", ")


@pytest.mark.parametrize("level", instruction_sets())
@pytest.mark.parametrize("dim", DIMS)
def test_every_instruction_set_gives_the_same_bits(level, dim):
    x = np.concatenate([gaussian(300, dim, 3), unusual_vectors(dim)])
    special = mh.Device("cpu", instruction_set=level, threads=1)
    for bits, norm, search in itertools.product(BITS, NORMS, (1, 5)):
        form = mh.TQFormat(bits, dim, 1, norm, search, "float32")
        ours, usual = mh.tq_encode(x, form, device=special), mh.tq_encode(x, form, device="cpu")
        assert np.array_equal(ours.codes, usual.codes), f"{form} on {level}"
        assert np.array_equal(ours.norms, usual.norms), f"{form} on {level}"


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6])
def test_code_is_the_nearest_level(device, budget, bits):
    """Integer vectors pass the transform exactly, so that u is known without any doubt."""
    dim, levels = 128, mh.codebook(bits).astype(np.float64)
    rng = np.random.default_rng(bits)
    z = np.concatenate([rng.integers(-60, 61, (400, dim)), np.round(rng.standard_normal((400, dim)) * 40)])
    z = z[:: budget.keep_every]
    form = mh.TQFormat(bits, dim, None, "plain", norm_dtype="float32")
    packed = mh.tq_encode(codec_rule.transform(z.astype(np.float32)), form, device=device)
    codes = reference_codec.unpack(packed.codes, bits)
    u = z * np.sqrt(dim) / np.linalg.norm(z, axis=1, keepdims=True)
    distance = np.abs(u[..., None] - levels)
    assert (np.take_along_axis(distance, codes[..., None], 2)[..., 0] <= distance.min(axis=2) + 3e-7).all()
    assert set(np.unique(codes)) == set(range(2**bits))


@pytest.mark.parametrize("bits", BITS)
def test_a_value_on_a_boundary_takes_the_lower_code(device, bits):
    """A constant vector becomes one coordinate and zeros, which lie on the middle boundary."""
    packed = mh.tq_encode(np.ones((1, 64), np.float32), mh.TQFormat(bits, 64, None), device=device)
    codes = reference_codec.unpack(packed.codes, bits)[0]
    assert codes[0] == 2**bits - 1
    assert (codes[1:] == (128 if bits == 8 else 2 ** (bits - 1) - 1)).all()


@pytest.mark.parametrize("bits", BITS)
def test_a_zero_vector(device, bits):
    packed = mh.tq_encode(np.zeros((2, 64), np.float32), mh.TQFormat(bits, 64), device=device)
    assert (reference_codec.unpack(packed.codes, bits) == (128 if bits == 8 else 2 ** (bits - 1) - 1)).all()
    assert (packed.norms == 0).all()
    assert (mh.tq_decode(packed) == 0).all()


# Layout, by hand


@pytest.mark.parametrize(
    ("bits", "planes"), [(2, (2,)), (3, (2, 1)), (4, (4,)), (5, (4, 1)), (6, (4, 2)), (8, (8,))]
)
def test_planes_by_hand(device, bits, planes):
    """Byte k of a plane of w bits holds coordinates 8/w * k and on, ascending; the high bits first."""
    dim = 32
    form = mh.TQFormat(bits, dim, None, "plain", norm_dtype="float32")
    for coordinate, code in [(0, 2**bits - 1), (5, 1), (31, 2**bits // 2), (18, 2**bits - 2)]:
        values = [1 if bits == 8 else 0] * dim
        values[coordinate] = code
        expected, shift = [], bits
        for width in planes:
            shift -= width
            plane = [0] * (dim * width // 8)
            for j, value in enumerate(values):
                plane[j * width // 8] |= (value >> shift & (2**width - 1)) << (j * width % 8)
            expected += plane
        packed = mh.TQTensor(np.array([expected], np.uint8), np.full(1, np.sqrt(dim), np.float32), form)
        decoded = mh.tq_decode(packed, rotated=True)[0]
        np.testing.assert_allclose(decoded, mh.codebook(bits)[values], rtol=1e-6)


def test_older_kernels_layout_by_hand(device):
    """bits 4, no signs, plain float32 norms: low nibble even coordinate, value = level * norm / sqrt(D)."""
    form = mh.TQFormat(4, 32, None, "plain", norm_dtype="float32")
    level = [-2.7325896, -2.0690172, -1.6180464, -1.2562312, -0.9423405, -0.6567591, -0.3880483, -0.1283950]
    level += [-x for x in reversed(level)]
    codes = np.array([[0x10, 0x32, 0x54, 0x76, 0x98, 0xBA, 0xDC, 0xFE] * 2], np.uint8)
    packed = mh.TQTensor(codes, np.array([3.0], np.float32), form)
    by_hand = np.array(level * 2) * 3.0 / np.sqrt(32)
    np.testing.assert_allclose(mh.tq_decode(packed, rotated=True)[0], by_hand, rtol=1e-6)

    x = gaussian(3, 32, 12)
    packed = mh.tq_encode(x, form, device=device)
    for vector, row, norm in zip(x.astype(np.float64), packed.codes, packed.norms, strict=True):
        length = np.sqrt((vector**2).sum())
        y = [sum(v * (-1) ** bin(i & j).count("1") for j, v in enumerate(vector)) for i in range(32)]
        nearest = [min(range(16), key=lambda c: abs(value / length - level[c])) for value in y]
        assert row.tolist() == [
            low | high << 4 for low, high in zip(nearest[::2], nearest[1::2], strict=True)
        ]
        assert norm == pytest.approx(length, rel=1e-6)


# Figures


@pytest.mark.parametrize(("dim", "bits"), FIGURES)
def test_error_on_gaussian_vectors(dim, bits):
    x = gaussian(8192, dim, 1)
    error = relative_error(x, mh.tq_decode(mh.tq_encode(x, mh.TQFormat(bits, dim))), axis=1).mean()
    assert error == pytest.approx(FIGURES[dim, bits], rel=0.015)


@pytest.mark.parametrize("bits", SEARCHED)
def test_error_with_search(bits):
    x = gaussian(8192, 128, 1)
    errors = [
        relative_error(x, mh.tq_decode(mh.tq_encode(x, mh.TQFormat(bits, search=search))), axis=1).mean()
        for search in (1, 5, 17)
    ]
    assert errors[1] == pytest.approx(SEARCHED[bits], rel=0.015)
    assert errors[2] <= errors[1] <= errors[0]


def test_error_of_eight_bits():
    x = gaussian(8192, 128, 1)
    error = relative_error(x, mh.tq_decode(mh.tq_encode(x, mh.TQFormat(8))), axis=1).mean()
    assert error == pytest.approx(4.0e-5, rel=0.1)


def test_corrected_norms_keep_lengths():
    x = gaussian(512, 128, 2) * np.exp(gaussian(512, 128, 4)[:, :1])
    decoded = mh.tq_decode(mh.tq_encode(x, mh.TQFormat(3, norm_dtype="float32")))
    np.testing.assert_allclose(np.linalg.norm(decoded, axis=1), np.linalg.norm(x, axis=1), rtol=1e-5)


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_bias_of_inner_products(bits):
    """Slope of <decoded, x> against <x, x>: 1 - D plain, sqrt(1 - D) corrected, 1 unbiased."""
    x = gaussian(8192, 128, 6)
    slope = {}
    for norm in NORMS:
        decoded = mh.tq_decode(mh.tq_encode(x, mh.TQFormat(bits, norm=norm, norm_dtype="float32")))
        slope[norm] = ((decoded * x).sum(1) / (x * x).sum(1)).mean()
    distortion = {2: 0.116005, 3: 0.0339791, 4: 0.00932486}[bits]
    assert slope["plain"] == pytest.approx(1 - distortion, abs=0.002)
    assert slope["corrected"] == pytest.approx(np.sqrt(1 - distortion), abs=0.002)
    assert slope["unbiased"] == pytest.approx(1, abs=1e-4)


def structured_inputs(dim):
    rng = np.random.default_rng(dim)
    j = np.arange(dim)
    noise = gaussian(64, dim, 8)
    walsh = np.where(
        [[bin(a & b).count("1") % 2 for b in j] for a in range(0, dim, max(1, dim // 16))], -1.0, 1.0
    )
    return {
        "constant": noise * 0.1 + 3,
        "alternating": noise * 0.1 + 3 * (-1.0) ** j,
        "smooth": 3 * np.cos(2 * np.pi * j / dim + rng.random((64, 1))) + 2 * np.sin(6 * np.pi * j / dim),
        "non-negative": np.maximum(noise, 0),
        "one-hot": np.eye(dim)[:: max(1, dim // 32)]
        + 1e-3 * gaussian(32, dim, 3)[: dim // max(1, dim // 32)],
        "Walsh rows": walsh + 0.05 * gaussian(len(walsh), dim, 9),
        "heavy tails": rng.standard_t(3, (64, dim)),
        "outlier channels": noise * np.where(np.isin(j, (1, 7, 9, 20)), 10.0, 1.0),
        "huge": noise * 1e35,
        "denormal": noise * 1e-39,
    }


@pytest.mark.parametrize("dim", [64, 128, 256])
@pytest.mark.parametrize("bits", [2, 3, 4])
def test_structured_inputs(dim, bits):
    """With signs no kind of input is more than twice as bad as Gaussian vectors."""
    for name, x in structured_inputs(dim).items():
        x = x.astype(np.float32)
        errors = [
            relative_error(
                x, mh.tq_decode(mh.tq_encode(x, mh.TQFormat(bits, dim, seed, norm_dtype="float32"))), axis=1
            )
            for seed in range(4)
        ]
        assert np.mean(errors) <= 2 * FIGURES[dim, bits], name


@pytest.mark.parametrize("bits", [3, 4])
def test_without_signs_structured_inputs_fail(bits):
    """The guard of the test above: plain FWHT breaks its bound where data follow a Walsh row."""
    inputs = structured_inputs(128)
    for name in ("constant", "alternating", "Walsh rows"):
        x = inputs[name].astype(np.float32)
        decoded = mh.tq_decode(
            mh.tq_encode(x, mh.TQFormat(bits, seed=None, norm="plain", norm_dtype="float32"))
        )
        assert relative_error(x, decoded, axis=1).mean() > 2 * FIGURES[128, bits], name


# Decoding and rotation
