"""`merge_attention` joins results over disjoint keys exactly, whatever the parts."""

import numpy as np
import pytest

import metalhead as mh
from accuracy import assert_attention_close, assert_lse_close
from cases import DTYPES, Dims, make_qkv, random_array
from metalhead import reference
from rejection import says


def merge(outs, lses, device, **keywords):
    """Join NumPy parts on a device and bring the result back as NumPy."""
    parts = [[mh.asarray(x, device=device) for x in xs] for xs in (outs, lses)]
    result = mh.merge_attention(*parts, **keywords)
    return tuple(np.asarray(x) for x in result) if isinstance(result, tuple) else np.asarray(result)


def check_merge(outs, lses, device, context=""):
    """Join and hold the result against the reference; plain float32 is the same sum in float32."""
    out, lse = merge(outs, lses, device, return_lse=True)
    expected, expected_lse = reference.merge_attention(outs, lses, return_lse=True)
    top = np.max(lses, axis=0)
    top = np.where(np.isneginf(top), np.float32(0), top)
    weights = np.exp(np.asarray(lses, np.float32) - top)
    total = weights.sum(axis=0)
    plain = (weights[..., None] * np.asarray(outs).astype(np.float32)).sum(axis=0)
    plain = (plain / np.where(total == 0, np.float32(1), total)[..., None]).astype(np.asarray(outs[0]).dtype)
    with np.errstate(divide="ignore"):
        plain_lse = top + np.log(total)
    assert out.dtype == np.asarray(outs[0]).dtype
    assert lse.dtype == np.float32
    assert_attention_close(out, expected, plain, f"merge {context}")
    assert_lse_close(lse, expected_lse, plain_lse, f"merge {context}")
    return out, lse


