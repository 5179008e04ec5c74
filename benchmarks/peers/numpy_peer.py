"""NumPy: attention written out, what one has without any package."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from .. import inputs
from ..cases import Case
from ..timing import Item
from . import Backend, slots


class Implementation(Backend):
    """Variant: f32. Threads are those of its BLAS, set through the environment."""

    version = np.__version__

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        if os.environ.get("OPENBLAS_NUM_THREADS") != str(threads):
            raise RuntimeError("numpy: its BLAS takes its threads from OPENBLAS_NUM_THREADS")

    def prepare(self, case: Case, variant: str, cold_bytes: int) -> Item:
        """See `Backend.prepare`."""
        group = case.query_heads // case.kv_heads
        k, v = (np.empty((1, case.kv_heads, case.keys, case.head_dim), np.float32) for _ in range(2))
        inputs.fill(case, k, v)
        q = inputs.queries_of(case)[0] * np.float32(case.head_dim**-0.5)
        if case.op == "prefill":
            mask = inputs.visible_mask(case)
            return Item([lambda: _prefill(q, k[0], v[0], mask, group)], lambda result: result)
        first = case.keys - case.visible
        k, v = (np.ascontiguousarray(x[0, :, first:]) for x in (k, v))
        rows = q.reshape(case.kv_heads, group, case.head_dim)
        copies = [(k.copy(), v.copy()) for _ in range(slots(case.bytes("f32"), cold_bytes))]
        return Item(
            [lambda k=k, v=v: _decode(rows, k, v) for k, v in copies],
            lambda result: result.reshape(case.query_heads, 1, case.head_dim),
        )


def _softmax(scores: Any) -> Any:
    scores -= scores.max(-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(-1, keepdims=True)
    return scores


def _decode(q: Any, k: Any, v: Any) -> Any:
    return _softmax(q @ k.swapaxes(1, 2)) @ v


def _prefill(q: Any, k: Any, v: Any, mask: Any, group: int) -> Any:
    """One head at a time, so that one matrix of scores is held."""
    out = np.empty_like(q)
    for head in range(len(q)):
        scores = np.where(mask, q[head] @ k[head // group].T, np.float32(-np.inf))
        np.matmul(_softmax(scores), v[head // group], out=out[head])
    return out
