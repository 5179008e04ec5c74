"""Which tokens a KV cache holds: positions only, no data."""

from __future__ import annotations

from typing import Any

import numpy as np

from .kv_cache_config import KVCacheConfig
from .kv_cache_rows import NDArray

STORES = ("", "first_", "recent_")


class TokenState:
    """Of each sequence its length, and the oldest token held: by the rows (`starts`), by the recent rows."""

    def __init__(self, config: KVCacheConfig) -> None:
        self._config = config
        self.lengths: NDArray = np.zeros(config.batch, np.int64)
        self.starts: NDArray = np.zeros(config.batch, np.int64)
        self.recents: NDArray = np.zeros(config.batch, np.int64)

    def fields(self) -> dict[str, NDArray]:
        """The arrays by name, int64 ``[batch]``."""
        return {"lengths": self.lengths, "starts": self.starts, "recents": self.recents}

    def span(self, store: str) -> tuple[int, NDArray, NDArray]:
        """Ring size of a store, and the first position that it holds and the one past its last."""
        if store == "first_":
            size = self._config.keep_first
            return size, np.zeros_like(self.lengths), np.minimum(self.lengths, size)
        if store == "recent_":
            return self._config.keep_last, self.recents, self.lengths
        return self._config.capacity, self.starts, self.lengths

    def groups(self) -> list[slice]:
        """The whole batch if all its sequences agree, else one slice a sequence."""
        return equal_groups(*self.fields().values())

    def extend(self, counts: NDArray) -> None:
        """Account for tokens added at the ends."""
        self.lengths += counts
        np.maximum(self.starts, self.lengths - self._config.capacity, out=self.starts)
        np.maximum(self.recents, self.lengths - self._config.keep_last, out=self.recents)

    def cut(self, ends: NDArray) -> None:
        """Account for tokens dropped from `ends` on."""
        self.lengths[:] = ends
        np.minimum(self.recents, ends, out=self.recents)

    def clear(self) -> None:
        """Account for all tokens dropped."""
        for field in self.fields().values():
            field[:] = 0

    def reorder(self, indices: NDArray) -> None:
        """Sequence b becomes what sequence ``indices[b]`` was."""
        for field in self.fields().values():
            field[:] = field[indices]

    def require(self, operation: str, oldest: NDArray) -> None:
        """Raise `ValueError` where a sequence no longer holds position ``oldest[b]``."""
        missing = np.flatnonzero(self.starts > oldest)
        if missing.size:
            first = missing[0]
            raise ValueError(
                f"{operation}: token {oldest[first]} is still in the sliding window but was overwritten, "
                f"the oldest token held is {self.starts[first]}"
            )

    def restore(self, saved: dict[str, Any]) -> None:
        """Take over the fields of a file after checking that a cache could have them."""
        fields = {name: np.asarray(saved[name]) for name in self.fields()}
        for name, field in fields.items():
            if field.dtype.kind != "i" or field.shape != self.lengths.shape:
                raise ValueError(f"{name} must be {self.lengths.size} integers")
        lengths, starts, recents = fields.values()
        config = self._config
        wraps = config.sliding_window is not None
        if (
            (starts < 0).any()
            or (starts > lengths).any()
            or (lengths - starts > config.capacity).any()
            or (not wraps and starts.any())
            or (recents > lengths).any()
            or (recents < np.maximum(lengths - config.keep_last, 0)).any()
        ):
            raise ValueError("its lengths contradict each other")
        for name, field in self.fields().items():
            field[:] = fields[name]


def equal_groups(*fields: NDArray) -> list[slice]:
    """Slices of the batch whose sequences agree in every field: the whole, or one slice a sequence."""
    if all((field == field[0]).all() for field in fields):
        return [slice(0, fields[0].size)]
    return [slice(sequence, sequence + 1) for sequence in range(fields[0].size)]
