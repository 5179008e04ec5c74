"""Laws that attention obeys whatever its inputs are."""

import numpy as np
import pytest
from hypothesis import strategies as st

import metalhead as mh
from accuracy import assert_attention_close, assert_lse_close
from cases import DTYPES, Dims, check, for_examples, make_qkv, random_array
from metalhead import reference

OPERATIONS = (mh.sdpa, mh.flash_attn_vec)
EACH_OPERATION = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.__name__)
DIMS = Dims(batch=2, query_heads=4, kv_heads=2, query_length=6, kv_length=70)


def assert_same(actual, other, q, k, v, context, **keywords):
    """Both results obey the accuracy rule for the same problem, so they differ by rounding only."""
    expected = reference.sdpa(q, k, v, **keywords)
    plain = reference.plain_float32(q, k, v, **keywords)
    assert_attention_close(actual, expected, plain, context)
    assert_attention_close(other, expected, plain, context)


@EACH_OPERATION
@pytest.mark.parametrize("window_size", [69, 70, 10_000, (70, 70), (-1, -1), (70, -1), 2**31 - 1, 2**40])
def test_a_window_of_all_keys_is_none(device, operation, window_size):
    q, k, v = make_qkv(DIMS)
    plain = operation(q, k, v, device=device)
    windowed = operation(q, k, v, window_size=window_size, device=device)
    assert_same(windowed, plain, q, k, v, f"window {window_size}")


@pytest.mark.parametrize("dtype", DTYPES)
def test_flash_attn_vec_is_sdpa(device, budget, dtype):
    for query_length in budget.thin(range(1, 17)):
        q, k, v = make_qkv(DIMS._replace(query_length=query_length), dtype)
        few = mh.flash_attn_vec(q, k, v, device=device)
        assert_same(few, mh.sdpa(q, k, v, device=device), q, k, v, f"{query_length} rows")


@EACH_OPERATION
def test_grouped_heads_are_repeated_heads(device, operation):
    q, k, v = make_qkv(DIMS)
    repeated = operation(q, *(np.repeat(x, 2, axis=1) for x in (k, v)), device=device)
    assert_same(operation(q, k, v, device=device), repeated, q, k, v, "repeated heads")


@EACH_OPERATION
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("ring_start", [0, 50, 69])
@pytest.mark.parametrize("junk", [np.nan, np.inf])
def test_rows_past_the_length_are_never_read(device, operation, dtype, ring_start, junk):
    q, k, v = make_qkv(DIMS, dtype)
    lengths = [33, 48]
    for x in (k, v):
        for b, length in enumerate(lengths):
            x[b, :, (ring_start + np.arange(length, 70)) % 70] = 0
    keywords = {"kv_lengths": lengths, "ring_start": ring_start, "return_lse": True, "device": device}
    clean, clean_lse = operation(q, k, v, **keywords)
    for x in (k, v):
        for b, length in enumerate(lengths):
            x[b, :, (ring_start + np.arange(length, 70)) % 70] = junk
    out, lse = operation(q, k, v, **keywords)
    assert np.array_equal(out.view(np.uint8), clean.view(np.uint8))
    assert np.array_equal(lse.view(np.uint8), clean_lse.view(np.uint8))


def test_splits_change_nothing(device):
    q, k, v = make_qkv(DIMS)
    one = mh.flash_attn_vec(q, k, v, splits=1, device=device)
    for splits in (2, 3, 7, 70, None):
        split = mh.flash_attn_vec(q, k, v, splits=splits, device=device)
        assert_same(split, one, q, k, v, f"{splits} splits")


