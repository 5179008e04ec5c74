"""What a KV cache rejects, and that it is afterwards what it was before."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import metalhead as mh
from kv_cache_model import assert_attends_like, random_tokens
from metalhead import kv_cache_rows
from test_kv_cache import contents, feed, make, queries


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
