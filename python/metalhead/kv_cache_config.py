"""The configuration of a KV cache, checked: what a constructor was given or a file claims."""

from __future__ import annotations

import dataclasses
from typing import Any

from .kv_cache_rows import DENSE_KINDS, PACKED_KINDS


@dataclasses.dataclass(frozen=True)
class KVCacheConfig:
    """Sizes and kinds of a cache; equal configurations hold equal arrays."""

    batch: int
    kv_heads: int
    head_dim: int
    value_dim: int
    capacity: int
    k: str
    v: str
    sliding_window: int | None
    keep_first: int
    keep_last: int
    seed: int | None
    search: int

    def __post_init__(self) -> None:
        for name in ("batch", "kv_heads", "head_dim", "value_dim", "capacity"):
            _check_integer(name, getattr(self, name), 1)
        for name in ("keep_first", "keep_last"):
            _check_integer(name, getattr(self, name), 0)
        if self.seed is not None:
            _check_integer("seed", self.seed, 0)
            if self.seed >= 2**64:
                raise ValueError(f"KVCache: seed must be below 2^64, got {self.seed}")
        if self.search not in (1, 5, 17):
            raise ValueError(f"KVCache: search must be 1, 5 or 17, got {self.search}")
        for name in ("k", "v"):
            kind = getattr(self, name)
            if not isinstance(kind, str):
                raise TypeError(f"KVCache: {name} must be the name of a kind, got {type(kind).__name__}")
            if kind not in DENSE_KINDS and kind not in PACKED_KINDS:
                known = ", ".join([*DENSE_KINDS, *PACKED_KINDS])
                raise ValueError(f"KVCache: {name} must be one of {known}, got {kind!r}")
        if self.sliding_window is not None:
            _check_integer("sliding_window", self.sliding_window, 1)
            if self.capacity < self.sliding_window:
                raise ValueError(
                    "KVCache: capacity must be at least sliding_window, "
                    f"got {self.capacity} and {self.sliding_window}"
                )
        self._check_kept()

    def _check_kept(self) -> None:
        if not (self.keep_first or self.keep_last):
            return
        kinds = {self.k, self.v}
        if not kinds & PACKED_KINDS.keys() or not kinds <= PACKED_KINDS.keys() | {"float16"}:
            raise ValueError(
                "KVCache: keep_first and keep_last need a packed k or v, the other packed or float16, "
                f"got {self.k} and {self.v}"
            )
        if max(self.keep_first, self.keep_last) > self.capacity:
            raise ValueError(
                "KVCache: keep_first and keep_last may not pass capacity "
                f"{self.capacity}, got {self.keep_first} and {self.keep_last}"
            )

    @property
    def packed(self) -> bool:
        """Whether K or V is packed."""
        return self.k in PACKED_KINDS or self.v in PACKED_KINDS

    def row_shapes(self) -> dict[str, tuple[str, tuple[int, int, int, int]]]:
        """Kind and shape ``[batch, kv_heads, rows, dim]`` of every store of rows that the cache holds."""
        shapes = {}
        for store, rows in (("", self.capacity), ("first_", self.keep_first), ("recent_", self.keep_last)):
            if rows:
                for name, kind, dim in (("k", self.k, self.head_dim), ("v", self.v, self.value_dim)):
                    shape = (self.batch, self.kv_heads, rows, dim)
                    shapes[store + name] = ("float16" if store else kind, shape)
        return shapes


def _check_integer(name: str, value: Any, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"KVCache: {name} must be an integer, got {type(value).__name__}")
    if value < least:
        raise ValueError(f"KVCache: {name} must be at least {least}, got {value}")
