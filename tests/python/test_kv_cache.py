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
