"""Inputs for the attention shaders, and the step that runs one and holds it against the reference."""

from __future__ import annotations

from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
from attention_launch import Result, Tuning, attend

from accuracy import assert_attention_close, assert_lse_close
from metalhead import reference

DTYPES = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
LAUNCH_ONLY = ("tuning", "splits", "mode", "seed", "out_dtype", "wide")


class Dims(NamedTuple):
    """The sizes of one attention problem."""

    query_heads: int = 2
    kv_heads: int = 1
    query_length: int = 1
    kv_length: int = 40
    head_dim: int = 64
    value_dim: int = 64
    batch: int = 1


def make_qkv(
    dims: Dims, dtype: str = "float32", kv_dtype: str | None = None, seed: int = 0
) -> tuple[Any, Any, Any]:
    """Random q, k and v; q is twice as wide as k so that weights are far from uniform."""
    random = np.random.default_rng(seed)

    def array(spread: float, kind: str, *shape: int) -> Any:
        return (spread * random.standard_normal((dims.batch, *shape))).astype(DTYPES[kind])

    kv = kv_dtype or dtype
    return (
        array(2.0, dtype, dims.query_heads, dims.query_length, dims.head_dim),
        array(1.0, kv, dims.kv_heads, dims.kv_length, dims.head_dim),
        array(1.0, kv, dims.kv_heads, dims.kv_length, dims.value_dim),
    )


def check(q: Any, k: Any, v: Any, *, tuning: Tuning, context: str = "", **keywords: Any) -> Result:
    """Run the shaders and compare output and log-sum-exp with the reference by the one rule of accuracy."""
    result = attend(q, k, v, tuning=tuning, **keywords)
    meaning = {name: value for name, value in keywords.items() if name not in LAUNCH_ONLY}
    rotated = meaning.pop("rotated", False)
    keys, values = (reference.tq_decode(x, rotated=rotated) if hasattr(x, "codes") else x for x in (k, v))
    expected, lse = reference.sdpa(q, keys, values, return_lse=True, **meaning)
    plain, plain_lse = reference.plain_float32(
        q, keys, values, out_dtype=result.out.dtype, return_lse=True, **meaning
    )
    context = f"{context} q{q.shape} {q.dtype} {tuning} {sorted(keywords)}"
    assert_attention_close(result.out, expected, plain, context)
    assert_lse_close(result.lse, lse, plain_lse, context)
    return result
