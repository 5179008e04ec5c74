"""The oracle itself: against the formula in scalar loops, and the codec against numbers that are known."""

import math

import numpy as np
import pytest

from cases import Dims, make_qkv, random_array
from metalhead import reference


def attend_by_loops(q, k, v, *, scale, causal, left, right, softcap, slopes, sinks, mask, lengths, starts):
    """The definition, one scalar at a time; ``[batch, heads, length, dim]`` arrays and per-sequence lists."""
    batch, query_heads, query_length, _ = q.shape
    out = np.zeros((*q.shape[:3], v.shape[3]))
    lse = np.full(q.shape[:3], -np.inf)
    for b, h, i in np.ndindex(batch, query_heads, query_length):
        head = h // (query_heads // k.shape[1])
        p = lengths[b] - query_length + i
        terms = []
        for j in range(lengths[b]):
            row = (starts[b] + j) % k.shape[2]
            seen = (not causal or j <= p) and (left < 0 or p - left <= j) and (right < 0 or j <= p + right)
            if not seen:
                continue
            s = scale * sum(float(x) * float(y) for x, y in zip(q[b, h, i], k[b, head, row], strict=True))
            s = softcap * math.tanh(s / softcap) if softcap else s
            s += float(mask[b, h, i, j]) - slopes[h] * (p - j)
            terms.append((math.exp(s), v[b, head, row].astype(np.float64)))
        if terms:
            total = sum(weight for weight, _ in terms)
            out[b, h, i] = sum(weight * value for weight, value in terms) / (total + math.exp(sinks[h]))
            lse[b, h, i] = math.log(total)
    return out, lse


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(("left", "right"), [(-1, -1), (3, 0), (2, 2), (-1, 1), (4, -1)])
@pytest.mark.parametrize("softcap", [0.0, 1.5])
def test_attention_is_its_formula(causal, left, right, softcap):
    dims = Dims(batch=2, query_heads=4, kv_heads=2, query_length=5, kv_length=11, head_dim=8, value_dim=9)
    q, k, v = make_qkv(dims)
    slopes, sinks = np.abs(random_array(3, (4,))).tolist(), random_array(4, (4,)).tolist()
    mask = random_array(5, (2, 4, 5, 11))
    lengths, starts = [11, 3], [4, 9]
    shared = {"scale": 0.4, "causal": causal, "softcap": softcap, "sinks": sinks, "mask": mask}
    expected = attend_by_loops(
        q, k, v, left=left, right=right, slopes=slopes, lengths=lengths, starts=starts, **shared
    )
    actual = reference.sdpa(
        q,
        k,
        v,
        window_size=(left, right),
        alibi_slopes=slopes,
        kv_lengths=lengths,
        ring_start=starts,
        return_lse=True,
        **shared,
    )
    np.testing.assert_allclose(actual[0], expected[0], rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(actual[1], expected[1], rtol=1e-12, atol=1e-14)


def test_a_boolean_mask_is_an_additive_one_of_minus_infinity():
    q, k, v = make_qkv(Dims())
    keep = np.random.default_rng(0).random((4, 33)) < 0.5
    keep[2] = False
    dropped = reference.sdpa(q, k, v, mask=keep)
    assert np.array_equal(reference.sdpa(q, k, v, mask=np.where(keep, 0, -np.inf)), dropped)
    assert not dropped[:, :, 2].any()


def test_plain_float32_rounds_to_the_type_of_the_output():
    q, k, v = make_qkv(Dims(), "float16")
    assert reference.plain_float32(q, k, v).dtype == np.float16
    assert reference.plain_float32(q, k, v, out_dtype=np.float32).dtype == np.float32
    np.testing.assert_allclose(
        reference.plain_float32(q, k, v, out_dtype=np.float32), reference.sdpa(q, k, v), rtol=1e-4, atol=1e-6
    )


def test_merging_is_its_formula():
    outs, lses = random_array(0, (3, 2, 4)), random_array(1, (3, 2))
    out, lse = reference.merge_attention(outs, lses, return_lse=True)
    weights = np.exp(lses.astype(np.float64))
    np.testing.assert_allclose(lse, np.log(weights.sum(axis=0)), rtol=1e-12)
    np.testing.assert_allclose(
        out, (weights[..., None] * outs).sum(0) / weights.sum(0)[..., None], rtol=1e-12
    )


@pytest.mark.parametrize(
    ("bits", "error"), [(2, 0.117482), (3, 0.0345478), (4, 0.00950101), (5, 0.00250467), (6, 0.000644240)]
)
def test_codebooks_are_the_optimum(bits, error):
    levels = reference.codebook(bits)
    edges = np.concatenate([[-np.inf], (levels[:-1] + levels[1:]) / 2, [np.inf]])
    mass = np.diff([math.erf(x / math.sqrt(2)) / 2 for x in edges])
    moment = -np.diff(np.exp(-(edges**2) / 2) / math.sqrt(2 * math.pi))
    assert np.abs(levels * mass - moment).max() < 1e-14
    assert 1 - (levels**2 * mass).sum() == pytest.approx(error, rel=1e-5)


def test_four_bit_levels_are_the_published_ones():
    half = [0.1283950, 0.3880483, 0.6567591, 0.9423405, 1.2562312, 1.6180464, 2.0690172, 2.7325896]
    np.testing.assert_allclose(reference.codebook(4), [-x for x in reversed(half)] + half, atol=5.1e-8)


@pytest.mark.parametrize("head_dim", [32, 128, 512])
@pytest.mark.parametrize("seed", [None, 0, 2**64 - 1])
def test_rotation_is_orthonormal(head_dim, seed):
    matrix = reference.hadamard(np.eye(head_dim), seed=seed)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(head_dim), atol=1e-12)
    np.testing.assert_allclose(
        reference.hadamard(matrix, seed=seed, inverse=True), np.eye(head_dim), atol=1e-12
    )
    parity = [[(i & j).bit_count() % 2 for j in range(head_dim)] for i in range(head_dim)]
    natural = (1 - 2 * np.array(parity)) / math.sqrt(head_dim)
    signs = reference.splitmix64_signs(seed, head_dim)
    np.testing.assert_allclose(matrix, signs[:, None] * natural, atol=1e-12)


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 8])
def test_packing_by_hand(bits):
    """Coordinate 0 is in the low bits of the first byte of a plane, the high bits in the first plane."""
    values = np.zeros(32, np.uint8)
    values[1] = 2**bits - 1
    planes = {2: {0: 0b1100}, 3: {0: 0b1100, 8: 0b10}, 4: {0: 0xF0}, 5: {0: 0xF0, 16: 0b10}}
    planes |= {6: {0: 0xF0, 16: 0b1100}, 8: {1: 0xFF}}
    packed = reference.pack(values, bits)
    assert packed.shape == (32 * bits // 8,)
    assert {int(i): int(packed[i]) for i in np.flatnonzero(packed)} == planes[bits]
    everything = np.random.default_rng(bits).integers(0, 2**bits, (3, 64)).astype(np.uint8)
    assert np.array_equal(reference.unpack(reference.pack(everything, bits), bits), everything)


@pytest.mark.parametrize("norm", ["plain", "corrected", "unbiased"])
@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 8])
def test_the_three_norms_keep_what_they_promise(bits, norm):
    x = random_array(bits, (200, 64)).astype(np.float64)
    packed = reference.tq_encode(x, reference.Format(bits, 64, norm=norm, norm_dtype="float32"))
    decoded = reference.tq_decode(packed)
    length, inner = (decoded**2).sum(1) / (x**2).sum(1), (decoded * x).sum(1) / (x**2).sum(1)
    if norm == "corrected":
        np.testing.assert_allclose(length, 1, atol=1e-6)
    if norm == "unbiased":
        np.testing.assert_allclose(inner, 1, atol=1e-6)
    if norm == "plain" and bits != 8:
        np.testing.assert_allclose(packed.norms, np.sqrt((x**2).sum(1)), rtol=1e-6)


