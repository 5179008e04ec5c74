"""Judging results before they are timed: the float64 reference on a sample of heads and rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from metalhead import reference

from . import inputs
from .cases import Case

Floats = npt.NDArray[Any]
# The stored rows ``[keys, head_dim]`` of a KV head, and a function of q, k and v.
Rows = Callable[[int], Floats]
Compute = Callable[..., Floats]

# Beyond this a result is not a less exact one but a wrong one, and is not timed.
WRONG = 0.5


def sample(case: Case) -> tuple[list[int], list[int]]:
    """Query heads and rows that are checked; fewer of long caches, whose float64 copies take minutes."""
    some = {0, case.query_heads - 1} | ({case.query_heads // 2 + 1} if case.keys < 1 << 17 else set())
    heads = sorted(some & set(range(case.query_heads)))
    rows = sorted({0, 1, case.rows // 2, case.rows - 1} & set(range(case.rows)))
    return heads, rows


def _rows_of(case: Case, q: Floats, key: Rows, value: Rows, computes: Sequence[Compute]) -> list[Floats]:
    """Sampled rows ``[heads, rows, head_dim]`` by each of several ways to compute attention."""
    heads, rows = sample(case)
    group = case.query_heads // case.kv_heads
    window = {"window_size": case.window - 1} if case.window else {}
    outs = [np.zeros((len(heads), len(rows), case.head_dim)) for _ in computes]
    for i, head in enumerate(heads):
        k, v = key(head // group), value(head // group)
        for j, row in enumerate(rows):
            # The last row sees the last key: row p alone sees exactly the first p + 1 keys.
            end = case.keys - case.rows + row + 1
            given = q[0, head : head + 1, row : row + 1], k[None, :end], v[None, :end]
            for out, compute in zip(outs, computes, strict=True):
                out[i, j] = compute(*given, **window)[0, 0]
    return outs


@lru_cache(maxsize=2)
def exact(case: Case) -> Floats:
    """The sampled rows in float64, from the numbers before any rounding to a storage kind."""
    (out,) = _rows_of(
        case,
        inputs.queries_of(case),
        lambda head: inputs.keys_of(case, head),
        lambda head: inputs.values_of(case, head),
        [reference.sdpa],
    )
    return out


def _sampled(case: Case, out: Floats) -> Floats:
    heads, rows = sample(case)
    return np.asarray(out, np.float64)[np.ix_(heads, rows)]


def error(case: Case, out: Floats) -> float:
    """Largest error of ``[query_heads, rows, head_dim]``, relative to the largest exact value."""
    expected = exact(case)
    difference = np.abs(_sampled(case, out) - expected).max()
    return float(difference / np.abs(expected).max()) if np.isfinite(difference) else float("inf")


def assert_accurate(case: Case, out: Floats, q: Floats, key: Rows, value: Rows) -> None:
    """The project's rule for its own kernels: at most twice the error of plain float32, plus 1e-6.

    `q`, `key` and `value` are what the kernel was given, rounded or unpacked; plain float32 is rounded to q's
    dtype.
    """
    expected, plain = _rows_of(case, q, key, value, [reference.sdpa, reference.plain_float32])
    allowed = 2 * np.abs(plain - expected).max() + 1e-6 * np.abs(expected).max()
    found = np.abs(_sampled(case, out) - expected).max()
    if not found <= allowed:
        raise AssertionError(f"{case.name}: error {found:.3g} against the reference, allowed {allowed:.3g}")
