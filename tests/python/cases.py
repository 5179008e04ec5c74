"""Inputs for attention tests, and the step that runs an operation and compares it with the reference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
from hypothesis import given, settings
from hypothesis.strategies import SearchStrategy

import metalhead as mh
from accuracy import assert_attention_close, assert_lse_close
from metalhead import reference

DTYPES = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
WITHOUT_MEANING = ("out", "splits")


class Budget(NamedTuple):
    """How much work a device is given: a simulated one is hundreds of times slower than a native one."""

    examples: int
    max_length: int
    keep_every: int

    def thin(self, items: Sequence[Any]) -> Sequence[Any]:
        """Every `keep_every`-th item, the first included."""
        return items[:: self.keep_every]


NATIVE = Budget(examples=60, max_length=300, keep_every=1)
SIMULATED = Budget(examples=30, max_length=300, keep_every=2)
SMALL = Budget(examples=8, max_length=60, keep_every=7)


class Dims(NamedTuple):
    """The sizes of one attention problem."""

    batch: int = 1
    query_heads: int = 2
    kv_heads: int = 2
    query_length: int = 4
    kv_length: int = 33
    head_dim: int = 64
    value_dim: int = 64

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of q, k, v and the output."""
        rows = (self.batch, self.query_heads, self.query_length)
        keys = (self.batch, self.kv_heads, self.kv_length)
        return (
            (*rows, self.head_dim),
            (*keys, self.head_dim),
            (*keys, self.value_dim),
            (*rows, self.value_dim),
        )


def random_array(seed: Any, shape: Sequence[int], dtype: str = "float32", spread: float = 1.0) -> Any:
    """Gaussian values, the same for the same seed."""
    return (spread * np.random.default_rng(seed).standard_normal(shape)).astype(DTYPES[dtype])


def make_qkv(
    dims: Dims, dtype: str = "float32", kv_dtype: str | None = None, seed: int = 0
) -> tuple[Any, Any, Any]:
    """Random q, k and v; q is twice as wide as k so that weights are far from uniform."""
    q_shape, k_shape, v_shape, _ = dims.shapes
    kv_dtype = kv_dtype or dtype
    return (
        random_array((seed, 0), q_shape, dtype, 2.0),
        random_array((seed, 1), k_shape, kv_dtype),
        random_array((seed, 2), v_shape, kv_dtype),
    )


def make_cancelling_qkv(dims: Dims, dtype: str = "float32", seed: int = 0) -> tuple[Any, Any, Any]:
    """Nearly equal weights of opposite values: what is left of 4000 keys shows the error of every weight."""
    q, k, v = make_qkv(dims, dtype, seed=seed)
    signs = np.where(np.arange(dims.kv_length) % 2 == 0, 1, -1)[:, None]
    values = 64 * signs * v[:, :, :1].astype(np.float64)
    return (q * 0.00025).astype(q.dtype), k, values.astype(v.dtype)


def make_rising_qkv(dims: Dims, dtype: str = "float32", seed: int = 0) -> tuple[Any, Any, Any]:
    """Scores that grow with the key, so that the largest so far changes again and again: up to 2 per key."""
    q, k, v = make_qkv(dims, dtype, seed=seed)
    slopes = np.linspace(0.1, 2, dims.query_length)[:, None] / np.sqrt(dims.head_dim)
    keys = k + np.arange(dims.kv_length)[:, None]
    return np.broadcast_to(slopes, q.shape).astype(q.dtype), keys.astype(k.dtype), v


def check(
    operation: Callable[..., Any], q: Any, k: Any, v: Any, *, context: str = "", **keywords: Any
) -> Any:
    """Run `operation`, hold its result against the reference, and return it; `device` is a keyword."""
    result = operation(q, k, v, **keywords)
    meaning = {name: x for name, x in keywords.items() if name not in (*WITHOUT_MEANING, "device")}
    if operation is mh.sdpa_sliding:
        meaning["causal"] = True
    wants_lse = meaning.pop("return_lse", False)
    given = keywords.get("out")
    dtype = q.dtype if given is None else given.dtype
    expected, expected_lse = reference.sdpa(q, k, v, return_lse=True, **meaning)
    plain, plain_lse = reference.plain_float32(q, k, v, out_dtype=dtype, return_lse=True, **meaning)
    context = f"{operation.__name__} {context} q{np.shape(q)} k{np.shape(k)} {sorted(meaning)}"
    out, lse = result if wants_lse else (result, None)
    if given is not None:
        assert out is given, f"{context}: the result is not the given out"
    assert out.dtype == dtype, f"{context}: dtype {out.dtype}"
    assert_attention_close(out, expected, plain, context)
    if wants_lse:
        assert lse.dtype == np.float32, f"{context}: lse dtype {lse.dtype}"
        assert_lse_close(lse, expected_lse, plain_lse, context)
    return result


def for_examples(budget: Budget, strategy: SearchStrategy[Any], body: Callable[[Any], None]) -> None:
    """Run `body` on as many hypothesis examples as the budget allows."""

    @settings(max_examples=budget.examples)
    @given(strategy)
    def run(example: Any) -> None:
        body(example)

    run()