def test_zero_vectors_and_rejected_vectors():
    packed = reference.tq_encode(np.zeros((2, 32)), reference.Format(4, 32))
    assert np.array_equal(reference.unpack(packed.codes, 4), np.full((2, 32), 7))
    assert not packed.norms.any()
    assert not reference.tq_decode(packed).any()
    with pytest.raises(ValueError, match="finite"):
        reference.tq_encode(np.full((1, 32), np.nan), reference.Format(4, 32))
    with pytest.raises(ValueError, match="float32 norms"):
        reference.tq_encode(np.full((1, 32), 1e6), reference.Format(4, 32))


@pytest.mark.parametrize("rotated", [False, True])
def test_packed_attention_is_attention_over_decoded_tensors(rotated):
    q, k, v = make_qkv(Dims(query_heads=4))
    form = reference.Format(3, 64, seed=5)
    packed = [reference.tq_encode(x, form) for x in (k, v)]
    expected = reference.sdpa(q, *(reference.tq_decode(x) for x in packed))
    if not rotated:
        actual = reference.tq_attention(q, *packed)
    else:
        turned = reference.tq_attention(reference.hadamard(q, seed=5), *packed, rotated=True)
        actual = reference.hadamard(turned, seed=5, inverse=True)
    np.testing.assert_allclose(actual, expected, atol=1e-12)
