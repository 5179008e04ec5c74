"""Appending to a KV cache: which tokens go to which rows, checked before the first row changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .kv_cache_config import KVCacheConfig
from .kv_cache_rows import FLOAT_DTYPES, NDArray, Rows, host_array
from .kv_cache_state import TokenState, equal_groups


class Write(NamedTuple):
    """Rows `x` ``[sequences, kv_heads, n, dim]`` for a ring of `size` rows, from position `begin` on."""

    rows: Rows
    name: str
    sequences: slice
    begin: int
    size: int
    overwrites: bool
    x: Any


def checked_tokens(config: KVCacheConfig, k: Any, v: Any) -> tuple[NDArray, NDArray]:
    """K and V of an append as rank 4 host arrays of the shapes and dtypes that the cache takes."""
    keys = _checked_array(config, "k", k, None, config.head_dim)
    return keys, _checked_array(config, "v", v, keys.shape[2], config.value_dim)


def _checked_array(config: KVCacheConfig, name: str, x: Any, count: int | None, dim: int) -> NDArray:
    """One of the two; `count` is the number of tokens that it must have, if that is known."""
    array = host_array(x)
    if array.dtype not in FLOAT_DTYPES:
        if array.dtype.newbyteorder("=") not in FLOAT_DTYPES:
            known = ", ".join(dtype.name for dtype in FLOAT_DTYPES)
            raise TypeError(f"append: {name} must be one of {known}, got {array.dtype.name}")
        array = array.astype(array.dtype.newbyteorder("="))
    given = array.shape
    if len(given) == 3:
        array = array[None]
    shape = array.shape
    tokens = shape[-2] if count is None and len(shape) == 4 else count
    if shape != (config.batch, config.kv_heads, tokens, dim):
        wanted = f"[{config.batch}, {config.kv_heads}, {'n' if count is None else count}, {dim}]"
        raise ValueError(f"append: {name} must have shape {wanted}, got {list(given)}")
    return array


def checked_counts(config: KVCacheConfig, rows: int, lengths: Any) -> list[int]:
    """Tokens that each sequence adds."""
    if lengths is None:
        return [rows] * config.batch
    counts = np.asarray(lengths)
    if counts.dtype.kind not in "iu":
        raise TypeError(f"append: lengths must be integers, got {counts.dtype.name}")
    if counts.shape != (config.batch,):
        raise ValueError(f"append: lengths must have shape [{config.batch}], got {list(counts.shape)}")
    listed: list[int] = counts.tolist()
    if min(listed) < 0 or max(listed) > rows:
        raise ValueError(f"append: lengths must be from 0 to the {rows} rows given, got {listed}")
    return listed


def plan_writes(
    config: KVCacheConfig,
    stores: Mapping[str, Rows],
    state: TokenState,
    counts: Sequence[int],
    tokens: tuple[NDArray, NDArray],
) -> list[Write]:
    """Every write that an append makes; nothing is changed yet."""
    writes: list[Write] = []
    for sequences in equal_groups(state.lengths, counts):
        begin = state.lengths[sequences.start]
        end = begin + counts[sequences.start]
        spans = [("", config.capacity, max(begin, end - config.capacity), end)]
        if config.keep_first:
            spans.append(("first_", config.keep_first, begin, min(end, config.keep_first)))
        if config.keep_last:
            spans.append(("recent_", config.keep_last, max(begin, end - config.keep_last), end))
        for store, size, first, last in spans:
            if first < last:
                overwrites = store == "" and min(state.starts[sequences]) < end - size
                for name, x in zip(("k", "v"), tokens, strict=True):
                    part = x[sequences, :, first - begin : last - begin]
                    writes.append(Write(stores[store + name], name, sequences, first, size, overwrites, part))
    return writes


def perform(writes: Sequence[Write]) -> None:
    """Check all writes, then make them; on an exception every token that counted before is untouched."""
    for write in writes:
        write.rows.check(write.x, write.name)
    # What overwrites tokens that still count is encoded aside first: encoding can fail, copying can not.
    ready = [w._replace(x=w.rows.stage(w.x, w.name)) if w.overwrites else w for w in writes]
    for write in ready:
        for row, part in _segments(write):
            write.rows.write(write.sequences, row, part, write.name)


def _segments(write: Write) -> Iterable[tuple[int, Any]]:
    """The one or two runs of rows that a write fills in its ring."""
    row, count = write.begin % write.size, write.x.shape[2]
    straight = write.size - row
    if count <= straight:
        return ((row, write.x),)
    return (
        (row, write.x[:, :, :straight]),
        (0, write.x[:, :, straight:]),
    )
