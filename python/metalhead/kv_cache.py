"""The KV cache: keys and values of a growing text, dense or packed, linear or a sliding ring."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from .attention import flash_attn_vec, sdpa
from .device import default_device
from .kv_cache_append import checked_counts, checked_tokens, perform, plan_writes
from .kv_cache_config import KVCacheConfig
from .kv_cache_extent import locate, slice_mask
from .kv_cache_file import SavedCache, held_rows, read_cache_file, write_cache_file
from .kv_cache_joined import VECTOR_ROWS, Query, joined_attention
from .kv_cache_rows import NDArray, make_rows, reorder_rows
from .kv_cache_state import TokenState
from .turboquant import tq_attention

__all__ = ["KVCache"]


class KVCache:
    """Keys and values of `batch` sequences, appended to as text grows and attended to by its last rows.

    Parameters
    ----------
    batch, kv_heads, head_dim : int
    value_dim : int, optional
        `head_dim` unless given.
    capacity : int
        Tokens that there is room for; all memory is taken at once.
    k, v : str
        Kinds: ``"float32"``, ``"float16"``, ``"bfloat16"``, or packed ``"tq2"``, ``"tq3"``, ``"tq4"``,
        ``"tq5"``, ``"tq6"``, ``"tq8"``.
    sliding_window : int, optional
        Keys that a query sees, its own included. The cache is then a ring of the last `capacity` tokens, and
        `attend` with ``Lq`` rows needs ``capacity >= sliding_window + Lq - 1``.
    keep_first, keep_last : int
        First and most recent tokens held in float16 beside the packed ones; needs a packed kind.
    seed : int or None
        Signs of the packed kinds; None for none.
    device : Device or str, optional
        The default device unless given.
    search : int
        Scales that the packed kinds try for each vector: 1, 5 or 17.

    Raises
    ------
    ValueError, TypeError
        If a size, a kind or a combination is not possible; the text names it.
    MemoryError
        If the arrays can not be had.

    Notes
    -----
    One thread at a time may use a cache.

    Examples
    --------
    >>> import numpy as np
    >>> cache = KVCache(kv_heads=1, head_dim=64, capacity=8, k="float32", v="float32")
    >>> token = np.ones((1, 1, 1, 64), np.float32)
    >>> cache.append(token, 2 * token)
    >>> cache.length, float(cache.attend(token)[0, 0, 0, 0])
    (1, 2.0)
    """

    def __init__(
        self,
        batch: int = 1,
        kv_heads: int = 8,
        head_dim: int = 128,
        value_dim: int | None = None,
        capacity: int = 4096,
        k: str = "tq4",
        v: str = "tq4",
        sliding_window: int | None = None,
        keep_first: int = 0,
        keep_last: int = 0,
        seed: int | None = 0,
        device: Any = None,
        search: int = 1,
    ) -> None:
        if value_dim is None:
            value_dim = head_dim
        self._config = KVCacheConfig(
            batch=batch,
            kv_heads=kv_heads,
            head_dim=head_dim,
            value_dim=value_dim,
            capacity=capacity,
            k=k,
            v=v,
            sliding_window=sliding_window,
            keep_first=keep_first,
            keep_last=keep_last,
            seed=seed,
            search=search,
        )
        self._device = default_device() if device is None else device
        self._rows = {
            name: make_rows(kind, shape, seed, search, self._device)
            for name, (kind, shape) in self._config.row_shapes().items()
        }
        self._state = TokenState(self._config)

    def __repr__(self) -> str:
        c = self._config
        return f"KVCache(k={c.k!r}, v={c.v!r}, length={self.length}, capacity={c.capacity}, batch={c.batch})"

    @property
    def config(self) -> KVCacheConfig:
        """What the cache was made with."""
        return self._config

    @property
    def length(self) -> int:
        """Tokens of the longest sequence, those that a ring no longer holds included."""
        return max(self._state.lengths)

    @property
    def lengths(self) -> NDArray:
        """Tokens of each sequence, int64 ``[batch]``, a copy."""
        return np.array(self._state.lengths, np.int64)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays that the cache holds, used or not."""
        return sum(array.nbytes for rows in self._rows.values() for array in rows.arrays().values())

    def reset(self) -> None:
        """Forget all tokens; the memory stays."""
        self._state.clear()

    def append(self, k: Any, v: Any, *, lengths: Sequence[int] | NDArray | None = None) -> None:
        """Add tokens at the end; a packed kind encodes them now, a ring drops its oldest ones.

        Parameters
        ----------
        k : array ``[batch, kv_heads, n, head_dim]``
            float32, float16 or bfloat16; rank 3 means batch 1.
        v : array ``[batch, kv_heads, n, value_dim]``
        lengths : integers ``[batch]``, optional
            Sequence b adds its first ``lengths[b]`` rows only; the others are not read.

        Raises
        ------
        ValueError
            If a shape does not fit, a number is not finite in the kind's type, or there is no room.
        TypeError
            If a dtype is not one of the three.

        Notes
        -----
        When it raises, the cache is what it was before.
        """
        config = self._config
        tokens = checked_tokens(config, k, v)
        counts = checked_counts(config, tokens[0].shape[2], lengths)
        if config.sliding_window is None:
            for length, count in zip(self._state.lengths, counts, strict=True):
                if length + count > config.capacity:
                    raise ValueError(
                        f"append: {count} tokens do not fit, {length} of capacity {config.capacity} are taken"
                    )
        perform(plan_writes(config, self._rows, self._state, counts, tokens))
        self._state.extend(counts)

    def attend(
        self,
        q: Any,
        *,
        scale: float | None = None,
        causal: bool = True,
        window_size: int | tuple[int, int] | None = None,
        softcap: float = 0.0,
        mask: Any = None,
        alibi_slopes: Any = None,
        sinks: Any = None,
        out: Any = None,
        return_lse: bool = False,
    ) -> Any:
        """Attention of the last ``Lq`` positions over the cache, as `metalhead.sdpa` defines it.

        Parameters
        ----------
        q : array ``[batch, query_heads, Lq, head_dim]``
            Its rows stand at the last ``Lq`` positions of each sequence; a row before the start of a shorter
            sequence gives zeros.
        window_size : int or (left, right), optional
            As in `metalhead.sdpa`; a sliding cache has its own and takes no other.
        mask : array, optional
            Broadcasts to ``[batch, query_heads, Lq, length]``: column j is token j of the text.
        scale, causal, softcap, alibi_slopes, sinks, out, return_lse
            As in `metalhead.sdpa`.

        Returns
        -------
        out : ``[batch, query_heads, Lq, value_dim]`` of q's kind and dtype
        lse : float32 ``[batch, query_heads, Lq]``, only if `return_lse`

        Raises
        ------
        ValueError
            If the cache is empty, holds fewer tokens than q has rows, or no longer holds a token that a row
            sees; and whatever the operation rejects.
        """
        config = self._config
        window = self._window(causal, window_size)
        query_rows = self._checked_query_rows(q)
        scores = {"scale": scale, "softcap": softcap}
        if config.keep_first or config.keep_last:
            query = Query(q, causal, window, mask, alibi_slopes, sinks, scores)
            return joined_attention(self._rows, self._state, query, out, return_lse)
        rows, ring = self._operand_rows()
        if mask is not None:
            mask = slice_mask(mask, self._state.starts, rows.stop - rows.start, self.length)
        if config.packed:
            operation: Any = tq_attention
        else:
            operation = flash_attn_vec if 1 <= query_rows <= VECTOR_ROWS else sdpa
        # The operations want one rank: rank 3 throughout for a q without a batch axis.
        sequences = 0 if len(q.shape) == 3 else slice(None)
        return operation(
            q,
            self._rows["k"].view(sequences, rows),
            self._rows["v"].view(sequences, rows),
            causal=causal,
            window_size=window,
            mask=mask,
            alibi_slopes=alibi_slopes,
            sinks=sinks,
            out=out,
            return_lse=return_lse,
            **ring,
            **scores,
        )

    def truncate(self, length: int | Sequence[int] | NDArray) -> None:
        """Drop the tokens from `length` on, as when speculative tokens are rejected.

        Parameters
        ----------
        length : int, or integers ``[batch]``
            Tokens to leave; with one integer, shorter sequences stay as they are.

        Raises
        ------
        ValueError
            If it is negative or above the length, or if a ring has overwritten tokens that the next one sees.
        """
        lengths = np.asarray(length)
        if lengths.dtype.kind not in "iu":
            raise TypeError(f"truncate: length must be an integer, got {lengths.dtype.name}")
        if lengths.shape not in ((), (self._config.batch,)):
            raise ValueError(
                f"truncate: length must be an integer or have shape [{self._config.batch}], "
                f"got shape {list(lengths.shape)}"
            )
        before = self._state.lengths
        limit = before if lengths.ndim else self.length
        if (lengths < 0).any() or (lengths > limit).any():
            raise ValueError(f"truncate: length must be from 0 to {limit}, got {length}")
        ends: list[int] = np.minimum(before, lengths.astype(np.int64)).tolist()
        window = self._config.sliding_window
        if window is not None:
            needed = [
                max(end - (window - 1), 0) if end < length else start
                for end, length, start in zip(ends, before, self._state.starts, strict=True)
            ]
            self._state.require("truncate", needed)
        self._state.cut(ends)

    def reorder(self, batch_indices: Sequence[int] | NDArray) -> None:
        """Make sequence b continue what was sequence ``batch_indices[b]``, as beam search asks.

        Parameters
        ----------
        batch_indices : integers ``[batch]``
            An index may come up several times or not at all.

        Raises
        ------
        ValueError
            If the shape is another or an index is not from 0 to ``batch - 1``.
        MemoryError
            If there is no room for a copy of one head's rows; nothing has moved then.
        """
        batch = self._config.batch
        indices = np.asarray(batch_indices)
        if indices.dtype.kind not in "iu":
            raise TypeError(f"reorder: batch_indices must be integers, got {indices.dtype.name}")
        if indices.shape != (batch,) or indices.min() < 0 or indices.max() >= batch:
            raise ValueError(
                f"reorder: batch_indices must be {batch} integers from 0 to {batch - 1}, "
                f"got {indices.tolist()}"
            )
        order: list[int] = indices.tolist()
        if order != list(range(batch)):
            reorder_rows(list(self._rows.values()), order, self.length)
            self._state.reorder(order)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the tokens and the configuration to a safetensors file, whole or not at all.

        Raises
        ------
        ImportError
            If the optional package safetensors is not installed.
        OSError
            If the file can not be written; a former file at `path` stays as it was.
        """
        arrays = {
            f"{name}.{part}": held_rows(array, *self._state.span(name[:-1]))
            for name, rows in self._rows.items()
            for part, array in rows.arrays().items()
        }
        write_cache_file(path, SavedCache(dataclasses.asdict(self._config), self._state.fields(), arrays))

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, device: Any = None) -> KVCache:
        """Read a file of `save` into a new cache on `device`.

        Raises
        ------
        ValueError
            If the file is truncated, altered, or not a saved cache.
        ImportError
            If the optional package safetensors is not installed.
        """
        saved = read_cache_file(path)
        try:
            cache = cls(**saved.config, device=device)
            cache._restore(saved)
        except (TypeError, KeyError, ValueError) as error:
            raise ValueError(f"load: {os.fspath(path)} does not describe a cache: {error}") from error
        return cache

    def _restore(self, saved: SavedCache) -> None:
        """Fill a new cache from a verified file."""
        self._state.restore(saved.state)
        expected = {
            f"{name}.{part}": (array, self._state.span(name[:-1]))
            for name, rows in self._rows.items()
            for part, array in rows.arrays().items()
        }
        if expected.keys() != saved.arrays.keys():
            raise ValueError(f"arrays must be {sorted(expected)}, got {sorted(saved.arrays)}")
        for name, (array, (size, _, ends)) in expected.items():
            target, given = array[:, :, : min(size, max(ends))], saved.arrays[name]
            if target.shape != given.shape or target.dtype != given.dtype:
                raise ValueError(
                    f"{name} must be {target.dtype} {list(target.shape)}, "
                    f"got {given.dtype} {list(given.shape)}"
                )
            np.copyto(target, given)

    def _window(
        self, causal: bool, window_size: int | tuple[int, int] | None
    ) -> int | tuple[int, int] | None:
        """The window for the operations; `sliding_window` counts the query's own key, they do not."""
        sliding = self._config.sliding_window
        if sliding is None:
            return window_size
        if window_size is not None:
            raise ValueError(
                f"attend: this cache has sliding_window {sliding} and takes no window_size, got {window_size}"
            )
        return (sliding - 1, 0 if causal else -1)

    def _checked_query_rows(self, q: Any) -> int:
        """Query rows of q, after checking that every key that they see is held."""
        shape = tuple(q.shape)
        if len(shape) not in (3, 4):
            raise ValueError(f"attend: q must have rank 3 or 4, got {len(shape)}")
        batch = shape[0] if len(shape) == 4 else 1
        if batch != self._config.batch:
            raise ValueError(f"attend: q must have batch {self._config.batch}, got {batch}")
        rows = int(shape[-2])
        lengths = self._state.lengths
        if not min(lengths):
            raise ValueError(f"attend: every sequence needs tokens, got lengths {lengths}")
        if rows > self.length:
            raise ValueError(f"attend: q may have no more rows than tokens, got {rows} and {self.length}")
        sliding = self._config.sliding_window
        if sliding is not None:
            if self._config.capacity < sliding + rows - 1:
                raise ValueError(
                    f"attend: {rows} rows need capacity {sliding + rows - 1} "
                    f"(sliding_window + rows - 1), got {self._config.capacity}"
                )
            self._state.require("attend", [max(length - rows - sliding + 1, 0) for length in lengths])
        return rows

    def _operand_rows(self) -> tuple[slice, dict[str, Any]]:
        """The rows that attention reads, and the keywords that say where the oldest token lies."""
        capacity, starts, ends = self._state.span("")
        if len(self._state.groups()) == 1:
            rows, ring = locate(capacity, starts[0], ends[0] - starts[0])
            if "kv_lengths" in ring:
                ring["kv_lengths"] = [ring["kv_lengths"]] * len(starts)
            return rows, ring
        held = [end - start for start, end in zip(starts, ends, strict=True)]
        first_rows = [start % capacity for start in starts]
        if any(first_rows):
            return slice(0, capacity), {"ring_start": first_rows, "kv_lengths": held}
        return slice(0, max(held)), {"kv_lengths": held}
