"""Where consecutive tokens of a cache lie in its rows, as operands of attention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .kv_cache_rows import NDArray, Rows, host_array


class Extent(NamedTuple):
    """Consecutive tokens in a ring of rows: positions ``[begin, end)`` at row ``position % size``."""

    rows: tuple[Rows, Rows]
    size: int
    begin: int
    end: int

    def operands(self, sequences: slice) -> tuple[Any, Any, dict[str, Any]]:
        """K, V and the keywords that tell an operation where the oldest token lies."""
        rows, keywords = locate(self.size, self.begin, self.end - self.begin)
        keys, values = (part.view(sequences, rows) for part in self.rows)
        if "kv_lengths" in keywords:
            keywords["kv_lengths"] = [keywords["kv_lengths"]] * (sequences.stop - sequences.start)
        return keys, values, keywords

    def width(self) -> int:
        """Key columns of the operands, which a mask must have."""
        rows, _ = locate(self.size, self.begin, self.end - self.begin)
        return int(rows.stop - rows.start)


def locate(size: int, begin: int, count: int) -> tuple[slice, dict[str, Any]]:
    """The rows to hand over for `count` tokens from position `begin` on, and the ring keywords."""
    row = begin % size
    if row + count <= size:
        return slice(row, row + count), {}
    keywords: dict[str, Any] = {"ring_start": row}
    if count < size:
        keywords["kv_lengths"] = count
    return slice(0, size), keywords


def slice_mask(mask: Any, begins: Sequence[int], width: int, length: int) -> NDArray:
    """Columns of a mask over the whole text for tokens from ``begins[b]`` on, padded to `width` columns."""
    whole = host_array(mask)
    if whole.ndim > 4:
        raise ValueError(f"attend: mask must have rank 1 to 4, got {whole.ndim}")
    if whole.ndim == 0 or whole.shape[-1] == 1:
        return whole
    if whole.shape[-1] != length:
        raise ValueError(f"attend: mask must have 1 or {length} columns, one a token, got {whole.shape[-1]}")
    if min(begins) == max(begins) and begins[0] + width <= length:
        columns: NDArray = whole[..., begins[0] : begins[0] + width]
        return columns
    spread: NDArray = whole.reshape([1] * (4 - whole.ndim) + list(whole.shape))
    padded: NDArray = np.zeros((len(begins), *spread.shape[1:3], width), spread.dtype)
    for sequence, begin in enumerate(begins):
        rows: NDArray = spread[sequence if len(spread) > 1 else 0]
        columns = rows[..., begin : begin + width]
        padded[sequence, ..., : columns.shape[-1]] = columns
    return padded
