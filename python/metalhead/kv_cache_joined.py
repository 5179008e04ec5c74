"""Attention over float16 first and recent tokens beside packed ones, joined exactly by log-sum-exp."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ._interop import like
from .attention import flash_attn_vec, merge_attention, sdpa
from .device import asarray
from .kv_cache_extent import Extent, slice_mask
from .kv_cache_rows import FLOAT_DTYPES, NDArray, Rows, host_array
from .kv_cache_state import STORES, TokenState
from .turboquant import tq_attention

VECTOR_ROWS = 16


class Query(NamedTuple):
    """Query rows and keywords of `attend`; `scores` are those that every part takes as they are."""

    q: Any
    causal: bool
    window: Any
    mask: Any
    alibi_slopes: Any
    sinks: Any
    scores: dict[str, Any]


def joined_attention(
    rows: Mapping[str, Rows], state: TokenState, query: Query, out: Any, return_lse: bool
) -> Any:
    """Attention over first, packed and recent tokens of every sequence; results as of `attend`."""
    q = host_array(query.q)
    if q.dtype not in FLOAT_DTYPES:
        known = ", ".join(dtype.name for dtype in FLOAT_DTYPES)
        raise TypeError(f"attend: q must be one of {known}, got {q.dtype.name}")
    rank = q.ndim
    q = q[None] if rank == 3 else q
    result = np.empty((*q.shape[:3], rows["v"].dim), np.float32)
    lse = np.empty(q.shape[:3], np.float32)
    parts = query._replace(
        q=q.astype(np.float32),
        window=_pair(query.window),
        alibi_slopes=_per_head("alibi_slopes", query.alibi_slopes, q.shape[1]),
        sinks=_per_head("sinks", query.sinks, q.shape[1]),
    )
    for sequences in state.groups():
        result[sequences], lse[sequences] = _attend_group(rows, state, parts, sequences)
    if rank == 3:
        result, lse = result[0], lse[0]
    return _delivered(query.q, result, lse, out, return_lse)


class _Group(NamedTuple):
    """Float32 query rows of sequences of `length` tokens each, where the longest has `text_length`."""

    q: NDArray
    sequences: slice
    length: int
    text_length: int
    causal: bool
    window: tuple[int, int]
    mask: NDArray | None
    alibi_slopes: NDArray | None
    scores: dict[str, Any]


def _attend_group(
    rows: Mapping[str, Rows], state: TokenState, query: Query, sequences: slice
) -> tuple[NDArray, NDArray]:
    """Out and lse, float32, of sequences that agree in all positions."""
    extents = {}
    for store in STORES:
        size, begins, ends = state.span(store)
        if store + "k" in rows:
            pair = (rows[store + "k"], rows[store + "v"])
            extents[store] = Extent(pair, size, begins[sequences.start], ends[sequences.start])
    mask = query.mask
    if mask is not None:
        mask = host_array(mask)
        if mask.ndim == 4 and mask.shape[0] > 1:
            mask = mask[sequences]
    group = _Group(
        query.q[sequences],
        sequences,
        extents[""].end,
        max(state.lengths),
        query.causal,
        query.window,
        mask,
        query.alibi_slopes,
        query.scores,
    )
    first_end = extents["first_"].end if "first_" in extents else 0
    parts = []
    if first_end:
        parts.append(_first_part(group, extents["first_"]))
    packed_end = extents[""].end
    if "recent_" in extents:
        recent = extents["recent_"]._replace(begin=max(extents["recent_"].begin, first_end))
        packed_end = recent.begin
        if recent.begin < recent.end:
            parts.append(_recent_part(group, recent))
    packed = extents[""]._replace(begin=max(extents[""].begin, first_end))
    if packed.begin < packed_end:
        parts.append(_packed_part(group, packed, packed_end))
    out, lse = (
        host_array(x) for x in merge_attention([p[0] for p in parts], [p[1] for p in parts], return_lse=True)
    )
    return _with_sinks(out, lse, query.sinks), lse


def _packed_part(query: _Group, extent: Extent, visible_end: int) -> tuple[NDArray, NDArray]:
    """The packed tokens; those from `visible_end` on are hidden in place, so positions stay natural."""
    keys, values, ring = extent.operands(query.sequences)
    visible = None
    if visible_end < extent.end:
        visible = (extent.begin + np.arange(extent.width()) < visible_end)[None]
    result = tq_attention(
        query.q,
        keys,
        values,
        causal=query.causal,
        window_size=query.window,
        mask=_combined(query, extent, visible),
        alibi_slopes=query.alibi_slopes,
        return_lse=True,
        **ring,
        **query.scores,
    )
    return host_array(result[0]), host_array(result[1])


def _recent_part(query: _Group, extent: Extent) -> tuple[NDArray, NDArray]:
    """The last tokens end where the text ends, so every rule about positions holds as it stands."""
    mask = _combined(query, extent, None)
    return _dense_part(query, extent, causal=query.causal, window_size=query.window, mask=mask)


def _first_part(query: _Group, extent: Extent) -> tuple[NDArray, NDArray]:
    """The first tokens, `gap` before the end: a mask says what rows see, ALiBi is moved by `gap`."""
    gap = query.length - extent.end
    positions = query.length - query.q.shape[2] + np.arange(query.q.shape[2])[:, None]
    keys = np.arange(extent.begin, extent.end)
    left, right = query.window
    visible = np.ones((query.q.shape[2], keys.size), bool)
    if query.causal:
        visible &= keys <= positions
    if left >= 0:
        visible &= positions - left <= keys
    if right >= 0:
        visible &= keys <= positions + right
    mask = _combined(query, extent, None if visible.all() else visible)
    out, lse = _dense_part(query, extent, causal=False, mask=mask)
    if query.alibi_slopes is not None:
        lse = lse - query.alibi_slopes[:, None] * np.float32(gap)
    return out, lse


def _dense_part(query: _Group, extent: Extent, **keywords: Any) -> tuple[NDArray, NDArray]:
    keys, values, ring = extent.operands(query.sequences)
    operation: Any = flash_attn_vec
    if not 1 <= query.q.shape[2] <= VECTOR_ROWS:
        operation = sdpa
        keys, values = (host_array(x).astype(np.float32) for x in (keys, values))
    result = operation(
        query.q,
        keys,
        values,
        alibi_slopes=query.alibi_slopes,
        return_lse=True,
        **ring,
        **keywords,
        **query.scores,
    )
    return host_array(result[0]), host_array(result[1])


def _combined(query: _Group, extent: Extent, visible: NDArray | None) -> NDArray | None:
    """The caller's mask for an extent, with keys hidden where `visible` ``[rows, keys]`` is False."""
    if query.mask is None:
        return visible
    begins = [extent.begin] * query.q.shape[0]
    mask = slice_mask(query.mask, begins, extent.width(), query.text_length)
    if visible is None:
        return mask
    if mask.dtype == np.bool_:
        return np.asarray(mask & visible)
    return np.where(visible, mask, np.asarray(-np.inf, mask.dtype))


