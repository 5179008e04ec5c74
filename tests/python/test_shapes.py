"""Attention at random shapes, at the edges of tiles and at every head_dim."""

import numpy as np
import pytest
from hypothesis import strategies as st

import metalhead as mh
from cases import Dims, check, for_examples, make_qkv, random_array

EDGES = [1, 2, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 256, 257, 1000]
SMALLEST_DIM, LARGEST_DIM = 8, 576


@pytest.mark.parametrize("kv_length", EDGES)
def test_edges_of_kv_length(device, budget, kv_length):
    if kv_length > 8 * budget.max_length:
        pytest.skip("too long for this device")
    for query_length in (1, 3):
        q, k, v = make_qkv(Dims(query_heads=4, query_length=query_length, kv_length=kv_length))
        for operation in (mh.sdpa, mh.flash_attn_vec):
            check(operation, q, k, v, return_lse=True, device=device)
            check(operation, q, k, v, window_size=kv_length // 2, device=device)


@pytest.mark.parametrize("query_length", EDGES[:-1])
def test_edges_of_query_length(device, budget, query_length):
    if query_length > budget.max_length:
        pytest.skip("too long for this device")
    q, k, v = make_qkv(Dims(query_length=query_length, kv_length=query_length, head_dim=32, value_dim=32))
    check(mh.sdpa, q, k, v, return_lse=True, device=device)
    check(mh.sdpa, q, k, v, window_size=(query_length // 3, 5), causal=False, device=device)
    q, k, v = make_qkv(
        Dims(query_length=query_length, kv_length=query_length + 21, head_dim=32, value_dim=32)
    )
    check(mh.sdpa, q, k, v, device=device)


@pytest.mark.parametrize("first", range(SMALLEST_DIM, LARGEST_DIM + 1, 32))
def test_every_head_dim(device, budget, first):
    """K and V of that width; sdpa and flash_attn_vec in turn."""
    for head_dim in budget.thin(range(first, min(first + 32, LARGEST_DIM + 1))):
        dims = Dims(
            query_heads=2, kv_heads=1, query_length=3, kv_length=19, head_dim=head_dim, value_dim=head_dim
        )
        q, k, v = make_qkv(dims)
        check(mh.sdpa, q, k, v, device=device)
        check(mh.flash_attn_vec, q, k, v, device=device)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("head_dim", [8, 9, 13, 20, 36, 44, 100, 120, 575, 576])
def test_head_dims_in_16_bits(device, dtype, head_dim):
    dims = Dims(
        query_heads=2, kv_heads=1, query_length=2, kv_length=35, head_dim=head_dim, value_dim=head_dim
    )
    q, k, v = make_qkv(dims, dtype)
    check(mh.sdpa, q, k, v, device=device)
    check(mh.flash_attn_vec, q, k, v, device=device)


@st.composite
def problems(draw, max_length, max_rows):
    """Sizes, a dtype and keywords of one attention problem."""
    kv_heads = draw(st.integers(1, 3))
    dims = Dims(
        batch=draw(st.integers(1, 3)),
        query_heads=kv_heads * draw(st.integers(1, 5)),
        kv_heads=kv_heads,
        query_length=draw(st.integers(1, max_rows)),
        kv_length=draw(st.integers(1, max_length)),
        head_dim=draw(st.sampled_from([8, 16, 32, 40, 64, 80, 128]) | st.integers(8, 160)),
        value_dim=draw(st.sampled_from([8, 32, 64, 128]) | st.integers(8, 160)),
    )
    keywords = {"causal": draw(st.booleans()), "return_lse": draw(st.booleans())}
    if draw(st.booleans()):
        keywords["window_size"] = (draw(st.integers(-1, max_length)), draw(st.integers(-1, 20)))
    if draw(st.booleans()):
        keywords["softcap"] = draw(st.sampled_from([0.5, 2.0, 30.0]))
    if draw(st.booleans()):
        keywords["kv_lengths"] = draw(
            st.lists(st.integers(1, dims.kv_length), min_size=dims.batch, max_size=dims.batch)
        )
    if draw(st.booleans()):
        keywords["ring_start"] = draw(st.integers(0, dims.kv_length - 1))
    if draw(st.booleans()):
        keywords["alibi_slopes"] = np.abs(random_array(1, (dims.query_heads,), spread=0.1))
    if draw(st.booleans()):
        keywords["sinks"] = random_array(2, (dims.query_heads,))
    mask = draw(st.sampled_from([None, "boolean", "additive"]))
    if mask is not None:
        full = (dims.batch, dims.query_heads, dims.query_length, dims.kv_length)
        shape = [size if draw(st.booleans()) else 1 for size in full]
        values = random_array(3, shape)
        keywords["mask"] = values > -0.8 if mask == "boolean" else values
    return dims, draw(st.sampled_from(["float32", "float16", "bfloat16"])), keywords


def test_random_problems(device, budget):
    def body(problem):
        dims, dtype, keywords = problem
        check(mh.sdpa, *make_qkv(dims, dtype), device=device, **keywords)

    for_examples(budget, problems(budget.max_length, budget.max_length // 3), body)


def test_random_few_rows(device, budget):
    def body(problem):
        (dims, dtype, keywords), splits = problem
        check(mh.flash_attn_vec, *make_qkv(dims, dtype), splits=splits, device=device, **keywords)

    splits = st.none() | st.integers(1, 12)
    for_examples(budget, st.tuples(problems(2 * budget.max_length, 16), splits), body)
