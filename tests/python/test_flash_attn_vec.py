"""What `flash_attn_vec` computes for few query rows, however its keys are split."""

import numpy as np
import pytest

import metalhead as mh
from cases import DTYPES, Dims, check, make_qkv


@pytest.mark.parametrize("query_length", range(1, 17))
def test_every_row_count(device, query_length):
    q, k, v = make_qkv(Dims(query_heads=4, query_length=query_length, kv_length=77))
    check(mh.flash_attn_vec, q, k, v, return_lse=True, device=device)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("head_dim", [64, 80, 96, 128, 256])
def test_types_and_common_head_dims(device, dtype, head_dim):
    dims = Dims(query_heads=8, query_length=1, kv_length=150, head_dim=head_dim, value_dim=head_dim)
    q, k, v = make_qkv(dims, dtype)
    check(mh.flash_attn_vec, q, k, v, return_lse=True, device=device)


@pytest.mark.parametrize("kv_dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("query_length", [1, 4])
def test_narrower_cache(device, kv_dtype, query_length):
    dims = Dims(query_heads=4, query_length=query_length, kv_length=130)
    q, k, v = make_qkv(dims, "float32", kv_dtype)
    check(mh.flash_attn_vec, q, k, v, return_lse=True, device=device)


@pytest.mark.parametrize("splits", [1, 2, 3, 5, 8, 16, 64])
@pytest.mark.parametrize("kv_length", [1, 2, 7, 100])
def test_splits(device, splits, kv_length):
    """Also more splits than keys: a worker without keys adds nothing."""
    q, k, v = make_qkv(Dims(query_heads=4, query_length=3, kv_length=kv_length))
    check(mh.flash_attn_vec, q, k, v, splits=splits, return_lse=True, device=device)


@pytest.mark.parametrize("splits", [None, 1, 4])
def test_splits_with_every_feature(device, splits):
    dims = Dims(batch=2, query_heads=4, query_length=4, kv_length=90)
    q, k, v = make_qkv(dims)
    check(
        mh.flash_attn_vec,
        q,
        k,
        v,
        splits=splits,
        window_size=(30, 1),
        softcap=3.0,
        mask=np.random.default_rng(1).random((2, 1, 4, 90)) < 0.8,
        alibi_slopes=np.array([0.5, 0.25, 0.125, 0.0], np.float32),
        sinks=np.array([0.0, 1.0, -2.0, 3.0], np.float32),
        kv_lengths=[90, 41],
        ring_start=[17, 0],
        return_lse=True,
        device=device,
    )


@pytest.mark.parametrize(
    ("query_heads", "kv_heads"), [(1, 1), (32, 8), (16, 8), (8, 1), (7, 7), (12, 4), (20, 1)]
)
def test_head_groups(device, query_heads, kv_heads):
    dims = Dims(
        query_heads=query_heads, kv_heads=kv_heads, query_length=2, kv_length=61, head_dim=32, value_dim=32
    )
    check(mh.flash_attn_vec, *make_qkv(dims), device=device)


@pytest.mark.parametrize(("head_dim", "value_dim"), [(192, 128), (576, 512), (100, 12)])
def test_value_dim_differs(device, head_dim, value_dim):
    dims = Dims(
        query_heads=4, kv_heads=1, query_length=1, kv_length=70, head_dim=head_dim, value_dim=value_dim
    )
    check(mh.flash_attn_vec, *make_qkv(dims), device=device)


@pytest.mark.parametrize("window_size", [0, 1, 20, 500, (5, -1), (-1, 1)])
@pytest.mark.parametrize("causal", [True, False])
def test_windows(device, window_size, causal):
    q, k, v = make_qkv(Dims(query_heads=4, query_length=5, kv_length=120))
    check(mh.flash_attn_vec, q, k, v, window_size=window_size, causal=causal, return_lse=True, device=device)


def test_ragged_lengths(device):
    lengths = [1, 2, 16, 33, 64, 100]
    q, k, v = make_qkv(Dims(batch=6, query_heads=4, query_length=2, kv_length=100))
    check(mh.flash_attn_vec, q, k, v, kv_lengths=lengths, return_lse=True, device=device)
    check(mh.flash_attn_vec, q, k, v, kv_lengths=np.array(lengths, np.int32), device=device)
    check(mh.flash_attn_vec, q, k, v, kv_lengths=np.array(lengths, np.int64), device=device)


@pytest.mark.parametrize("ring_start", [0, 1, 31, 32, 59, [0, 59], [13, 40]])
@pytest.mark.parametrize("kv_lengths", [None, [60, 60], [35, 60], [5, 1]])
def test_rings(device, ring_start, kv_lengths):
    q, k, v = make_qkv(Dims(batch=2, query_heads=4, query_length=2, kv_length=60))
    keywords = {"ring_start": ring_start, "kv_lengths": kv_lengths}
    check(mh.flash_attn_vec, q, k, v, window_size=25, device=device, **keywords)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kv_length", [1000, 4096, 10007])
@pytest.mark.heavy
def test_long_caches(device, dtype, kv_length):
    dims = Dims(query_heads=8, query_length=1, kv_length=kv_length, head_dim=128, value_dim=128)
    q, k, v = make_qkv(dims, dtype)
    check(mh.flash_attn_vec, q, k, v, return_lse=True, device=device)
    check(mh.flash_attn_vec, q, k, v, window_size=511, device=device)


@pytest.mark.heavy
@pytest.mark.parametrize("query_heads", [1, 2, 8])
def test_equal_weights_over_a_long_cache(device, query_heads):
    """In one split: a value added to a running sum over all keys is rounded too often."""
    for seed in range(3):
        q, k, v = make_qkv(Dims(1, query_heads, 1, 1, 20000, 128, 128), seed=seed)
        check(mh.flash_attn_vec, 0 * q, k, v, splits=1, device=device, context=f"seed {seed}")


def test_zero_queries_give_an_empty_result(device):
    q, k, v = make_qkv(Dims(query_length=0))
    out, lse = mh.flash_attn_vec(q, k, v, return_lse=True, device=device)
    assert out.shape == (1, 2, 0, 64)
    assert lse.shape == (1, 2, 0)


def test_rank_three_means_batch_one(device):
    q, k, v = make_qkv(Dims(query_heads=4, query_length=1))
    whole = mh.flash_attn_vec(q, k, v, device=device)
    assert np.array_equal(mh.flash_attn_vec(q[0], k[0], v[0], device=device), whole[0])
