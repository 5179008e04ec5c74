"""What `sdpa` and `sdpa_sliding` compute, against numbers by hand and the reference."""

import math

import numpy as np
import pytest

import metalhead as mh
from cases import DTYPES, Dims, check, make_cancelling_qkv, make_qkv, make_rising_qkv


def test_two_keys_by_hand(device):
    q, k, v = (np.zeros((1, 1, n, 8), np.float32) for n in (1, 2, 2))
    q[..., 0] = 2.0
    k[0, 0, :, 0] = 0.0, math.sqrt(8) / 2 * math.log(3)
    v[0, 0, :, 0] = 4.0, 8.0
    out, lse = mh.sdpa(q, k, v, return_lse=True, device=device)
    np.testing.assert_allclose(out[0, 0, 0], [0.25 * 4 + 0.75 * 8] + [0] * 7, rtol=1e-6)
    np.testing.assert_allclose(lse, [[[math.log(4)]]], rtol=1e-6)


def test_every_keyword_by_hand(device):
    """One row that sees keys 1 and 2 of 3: scores 1 and 0, capped, tilted, masked, and a sink."""
    q, k, v = (np.zeros((1, 1, n, 8), np.float32) for n in (1, 3, 3))
    q[..., 0] = 1.0
    k[0, 0, :, 0] = 100.0, 2.0, 0.0
    v[0, 0, :, 0] = 1000.0, 1.0, 3.0
    near, far = 0.5 * math.tanh(0.0), 0.5 * math.tanh(2.0 * 0.5 / 0.5)
    weights = [math.exp(far - 0.25 * 1 + 0.125), math.exp(near - 0.25 * 0 - 0.5)]
    total = sum(weights)
    out, lse = mh.sdpa(
        q,
        k,
        v,
        scale=0.5,
        window_size=1,
        softcap=0.5,
        alibi_slopes=np.array([0.25], np.float32),
        mask=np.array([7.0, 0.125, -0.5], np.float32),
        sinks=np.array([0.75], np.float32),
        return_lse=True,
        device=device,
    )
    expected = (weights[0] * 1 + weights[1] * 3) / (total + math.exp(0.75))
    np.testing.assert_allclose(out[0, 0, 0, 0], expected, rtol=2e-6)
    np.testing.assert_allclose(lse[0, 0, 0], math.log(total), rtol=2e-6)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("query_length", "kv_length"), [(1, 1), (1, 70), (7, 7), (33, 33), (5, 90), (40, 65)]
)
def test_against_the_reference(device, dtype, query_length, kv_length, causal):
    q, k, v = make_qkv(Dims(batch=2, query_length=query_length, kv_length=kv_length), dtype)
    check(mh.sdpa, q, k, v, causal=causal, return_lse=True, device=device)


@pytest.mark.parametrize(
    ("query_heads", "kv_heads"), [(1, 1), (8, 8), (8, 4), (8, 1), (6, 3), (5, 1), (32, 2)]
)
def test_head_groups(device, query_heads, kv_heads):
    q, k, v = make_qkv(
        Dims(query_heads=query_heads, kv_heads=kv_heads, query_length=9, head_dim=32, value_dim=32)
    )
    check(mh.sdpa, q, k, v, device=device)


@pytest.mark.parametrize(
    ("head_dim", "value_dim"), [(192, 128), (576, 512), (64, 8), (8, 64), (24, 100), (40, 33)]
)
def test_value_dim_differs(device, head_dim, value_dim):
    q, k, v = make_qkv(Dims(query_length=3, kv_length=40, head_dim=head_dim, value_dim=value_dim))
    check(mh.sdpa, q, k, v, device=device)


@pytest.mark.heavy
@pytest.mark.parametrize(("head_dim", "query_length", "kv_length"), [(512, 100, 300), (576, 64, 1000)])
def test_long_products_stay_exact(device, head_dim, query_length, kv_length):
    """Scores of high magnitude: products summed in one run of head_dim terms break the accuracy rule."""
    dims = Dims(1, 4, 1, query_length, kv_length, head_dim, head_dim)
    for seed in range(4):
        check(mh.sdpa, *make_qkv(dims, seed=seed), scale=0.3, device=device, context=f"seed {seed}")


@pytest.mark.heavy
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("query_length", [1, 40])
def test_values_that_cancel(device, dtype, query_length):
    dims = Dims(query_heads=4, query_length=query_length, kv_length=4000)
    for seed in range(2):
        check(mh.sdpa, *make_cancelling_qkv(dims, dtype, seed), device=device, context=f"seed {seed}")


@pytest.mark.parametrize("kv_dtype", ["float16", "bfloat16"])
def test_narrower_cache(device, kv_dtype):
    q, k, v = make_qkv(Dims(query_heads=4, query_length=1, kv_length=80), "float32", kv_dtype)
    assert check(mh.sdpa, q, k, v, return_lse=True, device=device)[0].dtype == np.float32


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("query_length", "kv_length"), [(200, 200), (130, 257), (256, 512)])
@pytest.mark.heavy
def test_prefill(device, dtype, query_length, kv_length):
    dims = Dims(query_heads=4, query_length=query_length, kv_length=kv_length, head_dim=128, value_dim=128)
    q, k, v = make_qkv(dims, dtype)
    check(mh.sdpa, q, k, v, return_lse=True, device=device)
    check(mh.sdpa, q, k, v, window_size=50, softcap=4.0, device=device)


def test_rank_three_means_batch_one(device):
    q, k, v = make_qkv(Dims(query_heads=4))
    whole, whole_lse = mh.sdpa(q, k, v, return_lse=True, device=device)
    out, lse = mh.sdpa(q[0], k[0], v[0], return_lse=True, device=device)
    assert out.shape == whole.shape[1:]
    assert lse.shape == whole_lse.shape[1:]
    assert np.array_equal(out, whole[0])
    assert np.array_equal(lse, whole_lse[0])


