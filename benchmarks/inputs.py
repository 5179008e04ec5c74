"""The numbers that every implementation gets: the same normals, made head by head in float32."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from .cases import Case

Floats = npt.NDArray[np.float32]

# A prime: repetitions of the block do not line up with vectors, so no two vectors of a head are equal.
BLOCK = 1_000_003
_KEYS, _VALUES, _QUERIES = 1, 2, 3


@cache
def _block() -> Floats:
    return np.random.default_rng(20).standard_normal(BLOCK, dtype=np.float32)


def _normals(count: int, source: int, head: int) -> Floats:
    out = np.empty(count, np.float32)
    block = _block()
    at, offset = 0, (source * 310_019 + head * 104_729) % BLOCK
    while at < count:
        step = min(count - at, BLOCK - offset)
        out[at : at + step] = block[offset : offset + step]
        at, offset = at + step, 0
    return out


def keys_of(case: Case, kv_head: int) -> Floats:
    """Keys of one KV head, ``[keys, head_dim]``."""
    return _normals(case.keys * case.head_dim, _KEYS, kv_head).reshape(case.keys, case.head_dim)


def values_of(case: Case, kv_head: int) -> Floats:
    """Values of one KV head, ``[keys, head_dim]``."""
    return _normals(case.keys * case.head_dim, _VALUES, kv_head).reshape(case.keys, case.head_dim)


def queries_of(case: Case) -> Floats:
    """All queries, ``[1, query_heads, rows, head_dim]``."""
    shape = (1, case.query_heads, case.rows, case.head_dim)
    return _normals(int(np.prod(shape)), _QUERIES, 0).reshape(shape)


def fill(case: Case, keys: npt.NDArray[np.generic], values: npt.NDArray[np.generic]) -> None:
    """Write K and V of all heads into ``[1, kv_heads, keys, head_dim]`` arrays of any floating dtype."""
    for head in range(case.kv_heads):
        keys[0, head] = keys_of(case, head)
        values[0, head] = values_of(case, head)


def visible_mask(case: Case) -> npt.NDArray[np.bool_]:
    """True where a row sees a key, ``[rows, keys]``, for peers that take a window only as a mask."""
    row = np.arange(case.rows)[:, None] + case.keys - case.rows
    key = np.arange(case.keys)[None, :]
    return (key <= row) & (key > row - (case.window or case.keys))