def _with_sinks(out: NDArray, lse: NDArray, sinks: NDArray | None) -> NDArray:
    """Weights that summed to one share with the sink: each row shrinks by 1 / (1 + exp(sink - lse))."""
    if sinks is None:
        return out
    with np.errstate(over="ignore", invalid="ignore"):
        share = 1 / (1 + np.exp(sinks[:, None] - lse))
    return np.asarray(out * np.where(np.isneginf(lse), 0, share)[..., None].astype(np.float32))


def _pair(window_size: Any) -> tuple[int, int]:
    if window_size is None:
        return (-1, -1)
    return (window_size, 0) if isinstance(window_size, int | np.integer) else tuple(window_size)


def _per_head(name: str, values: Any, query_heads: int) -> NDArray | None:
    if values is None:
        return None
    array = host_array(values)
    if array.shape != (query_heads,):
        raise ValueError(f"attend: {name} must have shape [{query_heads}], got {list(array.shape)}")
    return array.astype(np.float32)


def _delivered(q: Any, result: NDArray, lse: NDArray, out: Any, return_lse: bool) -> Any:
    """Results of q's kind and dtype, or written to `out`."""
    if out is not None:
        target = host_array(out)
        if target.shape != result.shape:
            raise ValueError(f"attend: out must have shape {list(result.shape)}, got {list(target.shape)}")
        if target.dtype not in FLOAT_DTYPES:
            raise TypeError(f"attend: out must have a floating dtype, got {target.dtype.name}")
        np.copyto(target, result, casting="unsafe")
        return (out, _of_kind(q, lse)) if return_lse else out
    delivered = _of_kind(q, result.astype(host_array(q).dtype))
    return (delivered, _of_kind(q, lse)) if return_lse else delivered


def _of_kind(q: Any, x: NDArray) -> Any:
    return x if isinstance(q, np.ndarray) else like(asarray(x), q)
