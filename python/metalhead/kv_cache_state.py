"""Which tokens a KV cache holds: positions only, no data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .kv_cache_config import KVCacheConfig

STORES = ("", "first_", "recent_")


class TokenState:
    """Of each sequence its length, and the oldest token held: by the rows (`starts`), by the recent rows.

    Plain integers, because a decoding step is too short for arrays of one number.
    """

    def __init__(self, config: KVCacheConfig) -> None:
        self._config = config
        self.clear()

    def clear(self) -> None:
        """Account for all tokens dropped."""
        self.lengths, self.starts, self.recents = ([0] * self._config.batch for _ in range(3))

    def fields(self) -> dict[str, list[int]]:
        """The numbers by name, one a sequence each."""
        return {"lengths": self.lengths, "starts": self.starts, "recents": self.recents}

    def span(self, store: str) -> tuple[int, list[int], list[int]]:
        """Ring size of a store, and the first position that it holds and the one past its last."""
        if store == "first_":
            size = self._config.keep_first
            return size, [0] * len(self.lengths), [min(length, size) for length in self.lengths]
        if store == "recent_":
            return self._config.keep_last, self.recents, self.lengths
        return self._config.capacity, self.starts, self.lengths

    def groups(self) -> list[slice]:
        """The whole batch if all its sequences agree, else one slice a sequence."""
        return equal_groups(self.lengths, self.starts, self.recents)

    def extend(self, counts: Sequence[int]) -> None:
        """Account for tokens added at the ends."""
        capacity, keep_last = self._config.capacity, self._config.keep_last
        for sequence, count in enumerate(counts):
            end = self.lengths[sequence] + count
            self.lengths[sequence] = end
            self.starts[sequence] = max(self.starts[sequence], end - capacity)
            self.recents[sequence] = max(self.recents[sequence], end - keep_last)

    def cut(self, ends: Sequence[int]) -> None:
        """Account for tokens dropped from `ends` on."""
        self.lengths = list(ends)
        self.recents = [min(recent, end) for recent, end in zip(self.recents, ends, strict=True)]

    def reorder(self, indices: Sequence[int]) -> None:
        """Sequence b becomes what sequence ``indices[b]`` was."""
        self.lengths, self.starts, self.recents = (
            [field[index] for index in indices] for field in self.fields().values()
        )

    def require(self, operation: str, oldest: Sequence[int]) -> None:
        """Raise `ValueError` where a sequence no longer holds position ``oldest[b]``."""
        for start, needed in zip(self.starts, oldest, strict=True):
            if start > needed:
                raise ValueError(
                    f"{operation}: token {needed} is still in the sliding window but was overwritten, "
                    f"the oldest token held is {start}"
                )

    def restore(self, saved: dict[str, Any]) -> None:
        """Take over the fields of a file after checking that a cache could have them."""
        config = self._config
        for name in self.fields():
            field = saved[name]
            if not isinstance(field, list) or len(field) != config.batch:
                raise ValueError(f"{name} must be {config.batch} integers")
            if not all(type(number) is int and number >= 0 for number in field):
                raise ValueError(f"{name} must be integers from 0 on")
        lengths, starts, recents = (saved[name] for name in self.fields())
        for length, start, recent in zip(lengths, starts, recents, strict=True):
            wrapped = config.sliding_window is not None or start == 0
            held = length - config.capacity <= start <= length
            if not (wrapped and held and length - config.keep_last <= recent <= length):
                raise ValueError("its lengths contradict each other")
        self.lengths, self.starts, self.recents = lengths, starts, recents


def equal_groups(*fields: Sequence[int]) -> list[slice]:
    """Slices of the batch whose sequences agree in every field: the whole, or one slice a sequence."""
    batch = len(fields[0])
    if batch == 1 or all(field.count(field[0]) == batch for field in fields):
        return [slice(0, batch)]
    return [slice(sequence, sequence + 1) for sequence in range(batch)]
