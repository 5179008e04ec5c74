"""Attention on dense arrays: the declarations of what the native core runs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ._core import native

__all__ = ["flash_attn_vec", "merge_attention", "sdpa", "sdpa_sliding"]


@native
def sdpa(
    q: Any,
    k: Any,
    v: Any,
    *,
    scale: float | None = None,
    causal: bool = True,
    window_size: int | tuple[int, int] | None = None,
    softcap: float = 0.0,
    mask: Any = None,
    alibi_slopes: Any = None,
    sinks: Any = None,
    kv_lengths: Any = None,
    ring_start: Any = 0,
    out: Any = None,
    return_lse: bool = False,
    device: Any = None,
) -> Any:
    """Scaled dot-product attention with grouped query heads.

    Query row i stands at position ``p = kv_length - query_length + i``: the last row sees the last key.

    Parameters
    ----------
    q : array [B, Hq, Lq, D], or [Hq, Lq, D] for batch 1
        float32, float16 or bfloat16. D from 8 to 576.
    k, v : arrays [B, Hkv, Lk, D] and [B, Hkv, Lk, Dv]
        q's dtype, or float16 or bfloat16 under float32 q. Hq is a multiple of Hkv; query head h reads
        KV head ``h // (Hq / Hkv)``.
    scale : float, optional
        Factor on the scores; ``1 / sqrt(D)`` by default.
    causal : bool
        Hide keys after a row's position.
    window_size : int or (left, right), optional
        Inclusive distances; -1 is unbounded and w means (w, 0), so w + 1 keys are visible.
    softcap : float
        Scores become ``softcap * tanh(score / softcap)``; 0 is off.
    mask : array, optional
        Broadcasts to [B, Hq, Lq, Lk]. bool keeps True and drops False; a floating mask is added.
    alibi_slopes : array [Hq], optional
        ``slope * (p - j)`` is taken from the score of key j.
    sinks : array [Hq], optional
        A logit for each head that takes weight but has no value.
    kv_lengths : integers [B], optional
        Valid keys of each sequence; rows past them are never read.
    ring_start : int or integers [B]
        Physical row of the oldest key in a ring buffer of Lk rows.
    out : array [B, Hq, Lq, Dv], optional
        Where the result goes, in its own floating dtype. May not overlap an input.
    return_lse : bool
        Also return the natural log-sum-exp of the scores, float32 [B, Hq, Lq], sinks not included.
    device : str or Device, optional
        Where to run; by default where the arrays are, else the default device.

    Returns
    -------
    array [B, Hq, Lq, Dv] of q's kind and dtype, or the pair (out, lse)
        A row that sees no key is zero, with lse -inf.

    Raises
    ------
    ValueError, TypeError
        For shapes, values and dtypes that break a rule above; nothing has been allocated then.

    Notes
    -----
    Online softmax as in FlashAttention (arXiv 2205.14135); sums are float32 for every dtype.

    Examples
    --------
    >>> import numpy as np, metalhead as mh
    >>> q = np.ones((1, 4, 3, 64), np.float32)
    >>> kv = np.ones((1, 2, 5, 64), np.float32)
    >>> mh.sdpa(q, kv, kv).shape
    (1, 4, 3, 64)
    """


@native
def sdpa_sliding(
    q: Any,
    k: Any,
    v: Any,
    *,
    window_size: int | tuple[int, int],
    scale: float | None = None,
    softcap: float = 0.0,
    sinks: Any = None,
    kv_lengths: Any = None,
    ring_start: Any = 0,
    out: Any = None,
    return_lse: bool = False,
    device: Any = None,
) -> Any:
    """Causal sliding-window attention: `sdpa` with a required ``window_size``.

    Parameters, results and errors are those of `sdpa`. ``window_size=w`` shows the w + 1 keys ``[p - w, p]``;
    a model configuration that counts n keys including the query's own means ``window_size=n - 1``.

    Examples
    --------
    >>> import numpy as np, metalhead as mh
    >>> x = np.arange(4, dtype=np.float32).reshape(1, 4, 1).repeat(8, axis=2)
    >>> mh.sdpa_sliding(x, x, x, window_size=0)[0, :, 0].tolist()
    [0.0, 1.0, 2.0, 3.0]
    """


@native
def flash_attn_vec(
    q: Any,
    k: Any,
    v: Any,
    *,
    scale: float | None = None,
    causal: bool = True,
    window_size: int | tuple[int, int] | None = None,
    softcap: float = 0.0,
    mask: Any = None,
    alibi_slopes: Any = None,
    sinks: Any = None,
    kv_lengths: Any = None,
    ring_start: Any = 0,
    out: Any = None,
    return_lse: bool = False,
    device: Any = None,
    splits: int | None = None,
) -> Any:
    """Decode attention for 1 to 16 query rows: the keys are split over workers and joined exactly.

    Equal to `sdpa` for every input that it takes; parameters, results and errors are those of `sdpa`.
    K and V are read once for all query heads that share a KV head.

    Parameters
    ----------
    splits : int, optional
        Workers that share the keys of one KV head, 1 to 1024; by default chosen from lengths and device.

    Notes
    -----
    Split-KV as in Flash-Decoding; each worker leaves a float32 partial with its maximum and sum.

    Examples
    --------
    >>> import numpy as np, metalhead as mh
    >>> q = np.ones((1, 8, 1, 64), np.float32)
    >>> kv = np.ones((1, 2, 300, 64), np.float32)
    >>> out, lse = mh.flash_attn_vec(q, kv, kv, splits=3, return_lse=True)
    >>> out.shape, lse.shape
    ((1, 8, 1, 64), (1, 8, 1))
    """


@native
def merge_attention(
    outs: Iterable[Any], lses: Iterable[Any], *, out: Any = None, return_lse: bool = False
) -> Any:
    """Join partial attention results over disjoint sets of keys into the result over all of them.

    Parameters
    ----------
    outs : arrays [B, Hq, Lq, Dv] (or [Hq, Lq, Dv]), 1 to 1024 of one shape
        Results of `sdpa`, `flash_attn_vec` or `tq_attention` without sinks.
    lses : float32 arrays [B, Hq, Lq]
        The log-sum-exp of each part, natural logarithm.
    out : array of the parts' shape, optional
        Where the result goes. May not overlap a part.
    return_lse : bool
        Also return the joined log-sum-exp.

    Returns
    -------
    array of the parts' shape and the first part's dtype, or the pair (out, lse)

    Raises
    ------
    ValueError, TypeError
        For parts that differ in shape or number, or have wrong dtypes.

    Examples
    --------
    >>> import numpy as np, metalhead as mh
    >>> rng = np.random.default_rng(0)
    >>> q, k, v = (rng.standard_normal((1, n, 16), dtype=np.float32) for n in (1, 10, 10))
    >>> parts = [
    ...     mh.sdpa(q, k[:, s], v[:, s], causal=False, return_lse=True)
    ...     for s in (slice(0, 4), slice(4, 10))
    ... ]
    >>> joined = mh.merge_attention(*zip(*parts))
    >>> bool(np.allclose(joined, mh.sdpa(q, k, v), atol=1e-6))
    True
    """
