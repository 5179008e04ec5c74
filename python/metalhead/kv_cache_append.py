"""Appending to a KV cache: which tokens go to which rows, checked before the first row changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from .kv_cache_config import KVCacheConfig
from .kv_cache_rows import FLOAT_TYPES, NDArray, Rows, host_array, slice_staged
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
    tokens: list[NDArray] = []
    for name, x, dim in (("k", k, config.head_dim), ("v", v, config.value_dim)):
        array = host_array(x)
        if not any(array.dtype == dtype for dtype in FLOAT_TYPES.values()):
            known = ", ".join(FLOAT_TYPES)
            raise TypeError(f"append: {name} must be one of {known}, got {array.dtype.name}")
        given = array.shape
        array = array[None] if array.ndim == 3 else array
        shape = (config.batch, config.kv_heads, tokens[0].shape[2] if tokens else None, dim)
        if array.ndim != 4 or any(
            want not in (None, got) for want, got in zip(shape, array.shape, strict=True)
        ):
            text = ", ".join("n" if size is None else str(size) for size in shape)
            raise ValueError(f"append: {name} must have shape [{text}], got {list(given)}")
        tokens.append(array)
    return tokens[0], tokens[1]


def checked_counts(config: KVCacheConfig, rows: int, lengths: Any) -> NDArray:
    """Tokens that each sequence adds, int64 ``[batch]``."""
    if lengths is None:
        return np.full(config.batch, rows, np.int64)
    counts = np.asarray(lengths)
    if counts.dtype.kind not in "iu":
        raise TypeError(f"append: lengths must be integers, got {counts.dtype.name}")
    if counts.shape != (config.batch,):
        raise ValueError(f"append: lengths must have shape [{config.batch}], got {list(counts.shape)}")
    if counts.min() < 0 or counts.max() > rows:
        raise ValueError(f"append: lengths must be from 0 to the {rows} rows given, got {counts.tolist()}")
    return counts.astype(np.int64)


def plan_writes(
    config: KVCacheConfig,
    stores: Mapping[str, Rows],
    state: TokenState,
    counts: NDArray,
    tokens: tuple[NDArray, NDArray],
) -> list[Write]:
    """Every write that an append makes; nothing is changed yet."""
    writes = []
    for sequences in equal_groups(state.lengths, counts):
        begin, count = int(state.lengths[sequences.start]), int(counts[sequences.start])
        end = begin + count
        spans = {
            "": (config.capacity, max(begin, end - config.capacity), end),
            "first_": (config.keep_first, begin, min(end, config.keep_first)),
            "recent_": (config.keep_last, max(begin, end - config.keep_last), end),
        }
        for store, (size, first, last) in spans.items():
            overwrites = store == "" and bool((state.starts[sequences] < end - size).any())
            for name, x in zip(("k", "v"), tokens, strict=True):
                if first < last and size:
                    part = x[sequences, :, first - begin : last - begin]
                    rows = stores[store + name]
                    writes.append(Write(rows, name, sequences, first, size, overwrites, part))
    return writes


def perform(writes: Sequence[Write]) -> None:
    """Check all writes, then make them; on an exception every token that counted before is untouched."""
    for write in writes:
        write.rows.check(write.x, write.name)
    # What overwrites tokens that still count is encoded aside first: encoding can fail, copying can not.
    ready = [w._replace(x=w.rows.stage(w.x)) if w.overwrites else w for w in writes]
    for write in ready:
        for row, part in _segments(write):
            write.rows.write(write.sequences, row, part)


def _segments(write: Write) -> Iterable[tuple[int, Any]]:
    """The one or two runs of rows that a write fills in its ring."""
    row, count = write.begin % write.size, write.x.shape[2]
    straight = min(count, write.size - row)
    if straight == count:
        yield row, write.x
    else:
        yield row, slice_staged(write.x, slice(0, straight))
        yield 0, slice_staged(write.x, slice(straight, count))
