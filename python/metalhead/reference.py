"""The oracle: attention in NumPy and float64, as short as its formulas; it judges every other implementation.

Words, shapes and rules are those of the public functions of the same names; nothing is fast or checked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .reference_codec import (
    Format,
    Packed,
    codebook,
    hadamard,
    pack,
    splitmix64_signs,
    tq_decode,
    tq_encode,
    unpack,
)

__all__ = [
    "Format",
    "Packed",
    "codebook",
    "flash_attn_vec",
    "hadamard",
    "merge_attention",
    "pack",
    "plain_float32",
    "sdpa",
    "sdpa_sliding",
    "splitmix64_signs",
    "tq_attention",
    "tq_decode",
    "tq_encode",
    "unpack",
    "visible_keys",
]

Array = npt.NDArray[Any]


def visible_keys(
    query_length: int, kv_length: int, causal: bool, window_size: int | Sequence[int] | None
) -> Array:
    """Which keys each query row may see by position alone.

    Parameters
    ----------
    query_length, kv_length : int
    causal : bool
    window_size : None, int w (meaning ``(w, 0)``) or ``(left, right)``, inclusive distances, -1 unbounded

    Returns
    -------
    bool array ``[query_length, kv_length]``

    Examples
    --------
    >>> visible_keys(2, 3, True, None).astype(int)
    array([[1, 1, 0],
           [1, 1, 1]])
    """
    p = kv_length - query_length + np.arange(query_length)[:, None]
    j = np.arange(kv_length)[None, :]
    visible = np.ones((query_length, kv_length), bool)
    if causal:
        visible &= j <= p
    if window_size is not None:
        left, right = (window_size, 0) if isinstance(window_size, int | np.integer) else window_size
        if left >= 0:
            visible &= p - left <= j
        if right >= 0:
            visible &= j <= p + right
    return visible


def sdpa(q: Any, k: Any, v: Any, *, return_lse: bool = False, **keywords: Any) -> Any:
    """Scaled dot-product attention in float64.

    Parameters
    ----------
    q, k, v : array_like or anything with ``codes``, ``norms`` and ``format``
        ``[batch, heads, length, dim]``, or rank 3 for batch 1.
    return_lse : bool
        Also return the log-sum-exp of each row.
    **keywords
        scale, causal, window_size, softcap, mask, alibi_slopes, sinks, kv_lengths and ring_start, as in
        `metalhead.sdpa`.

    Returns
    -------
    out : float64 ``[batch, query_heads, query_length, value_dim]`` (rank 3 for a rank 3 `q`)
    lse : float64 ``[batch, query_heads, query_length]``, only if `return_lse`

    Examples
    --------
    >>> one = np.ones((1, 1, 8))
    >>> sdpa(one, one, 3 * one).tolist()
    [[[3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0]]]
    """
    out, lse = _attend(q, k, v, np.float64, **keywords)
    return (out, lse) if return_lse else out


def plain_float32(
    q: Any,
    k: Any,
    v: Any,
    *,
    out_dtype: npt.DTypeLike | None = None,
    return_lse: bool = False,
    **keywords: Any,
) -> Any:
    """`sdpa` computed in float32 and rounded to `out_dtype` (default q's): the yardstick of accuracy."""
    out, lse = _attend(q, k, v, np.float32, **keywords)
    out = out.astype(np.asarray(q).dtype if out_dtype is None else out_dtype)
    return (out, lse) if return_lse else out


def sdpa_sliding(q: Any, k: Any, v: Any, *, window_size: int | Sequence[int], **keywords: Any) -> Any:
    """`sdpa` with a required window, causal."""
    return sdpa(q, k, v, window_size=window_size, causal=True, **keywords)


def flash_attn_vec(q: Any, k: Any, v: Any, *, splits: int | None = None, **keywords: Any) -> Any:
    """`sdpa`: how the keys are split over workers is not part of the meaning."""
    return sdpa(q, k, v, **keywords)


def tq_attention(
    q: Any, k: Any, v: Any, *, rotated: bool = False, splits: int | None = None, **keywords: Any
) -> Any:
    """`sdpa` over decoded K and V; `rotated`: q is rotated if K is packed, and so is the output if V is."""
    return sdpa(q, _decoded(k, rotated), _decoded(v, rotated), **keywords)


def merge_attention(outs: Sequence[Any], lses: Sequence[Any], *, return_lse: bool = False) -> Any:
    """Join attention results over disjoint sets of keys.

    Parameters
    ----------
    outs : sequence of arrays ``[..., value_dim]``
    lses : sequence of arrays ``[...]``, the natural log-sum-exp of each part, -inf where a part saw no key

    Returns
    -------
    out, and lse if `return_lse`, in float64

    Examples
    --------
    >>> merge_attention([[1.0], [3.0]], [0.0, 0.0])
    array([2.])
    """
    parts, part_lses = np.asarray(outs).astype(np.float64), np.asarray(lses).astype(np.float64)
    lse = np.logaddexp.reduce(part_lses, axis=0)
    weights = np.exp(part_lses - np.where(np.isneginf(lse), 0, lse))
    out = (weights[..., None] * parts).sum(axis=0)
    return (out, lse) if return_lse else out


def _decoded(x: Any, rotated: bool = False) -> Array:
    return tq_decode(x, rotated=rotated) if hasattr(x, "codes") else np.asarray(x)


def _attend(
    q: Any,
    k: Any,
    v: Any,
    compute: Any,
    *,
    scale: float | None = None,
    causal: bool = True,
    window_size: int | Sequence[int] | None = None,
    softcap: float = 0.0,
    mask: Any = None,
    alibi_slopes: Any = None,
    sinks: Any = None,
    kv_lengths: Any = None,
    ring_start: Any = 0,
) -> tuple[Array, Array]:
    """Output and log-sum-exp of every row, all arithmetic in the type `compute`."""
    q, k, v = np.asarray(q).astype(compute), _decoded(k).astype(compute), _decoded(v).astype(compute)
    rank = q.ndim
    q, k, v = (x[None] if x.ndim == 3 else x for x in (q, k, v))
    (batch, query_heads, query_length, head_dim), capacity = q.shape, k.shape[2]
    lengths = np.broadcast_to(capacity if kv_lengths is None else np.asarray(kv_lengths), batch)
    starts = np.broadcast_to(np.asarray(ring_start), batch)
    if mask is not None:
        mask = np.broadcast_to(np.asarray(mask), (batch, query_heads, query_length, np.shape(mask)[-1]))
    out = np.zeros((batch, query_heads, query_length, v.shape[3]), compute)
    lse = np.zeros((batch, query_heads, query_length), compute)

    for b, (kv_length, start) in enumerate(zip(lengths, starts, strict=True)):
        rows = (start + np.arange(kv_length)) % capacity
        keys, values = (np.repeat(x[b][:, rows], query_heads // x.shape[1], axis=0) for x in (k, v))
        s = q[b] @ keys.swapaxes(1, 2) * compute(head_dim**-0.5 if scale is None else scale)
        if softcap > 0:
            s = compute(softcap) * np.tanh(s / compute(softcap))
        if alibi_slopes is not None:
            distance = kv_length - query_length + np.arange(query_length)[:, None] - np.arange(kv_length)
            s = s - np.asarray(alibi_slopes).astype(compute)[:, None, None] * distance.astype(compute)
        visible = np.broadcast_to(visible_keys(query_length, int(kv_length), causal, window_size), s.shape)
        if mask is not None:
            part = np.broadcast_to(mask[b], (*s.shape[:2], mask.shape[3] if mask.shape[3] > 1 else kv_length))
            part = part[..., :kv_length]
            visible, s = (visible & part, s) if mask.dtype == bool else (visible, s + part.astype(compute))
        out[b], lse[b] = _softmax_times(np.where(visible, s, -np.inf).astype(compute), values, sinks, compute)
    return (out, lse) if rank == 4 else (out[0], lse[0])


def _softmax_times(s: Array, values: Array, sinks: Any, compute: Any) -> tuple[Array, Array]:
    """Softmax of the scores ``[heads, rows, keys]`` with optional sinks ``[heads]``, times the values."""
    top = s.max(axis=2, keepdims=True, initial=-np.inf)
    top = np.where(np.isneginf(top), compute(0), top)
    with np.errstate(divide="ignore", over="ignore"):
        weights = np.exp(s - top)
        total = weights.sum(axis=2, keepdims=True)
        lse = top + np.log(total)
        sink = 0 if sinks is None else np.exp(np.asarray(sinks).astype(compute)[:, None, None] - top)
    return weights @ values / np.where(total == 0, compute(1), total + sink), lse[..., 0]