@EACH_OPERATION
def test_merging_any_partition_is_the_whole(device, budget, operation):
    q, k, v = make_qkv(DIMS)
    keywords = {"causal": False, "softcap": 2.0}
    expected, expected_lse = reference.sdpa(q, k, v, return_lse=True, **keywords)
    plain, plain_lse = reference.plain_float32(q, k, v, return_lse=True, **keywords)

    def body(owner):
        shares = [rows for rows in (np.flatnonzero(np.equal(owner, i)) for i in range(4)) if rows.size]
        outs, lses = zip(
            *(
                operation(q, k[:, :, r], v[:, :, r], return_lse=True, device=device, **keywords)
                for r in shares
            ),
            strict=True,
        )
        parts = [[mh.asarray(np.ascontiguousarray(x), device=device) for x in xs] for xs in (outs, lses)]
        out, lse = mh.merge_attention(*parts, return_lse=True)
        assert_attention_close(np.asarray(out), expected, plain, f"{len(shares)} shares")
        assert_lse_close(np.asarray(lse), expected_lse, plain_lse, f"{len(shares)} shares")

    for_examples(
        budget._replace(examples=budget.examples // 3),
        st.lists(st.integers(0, 3), min_size=70, max_size=70),
        body,
    )


@EACH_OPERATION
def test_the_order_of_keys_does_not_matter(device, operation):
    """Without causality, windows and slopes a key has no position; a mask moves along with its key."""
    q, k, v = make_qkv(DIMS)
    mask = random_array(5, (2, 4, 6, 70))
    order = np.random.default_rng(0).permutation(70)
    moved = operation(q, k[:, :, order], v[:, :, order], mask=mask[..., order], causal=False, device=device)
    still = operation(q, k, v, mask=mask, causal=False, device=device)
    assert_same(moved, still, q, k, v, "permuted", mask=mask, causal=False)


@EACH_OPERATION
def test_sequences_of_a_batch_are_independent(device, operation):
    q, k, v = make_qkv(DIMS._replace(batch=3))
    lengths = [70, 12, 41]
    whole = operation(q, k, v, kv_lengths=lengths, device=device)
    for b, length in enumerate(lengths):
        rows = slice(b, b + 1)
        alone = operation(q[rows], k[rows, :, :length], v[rows, :, :length], device=device)
        single = (q[rows], k[rows, :, :length], v[rows, :, :length])
        assert_same(whole[rows], alone, *single, f"sequence {b}")


@EACH_OPERATION
def test_a_ring_is_its_keys_in_order(device, operation):
    q, k, v = make_qkv(DIMS)
    for start in (1, 35, 69):
        rolled = (np.roll(x, start, axis=2) for x in (k, v))
        ring = operation(q, *rolled, window_size=20, ring_start=start, device=device)
        straight = operation(q, k, v, window_size=20, device=device)
        assert_same(ring, straight, q, k, v, f"ring {start}", window_size=20)


@EACH_OPERATION
def test_rows_are_independent(device, operation):
    """Each row alone, with the keys up to its own position, gives what it gives among others."""
    q, k, v = make_qkv(DIMS)
    whole = operation(q, k, v, device=device)
    for row in range(6):
        seen = 70 - 6 + row + 1
        single = (q[:, :, row : row + 1], k[:, :, :seen], v[:, :, :seen])
        assert_same(whole[:, :, row : row + 1], operation(*single, device=device), *single, f"row {row}")


@EACH_OPERATION
def test_neutral_values_change_nothing(device, operation):
    q, k, v = make_qkv(DIMS)
    still = operation(q, k, v, device=device)
    for keywords in (
        {"mask": np.ones((6, 70), bool)},
        {"mask": np.zeros((2, 4, 6, 70), np.float32)},
        {"alibi_slopes": np.zeros(4, np.float32)},
        {"sinks": np.full(4, -np.inf, np.float32)},
        {"softcap": 0.0},
        {"kv_lengths": [70, 70]},
        {"ring_start": 0},
    ):
        assert_same(operation(q, k, v, device=device, **keywords), still, q, k, v, str(list(keywords)))


@EACH_OPERATION
def test_a_constant_added_to_the_mask_moves_only_the_lse(device, operation):
    q, k, v = make_qkv(DIMS)
    keywords = {"return_lse": True, "device": device}
    out, lse = operation(q, k, v, mask=np.full((1, 1), 0.0, np.float32), **keywords)
    moved, moved_lse = operation(q, k, v, mask=np.full((1, 1), 2.5, np.float32), **keywords)
    assert_same(moved, out, q, k, v, "moved mask")
    np.testing.assert_allclose(moved_lse, lse + 2.5, rtol=2e-6)


@EACH_OPERATION
def test_a_sink_scales_the_output_alone(device, operation):
    """With a sink of s the output is that without one times 1 / (1 + exp(s - lse)), and lse stays."""
    q, k, v = make_qkv(DIMS)
    sinks = np.array([-1.0, 0.0, 2.0, 5.0], np.float32)
    out, lse = operation(q, k, v, return_lse=True, device=device)
    dampened, same_lse = check(operation, q, k, v, sinks=sinks, return_lse=True, device=device)
    share = 1 / (1 + np.exp(sinks[:, None] - lse.astype(np.float64)))
    np.testing.assert_allclose(dampened, out * share[..., None], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(same_lse, lse, rtol=1e-6)


@EACH_OPERATION
def test_equal_values_come_back(device, operation):
    """Weights sum to one, so a constant V is the output."""
    q, k, v = make_qkv(DIMS)
    v[...] = np.float32(0.7)
    np.testing.assert_allclose(operation(q, k, v, device=device), np.full_like(q, 0.7), rtol=2e-6)


@EACH_OPERATION
def test_the_same_call_gives_the_same_bits(device, operation):
    q, k, v = make_qkv(DIMS._replace(kv_length=500))
    first = operation(q, k, v, device=device)
    for _ in range(3):
        assert np.array_equal(operation(q, k, v, device=device), first)