def test_result_is_a_fresh_contiguous_array(device):
    q, k, v = make_qkv(Dims())
    out = mh.sdpa(q, k, v, device=device)
    assert type(out) is np.ndarray
    assert out.flags.c_contiguous
    assert out.flags.writeable
    again = mh.sdpa(q, k, v, device=device)
    assert not np.shares_memory(out, again)


def test_more_queries_than_keys(device):
    """Rows before the first key see nothing: zeros and -inf, never NaN."""
    q, k, v = make_qkv(Dims(query_length=9, kv_length=4))
    out, lse = check(mh.sdpa, q, k, v, return_lse=True, device=device)
    assert not out[:, :, :5].any()
    assert np.isneginf(lse[:, :, :5]).all()
    assert np.isfinite(lse[:, :, 5:]).all()


@pytest.mark.parametrize("sinks", [None, [0.5, -1.0]])
@pytest.mark.parametrize("kind", ["boolean", "additive"])
def test_rows_masked_out_entirely(device, kind, sinks):
    q, k, v = make_qkv(Dims(query_length=6, kv_length=20))
    keep = np.ones((6, 20), bool)
    keep[[1, 4]] = False
    mask = keep if kind == "boolean" else np.where(keep, 0, -np.inf).astype(np.float32)
    sinks = None if sinks is None else np.array(sinks, np.float32)
    keywords = {"mask": mask, "sinks": sinks, "causal": False, "return_lse": True}
    out, lse = check(mh.sdpa, q, k, v, device=device, **keywords)
    assert not out[:, :, [1, 4]].any()
    assert np.isneginf(lse[:, :, [1, 4]]).all()


def test_zero_queries_give_an_empty_result(device):
    q, k, v = make_qkv(Dims(batch=2, query_length=0, value_dim=16))
    out, lse = mh.sdpa(q, k, v, return_lse=True, device=device)
    assert out.shape == (2, 2, 0, 16)
    assert lse.shape == (2, 2, 0)
    assert out.dtype == np.float32


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("spread", [1e-20, 1e3, 1e15, 1e34])
def test_scores_of_any_size(device, spread, dtype):
    """Huge scores pick the largest key, tiny ones average: both without overflow."""
    q, k, v = make_qkv(Dims(query_length=40, kv_length=100), dtype)
    q = (q * np.float32(spread)).astype(q.dtype)
    out, lse = check(mh.sdpa, q, k, v, causal=False, return_lse=True, device=device)
    assert np.isfinite(out).all()
    assert np.isfinite(lse).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_rising_scores(device, dtype):
    """Each key outweighs those before it: what a row has summed up must shrink all the time."""
    dims = Dims(query_heads=4, query_length=33, kv_length=300, head_dim=64)
    check(mh.sdpa, *make_rising_qkv(dims, dtype), causal=False, return_lse=True, device=device)


@pytest.mark.parametrize("query_length", [1, 300])
def test_small_weights_keep_their_digits(device, query_length):
    """A weight of e^-60 is as exact as its score is in float32."""
    score = np.linspace(-60.0, 0.0, 300, dtype=np.float32)
    q, k, v = (
        np.zeros(shape, np.float32)
        for shape in ((1, 300 // query_length, query_length, 8), (1, 1, 2, 8), (1, 1, 2, 8))
    )
    q[..., 0] = score.reshape(q.shape[1:3])
    k[:, :, 1, 0] = v[:, :, 1] = 1
    weight = np.exp(score, dtype=np.float64)
    out = mh.sdpa(q, k, v, scale=1.0, causal=False, device=device)[..., 0].ravel()
    error = np.abs(out / (weight / (1 + weight)) - 1)
    assert (error < 5e-7 + 1e-7 * np.abs(score)).all(), f"relative error of {error.max()}"


def test_scale_defaults_to_the_inverse_root_of_head_dim(device):
    q, k, v = make_qkv(Dims(head_dim=72, value_dim=16))
    given = mh.sdpa(q, k, v, scale=72**-0.5, device=device)
    assert np.array_equal(mh.sdpa(q, k, v, device=device), given)
    for scale in (0.0, -0.3, 1.5):
        check(mh.sdpa, q, k, v, scale=scale, context=f"scale {scale}", device=device)


@pytest.mark.parametrize("window_size", [0, 1, 6, 15, 32, 1000, (3, 0), (5, 4), (-1, 2)])
def test_sliding_is_sdpa_with_a_window(device, window_size):
    q, k, v = make_qkv(Dims(query_heads=4, query_length=20, kv_length=45))
    out = check(mh.sdpa_sliding, q, k, v, window_size=window_size, device=device)
    assert np.array_equal(out, mh.sdpa(q, k, v, window_size=window_size, device=device))


def test_a_window_counts_distances(device):
    """`window_size=w` shows w + 1 keys: with equal scores the mean of the last w + 1 values."""
    q, k, v = (np.zeros((1, 1, n, 8), np.float32) for n in (10, 10, 10))
    v[...] = np.arange(10, dtype=np.float32)[:, None]
    out = mh.sdpa_sliding(q, k, v, window_size=2, device=device)[0, 0, :, 0]
    np.testing.assert_allclose(out, [0, 0.5, *range(1, 9)], rtol=1e-6)
    both = mh.sdpa(q, k, v, window_size=(2, 1), causal=False, device=device)[0, 0, :, 0]
    np.testing.assert_allclose(both, [0.5, 1, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 8], rtol=1e-6)
