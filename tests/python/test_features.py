"""Every feature of attention alone, and every pair of features together, against the reference."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

import metalhead as mh
from cases import DTYPES, Dims, check, make_qkv, random_array

BASE = Dims(batch=2, query_heads=4, kv_heads=2, query_length=5, kv_length=37, head_dim=32, value_dim=32)
OPERATIONS = (mh.sdpa, mh.flash_attn_vec)


@dataclass
class Feature:
    """One thing a caller may ask for; two features of one slot exclude each other.

    Values of `keywords` that are functions are called with the sizes and the dtype of q.
    """

    slot: str
    keywords: dict[str, Any] = field(default_factory=dict)
    dims: dict[str, int] = field(default_factory=dict)
    dtype: str | None = None
    kv_dtype: str | None = None
    layout: Callable[[Any], Any] | None = None


def kept(*axes: int) -> Callable[[Dims, Any], Any]:
    """A boolean mask over these axes of [batch, query_heads, query_length, kv_length], else size 1."""

    def make(dims: Dims, dtype: Any) -> Any:
        full = (dims.batch, dims.query_heads, dims.query_length, dims.kv_length)
        shape = [size if axis in axes else 1 for axis, size in enumerate(full)]
        return np.random.default_rng(7).random(shape) < 0.7

    return make


def added(*axes: int) -> Callable[[Dims, Any], Any]:
    """An additive mask like `kept`, with -inf where that drops."""

    def make(dims: Dims, dtype: Any) -> Any:
        keep = kept(*axes)(dims, dtype)
        return np.where(keep, random_array(8, keep.shape), -np.inf).astype(np.float32)

    return make


def per_head(seed: int) -> Callable[[Dims, Any], Any]:
    """One positive number a query head."""
    return lambda dims, dtype: np.abs(random_array(seed, (dims.query_heads,)))


def token_major(x: Any) -> Any:
    """The same values with memory ordered [batch, length, heads, dim], inside a wider buffer of NaN."""
    batch, heads, length, dim = x.shape
    buffer = np.full((batch, length, heads, dim + 3), np.nan, x.dtype)
    view = buffer[..., :dim].swapaxes(1, 2)
    view[...] = x
    return view


def with_capacity(x: Any) -> Any:
    """The same values as the first rows of a longer buffer of NaN."""
    buffer = np.full((*x.shape[:2], x.shape[2] + 11, x.shape[3]), np.nan, x.dtype)
    buffer[:, :, : x.shape[2]] = x
    return buffer[:, :, : x.shape[2]]


FEATURES = {
    "causal": Feature("causal", {"causal": True}),
    "scale": Feature("scale", {"scale": 0.3}),
    "window": Feature("window", {"window_size": 6}),
    "window_left": Feature("window", {"window_size": (9, -1)}),
    "window_right": Feature("window", {"window_size": (-1, 1)}),
    "window_both": Feature("window", {"window_size": (8, 2)}),
    "softcap": Feature("softcap", {"softcap": 1.5}),
    "sinks": Feature("sinks", {"sinks": per_head(1)}),
    "alibi": Feature("alibi", {"alibi_slopes": per_head(2)}),
    "mask_bool": Feature("mask", {"mask": kept(0, 1, 2, 3)}),
    "mask_bool_keys": Feature("mask", {"mask": kept(0, 3)}),
    "mask_additive": Feature("mask", {"mask": added(0, 1, 2, 3)}),
    "mask_additive_rows": Feature("mask", {"mask": lambda dims, dtype: added(2, 3)(dims, dtype)[0, 0]}),
    "mask_additive_heads": Feature("mask", {"mask": added(1, 3)}),
    "kv_lengths": Feature("kv_lengths", {"kv_lengths": lambda dims, dtype: [23, dims.kv_length]}),
    "ring": Feature("ring", {"ring_start": 30}),
    "ring_each": Feature("ring", {"ring_start": lambda dims, dtype: np.array([5, 36])}),
    "return_lse": Feature("return_lse", {"return_lse": True}),
    "out": Feature("out", {"out": lambda dims, dtype: np.full(dims.shapes[3], np.nan, dtype)}),
    "out_float32": Feature("out", {"out": lambda dims, dtype: np.full(dims.shapes[3], np.nan, np.float32)}),
    "token_major": Feature("layout", layout=token_major),
    "with_capacity": Feature("layout", layout=with_capacity),
    "float16": Feature("dtype", dtype="float16"),
    "bfloat16": Feature("dtype", dtype="bfloat16"),
    "narrower_cache": Feature("dtype", kv_dtype="float16"),
    "one_kv_head": Feature("heads", dims={"query_heads": 3, "kv_heads": 1}),
    "one_query": Feature("rows", dims={"query_length": 1}),
    "value_dim": Feature("value_dim", dims={"value_dim": 24}),
    "odd_head_dim": Feature("head_dim", dims={"head_dim": 45}),
}


def run(operation: Any, names: tuple[str, ...], device: str) -> None:
    """Run an operation with the named features and compare; it is bidirectional without `causal`."""
    features = [FEATURES[name] for name in names]
    dims, dtype, kv_dtype, layout = BASE, "float32", None, None
    keywords: dict[str, Any] = {"causal": False}
    for feature in features:
        dims = dims._replace(**feature.dims)
        dtype, kv_dtype = feature.dtype or dtype, feature.kv_dtype or kv_dtype
        layout = feature.layout or layout
        keywords |= feature.keywords
    keywords = {name: x(dims, DTYPES[dtype]) if callable(x) else x for name, x in keywords.items()}
    arrays = make_qkv(dims, dtype, kv_dtype)
    q, k, v = arrays if layout is None else map(layout, arrays)
    check(operation, q, k, v, context="+".join(names), device=device, **keywords)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.__name__)
@pytest.mark.parametrize("name", FEATURES)
def test_alone(device, operation, name):
    run(operation, (name,), device)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.__name__)
@pytest.mark.parametrize("name", list(FEATURES)[:-1])
def test_pairs(device, budget, operation, name):
    order = list(FEATURES)
    later = [x for x in order[order.index(name) + 1 :] if FEATURES[x].slot != FEATURES[name].slot]
    for other in budget.thin(later):
        run(operation, (name, other), device)


def test_all_at_once(device, budget):
    """One feature of every slot together, in rotating choices."""
    slots = [list(names) for _, names in itertools.groupby(FEATURES, lambda name: FEATURES[name].slot)]
    for turn in budget.thin(range(12)):
        names = tuple(slot[(turn + i) % len(slot)] for i, slot in enumerate(slots))
        for operation in OPERATIONS:
            run(operation, names, device)


@pytest.mark.parametrize(
    "name", ["scale", "softcap", "sinks", "kv_lengths", "ring", "return_lse", "out", "float16"]
)
def test_sliding(device, name):
    feature = FEATURES[name]
    dtype = feature.dtype or "float32"
    keywords = {key: x(BASE, DTYPES[dtype]) if callable(x) else x for key, x in feature.keywords.items()}
    check(mh.sdpa_sliding, *make_qkv(BASE, dtype), window_size=6, context=name, device=device, **keywords)


@pytest.mark.parametrize("dtype", DTYPES)
def test_mask_types(device, dtype):
    """An additive mask may have any of the three float types."""
    q, k, v = make_qkv(BASE)
    mask = added(0, 1, 2, 3)(BASE, None).astype(DTYPES[dtype])
    check(mh.sdpa, q, k, v, mask=mask, device=device)


def test_mask_strides(device):
    """Masks as callers have them: slices of larger ones, transposed, broadcast by zero strides."""
    q, k, v = make_qkv(BASE)
    large = random_array(3, (2, 4, 50, 60))
    for mask in (
        large[:, :, 3:8, :37],
        large[:, :, 3:8, 11:48],
        np.broadcast_to(large[:1, :1, :5, :37], (2, 4, 5, 37)),
        large[:, :, :37, :5].swapaxes(2, 3),
        large[:, :, :5, ::-1][..., :37],
        large[:, :, :1, :1],
    ):
        check(mh.sdpa, q, k, v, mask=mask, context=f"mask strides {mask.strides}", device=device)
