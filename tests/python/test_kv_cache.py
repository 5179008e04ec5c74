"""The KV cache, edge by edge; the random walk is in test_kv_cache_stateful.py."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import metalhead as mh
from kv_cache_model import ListModel, assert_attends_like, random_tokens
from metalhead import kv_cache_rows


def make(device: str = "cpu", **options: Any) -> tuple[mh.KVCache, ListModel]:
    """A small cache and its model."""
    settings = {"batch": 2, "kv_heads": 2, "head_dim": 32, "capacity": 12, "k": "float32", "v": "float32"}
    cache = mh.KVCache(**(settings | options), device=device)
    return cache, ListModel(cache.config)


def feed(cache: mh.KVCache, model: ListModel, n: int, seed: int = 0, counts: list[int] | None = None) -> None:
    """The same random tokens to both."""
    k, v = random_tokens(cache.config, n, seed)
    cache.append(k, v, lengths=counts)
    model.append(k, v, [n] * cache.config.batch if counts is None else counts)


def queries(cache: mh.KVCache, rows: int = 1, heads: int = 4) -> np.ndarray[Any, Any]:
    shape = (cache.config.batch, heads, rows, cache.config.head_dim)
    return np.random.default_rng(99).standard_normal(shape, dtype=np.float32)


def contents(cache: mh.KVCache) -> list[bytes]:
    """Every byte that counts: positions, and the rows that hold tokens."""
    parts = [str(field).encode() for field in cache._state.fields().values()]
    for name, rows in cache._rows.items():
        size, begins, ends = cache._state.span(name[:-1])
        for array in rows.arrays().values():
            for b, (begin, end) in enumerate(zip(begins, ends, strict=True)):
                parts.append(array[b][:, np.arange(begin, end) % size].tobytes())
    return parts


@pytest.mark.parametrize(("k", "v"), [("float32", "float32"), ("tq4", "tq4"), ("tq8", "tq2")])
@pytest.mark.parametrize("window", [None, 5])
def test_one_token_at_a_time_equals_all_at_once(device: str, k: str, v: str, window: int | None) -> None:
    whole, model = make(device, k=k, v=v, sliding_window=window)
    single, _ = make(device, k=k, v=v, sliding_window=window)
    feed(whole, model, 12)
    keys, values = random_tokens(whole.config, 12, 0)
    for i in range(12):
        single.append(keys[:, :, i : i + 1], values[:, :, i : i + 1])
    assert contents(single) == contents(whole)
    assert_attends_like(single, model, queries(single, 3))


@pytest.mark.parametrize("n", [1, 11, 12, 13, 24, 25, 61])
def test_ring_keeps_the_last_capacity_tokens(device: str, n: int) -> None:
    cache, model = make(device, sliding_window=9)
    feed(cache, model, n)
    assert cache.length == n
    assert_attends_like(cache, model, queries(cache, min(n, 4)))


def test_ring_append_across_the_wrap_in_every_phase(device: str) -> None:
    for phase in range(13):
        cache, model = make(device, sliding_window=8, k="tq4", v="tq4")
        feed(cache, model, phase, seed=1)
        feed(cache, model, 7, seed=2)
        assert_attends_like(cache, model, queries(cache, 5))


def test_sliding_window_counts_the_query_itself(device: str) -> None:
    cache, _ = make(device, batch=1, sliding_window=1)
    k, v = random_tokens(cache.config, 4, 0)
    cache.append(k, v)
    out = cache.attend(queries(cache))
    np.testing.assert_array_equal(out[0, :, 0], np.repeat(v[0, :, 3], 2, axis=0))


@pytest.mark.parametrize("rows", [1, 16, 17, 40])
@pytest.mark.parametrize("kept", [(0, 0), (4, 0), (0, 8), (4, 8), (30, 30)])
def test_rows_and_kept_tokens(device: str, rows: int, kept: tuple[int, int]) -> None:
    cache, model = make(device, capacity=64, k="tq3", v="tq2", keep_first=kept[0], keep_last=kept[1])
    feed(cache, model, 50)
    feed(cache, model, 1, seed=1)
    heads = np.linspace(-1, 1, 4).astype(np.float32)
    assert_attends_like(cache, model, queries(cache, rows))
    assert_attends_like(cache, model, queries(cache, rows), sinks=heads, alibi_slopes=heads / 10)
    assert_attends_like(cache, model, queries(cache, rows), window_size=(45, 2), causal=False, softcap=3.0)


def test_kept_tokens_are_float16_of_what_was_given(device: str) -> None:
    cache, _ = make(device, batch=1, k="tq2", v="tq2", keep_first=1, keep_last=1)
    k, v = random_tokens(cache.config, 9, 0)
    cache.append(k, v)
    for token in (0, 8):
        only = np.zeros((1, 9), bool)
        only[0, token] = True
        out = cache.attend(queries(cache), mask=only)
        np.testing.assert_array_equal(
            out[0, :, 0], np.repeat(v[0, :, token].astype(np.float16).astype(np.float32), 2, axis=0)
        )


def test_truncated_recent_tokens_come_from_the_packed_rows(device: str) -> None:
    cache, model = make(device, k="tq4", v="tq4", keep_last=4)
    feed(cache, model, 10)
    cache.truncate(7)
    model.truncate(7)
    assert model.recents == [6, 6]
    assert_attends_like(cache, model, queries(cache, 6))
    feed(cache, model, 1, seed=3)
    assert_attends_like(cache, model, queries(cache, 6))


@pytest.mark.parametrize("kind", ["float16", "tq4"])
def test_rejected_speculative_tokens_leave_no_trace(device: str, kind: str) -> None:
    cache, model = make(device, k=kind, v=kind, capacity=20, sliding_window=8)
    other, _ = make(device, k=kind, v=kind, capacity=20, sliding_window=8)
    feed(cache, model, 30)
    other.append(*random_tokens(cache.config, 30, 0))
    cache.append(*random_tokens(cache.config, 5, 1))
    cache.truncate(31)
    cache.append(*random_tokens(cache.config, 3, 2))
    k, v = random_tokens(cache.config, 5, 1)
    other.append(k[:, :, :1], v[:, :, :1])
    other.append(*random_tokens(cache.config, 3, 2))
    q = queries(cache, 4).astype(np.float16 if kind == "float16" else np.float32)
    np.testing.assert_array_equal(cache.attend(q), other.attend(q))


def test_ring_truncates_only_to_what_it_holds(device: str) -> None:
    cache, model = make(device, sliding_window=9)
    feed(cache, model, 30)
    cache.truncate(26)
    assert cache.length == 26
    with pytest.raises(ValueError, match="truncate: token 17 is still in the sliding window"):
        cache.truncate(25)
    assert cache.length == 26
    with pytest.raises(ValueError, match="attend: token 17 is still in the sliding window"):
        cache.attend(queries(cache, 1))
    model.truncate(26)
    feed(cache, model, 1, seed=5)
    assert_attends_like(cache, model, queries(cache, 1))


def test_truncate_each_sequence_by_itself(device: str) -> None:
    cache, model = make(device)
    feed(cache, model, 8, counts=[8, 3])
    cache.truncate(np.array([5, 3], np.uint64))
    assert cache.lengths.tolist() == [5, 3]
    cache.truncate(4)
    assert cache.lengths.tolist() == [4, 3]
    model.truncate(4)
    assert_attends_like(cache, model, queries(cache, 2))


def test_beams_share_and_diverge(device: str) -> None:
    cache, model = make(device, batch=3, k="tq4", v="tq3", keep_last=2)
    feed(cache, model, 6, counts=[6, 2, 4])
    cache.reorder([2, 0, 0])
    model.reorder([2, 0, 0])
    feed(cache, model, 2, seed=1)
    assert cache.lengths.tolist() == [6, 8, 8]
    assert_attends_like(cache, model, queries(cache, 2))


def test_reorder_without_memory_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    cache, model = make()
    feed(cache, model, 5)
    before = contents(cache)

    def no_memory(*_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(kv_cache_rows.np, "empty", no_memory)
    with pytest.raises(MemoryError):
        cache.reorder([1, 0])
    monkeypatch.undo()
    assert contents(cache) == before


def test_lengths_is_a_copy_and_reset_forgets(device: str) -> None:
    cache, model = make(device)
    feed(cache, model, 8, counts=[8, 3])
    lengths = cache.lengths
    lengths[:] = 0
    assert cache.lengths.tolist() == [8, 3] and cache.length == 8
    cache.reset()
    assert cache.length == 0
    feed(cache, fresh := ListModel(cache.config), 12, seed=4)
    assert_attends_like(cache, fresh, queries(cache, 2))


def test_bytes_are_those_of_all_arrays() -> None:
    dense = mh.KVCache(batch=2, kv_heads=3, head_dim=64, value_dim=32, capacity=10, k="float16", v="float32")
    assert dense.nbytes == 2 * 3 * 10 * (64 * 2 + 32 * 4)
    packed = mh.KVCache(batch=2, kv_heads=3, head_dim=64, capacity=10, k="tq4", v="tq3")
    assert packed.nbytes == 2 * 3 * 10 * (64 // 2 + 2 + 64 * 3 // 8 + 2)
    kept = mh.KVCache(
        batch=2, kv_heads=3, head_dim=64, capacity=10, k="tq4", v="tq3", keep_first=2, keep_last=4
    )
    assert kept.nbytes == packed.nbytes + 2 * 3 * 6 * 2 * 64 * 2


def test_search_and_seed_reach_the_codec() -> None:
    def packed(**options: Any) -> bytes:
        cache, _ = make(k="tq4", v="tq4", **options)
        cache.append(*random_tokens(cache.config, 4, 0))
        return contents(cache)[3]

    assert packed() == packed(seed=0, search=1)
    assert packed() != packed(search=5)
    assert packed() != packed(seed=1)
    assert packed() != packed(seed=None)


def test_kinds_of_q_and_out(device: str) -> None:
    for kept in ({}, {"keep_first": 2, "keep_last": 3}):
        cache, model = make(device, k="tq4", v="tq4", batch=1, **kept)
        feed(cache, model, 10)
        q = queries(cache, 2)
        want = cache.attend(q)
        assert isinstance(want, np.ndarray)
        array = cache.attend(mh.asarray(q, device=device))
        assert isinstance(array, mh.Array)
        np.testing.assert_array_equal(array.numpy(), want)
        np.testing.assert_array_equal(cache.attend(q[0]), want[0])
        out = np.full_like(want, np.nan)
        returned, lse = cache.attend(q, out=out, return_lse=True)
        assert returned is out and lse.shape == q.shape[:3]
        np.testing.assert_array_equal(out, want)
        half = cache.attend(q.astype(np.float16))
        assert half.dtype == np.float16
        np.testing.assert_allclose(half.astype(np.float32), want, atol=5e-3)


def test_torch_gives_torch() -> None:
    torch = pytest.importorskip("torch")
    for kept in ({}, {"keep_first": 2}):
        cache, _ = make(k="tq4", v="tq4", **kept)
        k, v = (torch.from_numpy(x) for x in random_tokens(cache.config, 10, 0))
        cache.append(k, v)
        q = queries(cache, 2)
        out = cache.attend(torch.from_numpy(q))
        assert isinstance(out, torch.Tensor)
        np.testing.assert_array_equal(out.numpy(), cache.attend(q))


class Foreign:
    """An array of a library that NumPy does not know, reached by DLPack alone."""

    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        self._array, self.shape, self.dtype = array, array.shape, array.dtype

    def __dlpack__(self, **options: Any) -> Any:
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self._array.__dlpack_device__()


def test_foreign_arrays_come_in_and_out(device: str) -> None:
    for kept in ({}, {"keep_first": 2, "keep_last": 2}):
        cache, model = make(device, k="tq4", v="tq4", **kept)
        k, v = random_tokens(cache.config, 8, 0)
        cache.append(Foreign(k), Foreign(v))
        model.append(k, v, [8, 8])
        q = queries(cache, 2)
        out = np.empty_like(q)
        cache.attend(Foreign(q), out=Foreign(out))
        np.testing.assert_array_equal(out, cache.attend(q))
        assert_attends_like(cache, model, q)


def test_append_takes_views_arrays_and_narrow_types(device: str) -> None:
    cache, model = make(device, k="tq4", v="tq4")
    k, v = random_tokens(cache.config, 6, 0)
    model.append(k.astype(np.float16).astype(np.float32), v, [6, 6])
    strided = np.zeros((2, 6, 2, 64), np.float32)
    strided[..., :32] = v.transpose(0, 2, 1, 3)
    cache.append(mh.asarray(k.astype(np.float16), device=device), strided.transpose(0, 2, 1, 3)[..., :32])
    assert_attends_like(cache, model, queries(cache, 2))


def test_no_tokens_is_no_change(device: str) -> None:
    cache, model = make(device, k="tq4", v="tq4")
    feed(cache, model, 0)
    assert cache.length == 0
    feed(cache, model, 3)
    before = contents(cache)
    feed(cache, model, 0)
    feed(cache, model, 4, counts=[0, 0])
    assert contents(cache) == before


def bad_appends() -> dict[str, tuple[type[Exception], str]]:
    return {
        "rank": (ValueError, r"append: k must have shape \[2, 2, n, 32\], got \[2, 32\]"),
        "heads": (ValueError, r"append: k must have shape \[2, 2, n, 32\], got \[2, 3, 4, 32\]"),
        "value dim": (ValueError, r"append: v must have shape \[2, 2, 4, 32\], got \[2, 2, 4, 16\]"),
        "count": (ValueError, r"append: v must have shape \[2, 2, 4, 32\], got \[2, 2, 3, 32\]"),
        "float64": (TypeError, "append: k must be one of float32, float16, bfloat16, got float64"),
        "integers": (TypeError, "append: v must be one of float32, float16, bfloat16, got int32"),
        "NaN in k": (ValueError, "append: k must be finite"),
        "infinity in v": (ValueError, "append: v must be finite"),
        "lengths shape": (ValueError, r"append: lengths must have shape \[2\], got \[3\]"),
        "lengths above": (ValueError, r"append: lengths must be from 0 to the 4 rows given, got \[5, 0\]"),
        "lengths below": (ValueError, r"append: lengths must be from 0 to the 4 rows given, got \[1, -1\]"),
        "lengths type": (TypeError, "append: lengths must be integers, got float64"),
    }


def spoil(case: str, k: Any, v: Any) -> tuple[Any, Any, Any]:
    """Arguments of an append that break one rule."""
    lengths: Any = None
    match case:
        case "rank":
            k = k[:, 0, 0]
        case "heads":
            k = np.concatenate([k, k[:, :1]], axis=1)
        case "value dim":
            v = v[..., :16]
        case "count":
            v = v[:, :, :3]
        case "float64":
            k = k.astype(np.float64)
        case "integers":
            v = v.astype(np.int32)
        case "NaN in k":
            k[1, 1, 3, 31] = np.nan
        case "infinity in v":
            v[1, 1, 3, 31] = -np.inf
        case "lengths shape":
            lengths = [1, 1, 1]
        case "lengths above":
            lengths = [5, 0]
        case "lengths below":
            lengths = [1, -1]
        case "lengths type":
            lengths = [1.0, 2.0]
    return k, v, lengths


@pytest.mark.parametrize("case", bad_appends())
@pytest.mark.parametrize("options", [{}, {"k": "tq4", "v": "tq4", "sliding_window": 7, "keep_last": 3}])
def test_failed_append_changes_nothing(case: str, options: dict[str, Any]) -> None:
    cache, model = make(**options)
    feed(cache, model, 8)
    if options:
        feed(cache, model, 9, seed=1)
    before = contents(cache)
    k, v, lengths = spoil(case, *random_tokens(cache.config, 4, 2))
    error, text = bad_appends()[case]
    with pytest.raises(error, match=text):
        cache.append(k, v, lengths=lengths)
    assert contents(cache) == before
    feed(cache, model, 3, seed=3)
    assert_attends_like(cache, model, queries(cache, 2))


@pytest.mark.parametrize("window", [None, 7])
@pytest.mark.parametrize("failing_call", [1, 2])
def test_append_that_runs_out_of_memory_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, window: int | None, failing_call: int
) -> None:
    cache, model = make(k="tq4", v="tq4", sliding_window=window)
    feed(cache, model, 8)
    if window:
        feed(cache, model, 9, seed=1)
    before, calls, encode = contents(cache), [], kv_cache_rows.tq_encode

    def fail_later(*arguments: Any, **keywords: Any) -> Any:
        calls.append(None)
        if len(calls) == failing_call:
            raise MemoryError
        return encode(*arguments, **keywords)

    monkeypatch.setattr(kv_cache_rows, "tq_encode", fail_later)
    with pytest.raises(MemoryError):
        cache.append(*random_tokens(cache.config, 4, 2))
    assert len(calls) == failing_call
    monkeypatch.undo()
    assert contents(cache) == before


@pytest.mark.parametrize("magnitude", [1e6, 3e38])
@pytest.mark.parametrize("which", [0, 1])
def test_values_that_a_kind_can_not_hold(magnitude: float, which: int) -> None:
    for kind, kept in (("float16", {}), ("tq4", {}), ("tq4", {"keep_last": 1, "sliding_window": 4})):
        cache, model = make(k=kind, v=kind, **kept)
        feed(cache, model, 12)
        if kept:
            feed(cache, model, 7, seed=1)
        else:
            cache.truncate(6)
        before = contents(cache)
        tokens = random_tokens(cache.config, 2, 2)
        tokens[which][1, 1, 1, 1] = magnitude
        with pytest.raises(ValueError, match=r"float16|finite|norm"):
            cache.append(*tokens)
        assert contents(cache) == before


def test_bfloat16_and_float32_hold_large_values(device: str) -> None:
    for kind in ("bfloat16", "float32"):
        cache, _ = make(device, k=kind, v=kind)
        tokens = [np.full((2, 2, 1, 32), 1e30, np.float32)] * 2
        cache.append(*tokens)
        assert cache.length == 1
    cache, _ = make(device, k="bfloat16", v="bfloat16")
    with pytest.raises(ValueError, match=r"append: k must fit bfloat16, got magnitude 3.4"):
        cache.append(*[np.full((2, 2, 1, 32), np.finfo(np.float32).max)] * 2)


def test_full_cache_raises_and_stays(device: str) -> None:
    cache, model = make(device, k="tq4", v="tq4")
    feed(cache, model, 10)
    with pytest.raises(ValueError, match="append: 3 tokens do not fit, 10 of capacity 12 are taken"):
        cache.append(*random_tokens(cache.config, 3, 1))
    feed(cache, model, 2, seed=2)
    assert_attends_like(cache, model, queries(cache, 12))


def test_attend_says_what_is_wrong() -> None:
    cache, model = make(sliding_window=8)
    q = queries(cache, 2)
    with pytest.raises(ValueError, match=r"attend: every sequence needs tokens, got lengths \[0, 0\]"):
        cache.attend(q)
    feed(cache, model, 1)
    with pytest.raises(ValueError, match="attend: q may have no more rows than tokens, got 2 and 1"):
        cache.attend(q)
    feed(cache, model, 20, seed=1)
    with pytest.raises(ValueError, match=r"attend: 6 rows need capacity 13 .*, got 12"):
        cache.attend(queries(cache, 6))
    with pytest.raises(ValueError, match="sliding_window 8 and takes no window_size, got 3"):
        cache.attend(q, window_size=3)
    with pytest.raises(ValueError, match="attend: mask must have 1 or 21 columns, one a token, got 12"):
        cache.attend(q, mask=np.ones((2, 12), bool))
    with pytest.raises(ValueError, match="attend: q must have rank 3 or 4, got 2"):
        cache.attend(q[0, 0])
    with pytest.raises(TypeError, match="kv_lengths"):
        cache.attend(q, kv_lengths=[1, 1])
    cache.reset()
    cache.append(*random_tokens(cache.config, 2, 0), lengths=[2, 0])
    with pytest.raises(ValueError, match=r"attend: every sequence needs tokens, got lengths \[2, 0\]"):
        cache.attend(q)


def test_joined_attend_says_what_is_wrong() -> None:
    cache, model = make(k="tq4", v="tq4", keep_first=2)
    feed(cache, model, 6)
    q = queries(cache, 2)
    for name in ("sinks", "alibi_slopes"):
        with pytest.raises(ValueError, match=rf"attend: {name} must have shape \[4\], got \[2\]"):
            cache.attend(q, **{name: np.zeros(2, np.float32)})
    with pytest.raises(TypeError, match="attend: q must be one of float32, float16, bfloat16, got float64"):
        cache.attend(q.astype(np.float64))
    with pytest.raises(ValueError, match="attend: q must have batch 2, got 1"):
        cache.attend(q[:1])
    with pytest.raises(ValueError, match=r"attend: out must have shape \[2, 4, 2, 32\], got \[2, 4, 1, 32\]"):
        cache.attend(q, out=np.empty((2, 4, 1, 32), np.float32))
    with pytest.raises(TypeError, match="attend: out must have a floating dtype, got int32"):
        cache.attend(q, out=np.empty((2, 4, 2, 32), np.int32))
    with pytest.raises(ValueError, match="read-only"):
        out = np.empty((2, 4, 2, 32), np.float32)
        out.flags.writeable = False
        cache.attend(q, out=out)


def test_truncate_and_reorder_say_what_is_wrong() -> None:
    cache, model = make()
    feed(cache, model, 5, counts=[5, 3])
    with pytest.raises(ValueError, match="truncate: length must be from 0 to 5, got 6"):
        cache.truncate(6)
    with pytest.raises(ValueError, match="truncate: length must be from 0 to 5, got -1"):
        cache.truncate(-1)
    with pytest.raises(ValueError, match=r"truncate: length must be from 0 to \[5, 3\], got \[4, 4\]"):
        cache.truncate([4, 4])
    with pytest.raises(TypeError, match="truncate: length must be an integer, got float64"):
        cache.truncate(1.5)
    with pytest.raises(ValueError, match=r"must be an integer or have shape \[2\], got shape \[3\]"):
        cache.truncate([1, 1, 1])
    for bad in ([0, 2], [-1, 0], [0], [[0, 1]]):
        with pytest.raises(ValueError, match="reorder: batch_indices must be 2 integers from 0 to 1, got"):
            cache.reorder(bad)
    with pytest.raises(TypeError, match="reorder: batch_indices must be integers, got float64"):
        cache.reorder([0.0, 1.0])
    assert cache.lengths.tolist() == [5, 3]


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"batch": 0}, ValueError, "KVCache: batch must be at least 1, got 0"),
        ({"capacity": -1}, ValueError, "KVCache: capacity must be at least 1, got -1"),
        ({"kv_heads": 2.0}, TypeError, "KVCache: kv_heads must be an integer, got float"),
        ({"capacity": True}, TypeError, "KVCache: capacity must be an integer, got bool"),
        ({"k": "int8"}, ValueError, "KVCache: k must be one of float32, .*tq8, got 'int8'"),
        ({"v": 4}, TypeError, "KVCache: v must be the name of a kind, got int"),
        ({"k": "tq7"}, ValueError, "got 'tq7'"),
        ({"sliding_window": 0}, ValueError, "KVCache: sliding_window must be at least 1, got 0"),
        ({"sliding_window": 13}, ValueError, "capacity must be at least sliding_window, got 12 and 13"),
        ({"keep_first": -1}, ValueError, "KVCache: keep_first must be at least 0, got -1"),
        ({"keep_last": 2}, ValueError, "need a packed k or v.*got float32 and float32"),
        ({"keep_last": 2, "k": "tq4", "v": "bfloat16"}, ValueError, "got tq4 and bfloat16"),
        ({"keep_last": 13, "k": "tq4", "v": "tq4"}, ValueError, "may not pass capacity 12, got 0 and 13"),
        ({"k": "tq4", "head_dim": 48}, ValueError, "head_dim"),
        ({"v": "tq4", "value_dim": 16}, ValueError, "head_dim"),
        ({"search": 2}, ValueError, "KVCache: search must be 1, 5 or 17, got 2"),
        ({"seed": 2**64}, ValueError, "KVCache: seed must be below 2\\^64"),
        ({"seed": -1}, ValueError, "KVCache: seed must be at least 0, got -1"),
    ],
)
def test_constructor_says_what_is_wrong(options: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        make(**options)


def test_constructor_without_memory_is_a_memory_error() -> None:
    with pytest.raises(MemoryError):
        mh.KVCache(capacity=2**32, k="float32", v="float32")


def test_repr_names_kinds_and_length() -> None:
    assert repr(make()[0]) == "KVCache(k='float32', v='float32', length=0, capacity=12, batch=2)"