def test_two_parts_by_hand(device):
    outs = [np.full((1, 1, 1, 8), x, np.float32) for x in (1.0, 5.0)]
    lses = [np.full((1, 1, 1), np.log(x), np.float32) for x in (3.0, 1.0)]
    out, lse = merge(outs, lses, device, return_lse=True)
    np.testing.assert_allclose(out, np.full((1, 1, 1, 8), 2.0), rtol=1e-6)
    np.testing.assert_allclose(lse, [[[np.log(4.0)]]], rtol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("parts", [1, 2, 3, 7, 33])
def test_random_parts(device, dtype, parts):
    outs = [random_array((parts, i), (2, 3, 4, 24), dtype) for i in range(parts)]
    lses = [random_array((parts, i, 1), (2, 3, 4), spread=3) for i in range(parts)]
    check_merge(outs, lses, device)


def test_one_part_is_itself(device):
    out, lse = random_array(0, (1, 2, 3, 40)), random_array(1, (1, 2, 3))
    merged, merged_lse = merge([out], [lse], device, return_lse=True)
    np.testing.assert_allclose(merged, out, rtol=1e-6)
    np.testing.assert_allclose(merged_lse, lse, rtol=1e-6)


def test_parts_without_keys_add_nothing(device):
    outs = [random_array(i, (1, 2, 3, 16)) for i in range(2)]
    lses = [random_array(i + 5, (1, 2, 3)) for i in range(2)]
    empty, nothing = np.zeros((1, 2, 3, 16), np.float32), np.full((1, 2, 3), -np.inf, np.float32)
    expected = merge(outs, lses, device)
    np.testing.assert_allclose(
        merge([empty, *outs], [nothing, *lses], device), expected, rtol=1e-6, atol=1e-7
    )
    out, lse = merge([empty, empty], [nothing, nothing], device, return_lse=True)
    assert not out.any()
    assert np.isneginf(lse).all()


@pytest.mark.parametrize("offset", [-1e4, -100, 100, 1e4])
def test_a_common_offset_of_lse_changes_no_output(device, offset):
    outs = [random_array(i, (1, 2, 3, 16)) for i in range(3)]
    lses = [np.round(random_array(i + 5, (1, 2, 3)) * 8) / 8 for i in range(3)]
    moved = merge(outs, [x + np.float32(offset) for x in lses], device)
    np.testing.assert_allclose(moved, merge(outs, lses, device), rtol=1e-6, atol=1e-6)


def test_far_apart_parts_keep_the_larger(device):
    outs = [np.full((1, 1, 1, 8), x, np.float32) for x in (1.0, 2.0)]
    lses = [np.full((1, 1, 1), x, np.float32) for x in (-3e38, 3e38)]
    assert np.array_equal(merge(outs, lses, device), outs[1])


def test_order_does_not_matter(device):
    outs = [random_array(i, (1, 2, 3, 16)) for i in range(5)]
    lses = [random_array(i + 9, (1, 2, 3)) for i in range(5)]
    backwards = merge(outs[::-1], lses[::-1], device)
    np.testing.assert_allclose(backwards, merge(outs, lses, device), rtol=1e-5, atol=1e-6)


def test_rank_three_and_strided_parts(device):
    whole, lses = random_array(0, (2, 4, 6, 32)), random_array(1, (2, 4, 6))
    outs = [whole[i].swapaxes(0, 1) for i in range(2)]
    check_merge(outs, [x.swapaxes(0, 1) for x in lses], device)


def test_out(device):
    outs = [random_array(i, (1, 2, 3, 16)) for i in range(2)]
    lses = [random_array(i + 5, (1, 2, 3)) for i in range(2)]
    expected = merge(outs, lses, device)
    out = mh.empty((1, 2, 3, 16), "float32", device=device)
    parts = [[mh.asarray(x, device=device) for x in xs] for xs in (outs, lses)]
    assert mh.merge_attention(*parts, out=out) is out
    assert np.array_equal(np.asarray(out), expected)


def test_numpy_parts_give_numpy(as_default):
    outs = [random_array(i, (1, 2, 3, 16)) for i in range(2)]
    lses = [random_array(i + 5, (1, 2, 3)) for i in range(2)]
    out, lse = mh.merge_attention(outs, lses, return_lse=True)
    assert type(out) is np.ndarray
    assert type(lse) is np.ndarray


def test_attention_over_shares_of_the_keys(device):
    dims = Dims(query_heads=4, kv_heads=2, query_length=5, kv_length=60)
    q, k, v = make_qkv(dims)
    shares = np.array_split(np.random.default_rng(0).permutation(60), 4)
    parts = [
        mh.sdpa(
            q,
            *(np.ascontiguousarray(x[:, :, rows]) for x in (k, v)),
            causal=False,
            return_lse=True,
            device=device,
        )
        for rows in shares
    ]
    outs, lses = zip(*parts, strict=True)
    out, lse = merge(outs, lses, device, return_lse=True)
    expected, expected_lse = reference.sdpa(q, k, v, causal=False, return_lse=True)
    plain, plain_lse = reference.plain_float32(q, k, v, causal=False, return_lse=True)
    assert_attention_close(out, expected, plain, "four shares")
    assert_lse_close(lse, expected_lse, plain_lse, "four shares")


def parts_to_merge(**changes):
    outs = [np.zeros(changes.get("out", (1, 2, 3, 16)), changes.get("dtype", np.float32)) for _ in range(2)]
    lses = [np.zeros(changes.get("lse", (1, 2, 3)), changes.get("lse_dtype", np.float32)) for _ in range(2)]
    return outs, lses


@pytest.mark.parametrize(
    ("error", "outs", "lses", "parts"),
    [
        (ValueError, [], [], [0]),
        (ValueError, *parts_to_merge(out=(2, 16), lse=(2,)), ["(2, 16)"]),
        (ValueError, *parts_to_merge(lse=(1, 2, 4)), ["(1, 2, 3, 16)", "(1, 2, 4)"]),
        (ValueError, *parts_to_merge(lse=(1, 2, 3, 1)), ["(1, 2, 3, 1)"]),
        (ValueError, parts_to_merge()[0], parts_to_merge()[1][:1], [2, 1]),
        (
            ValueError,
            [*parts_to_merge()[0], np.zeros((1, 2, 4, 16), np.float32)],
            [np.zeros((1, 2, 3), "f4")] * 3,
            [],
        ),
        (TypeError, *parts_to_merge(dtype=np.float64), ["float64"]),
        (TypeError, *parts_to_merge(dtype=np.int32), ["int32"]),
        (TypeError, *parts_to_merge(lse_dtype=np.float16), ["float16"]),
        (TypeError, *parts_to_merge(lse_dtype=np.float64), ["float64"]),
        (TypeError, [None, None], parts_to_merge()[1], ["out"]),
        (TypeError, parts_to_merge()[0], [1.0, 2.0], ["lse"]),
    ],
)
def test_parts_that_cannot_be_merged(as_default, error, outs, lses, parts):
    with pytest.raises(error) as caught:
        mh.merge_attention(outs, lses)
    text = str(caught.value)
    assert text.startswith("merge_attention: "), text
    assert all(says(text, part) for part in parts), text


def test_out_of_merging(as_default):
    outs, lses = parts_to_merge()
    for error, out in (
        (ValueError, np.zeros((1, 2, 3, 15), np.float32)),
        (ValueError, outs[0]),
        (TypeError, np.zeros((1, 2, 3, 16), np.int32)),
    ):
        with pytest.raises(error, match=r"^merge_attention: .*out"):
            mh.merge_attention(outs, lses, out=out)
