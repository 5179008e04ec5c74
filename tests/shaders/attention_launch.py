"""Attention on the SIMT runtime: builds the launches that cpp/ops/attention.cpp issues, from NumPy arrays."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np

from metalhead import reference
from tools.metal.build import Mode
from tools.metal.simt import Counters, ShaderLibrary
from tools.metal.toolchain import ROOT

UNBOUNDED = 0x3FFFFFFF
TYPE_CODES = {"float32": 0, "float16": 1, "bfloat16": 2, "uint8": 3}
MASK_KINDS = {"bool": 1, "float32": 2, "float16": 3, "bfloat16": 4}

_INTS = (
    "batch query_heads kv_heads query_length kv_length kv_capacity ring_start head_dim value_dim window_left window_right "
    "splits keys_per_split rows_per_group"
).split()
_STRIDES = [(f"{side}_strides", np.int64, (3,)) for side in ("query", "key", "value", "out")]
ATTENTION_PARAMS = np.dtype(
    [(name, np.int32) for name in _INTS]
    + [("scale", np.float32), ("softcap", np.float32), *_STRIDES, ("mask_strides", np.int64, (4,))]
    + [("key_norm_strides", np.int64, (3,)), ("value_norm_strides", np.int64, (3,))]
    + [("key_signs", np.uint32, (16,)), ("value_signs", np.uint32, (16,))]
)
REDUCE_PARAMS = np.dtype(
    [(name, np.int32) for name in "batch query_heads query_length value_dim splits split".split()]
    + [("out_strides", np.int64, (3,)), ("value_signs", np.uint32, (16,))]
)
assert ATTENTION_PARAMS.itemsize == 16 * 4 + 22 * 8 + 32 * 4
assert REDUCE_PARAMS.itemsize == 6 * 4 + 3 * 8 + 16 * 4


@functools.cache
def library(mode: Mode = "plain") -> ShaderLibrary:
    """All shaders, compiled once for each mode."""
    return ShaderLibrary(sorted((ROOT / "metal").glob("*.metal")), mode=mode)


def type_name(array: Any) -> str:
    """The dtype's name as kernels spell it."""
    return str(array.dtype.name)


def bound(array: Any) -> Any:
    """The array as the runtime takes it: bfloat16 as its bits, anything read as the bytes from its first element on."""
    array = np.asarray(array)
    if array.dtype == ml_dtypes.bfloat16:
        return array.view(np.uint16)
    return array.view(np.uint8) if array.dtype == bool else array


def strides_of(array: Any) -> list[int]:
    """Strides in elements of all axes but the last."""
    return [stride // array.itemsize for stride in array.strides[:-1]]


def sign_bits(seed: int | None, dim: int) -> Any:
    """The rotation's signs as the params carry them."""
    bits = np.zeros(16, np.uint32)
    if seed is not None:
        for j in np.flatnonzero(reference.splitmix64_signs(seed, dim) < 0):
            bits[j // 32] |= np.uint32(1 << (j % 32))
    return bits


@dataclass
class Tuning:
    """How a threadgroup is cut: as cpp/ops/attention_tuning.h has it."""

    row_blocks: int
    key_groups: int
    row_groups: int

    def columns(self, head_dim: int, value_dim: int) -> int:
        """Simdgroups that share the dims."""
        return -(-max(head_dim, value_dim) // (128 // self.row_blocks))

    def simdgroups(self, head_dim: int, value_dim: int) -> int:
        """All simdgroups of a threadgroup."""
        return self.columns(head_dim, value_dim) * self.key_groups * self.row_groups

    def threadgroup_bytes(self, head_dim: int, value_dim: int) -> int:
        """Threadgroup memory: rows and stats, or the scores that columns exchange."""
        rows = 8 * max(head_dim, value_dim) + 16 * self.key_groups
        exchange = 256 * self.simdgroups(head_dim, value_dim) if self.columns(head_dim, value_dim) > 1 else 0
        return -(-4 * max(rows, exchange) // 16) * 16


@dataclass
class Result:
    """What a run gave, and its counters by kernel."""

    out: Any
    lse: Any
    counters: dict[str, Counters] = field(default_factory=dict)


def is_wide(array: Any) -> bool:
    """True if rows start at multiples of 16 bytes and are as long as one."""
    strides = [*array.strides[:-1], array.shape[-1] * array.itemsize, array.ctypes.data % 16]
    return all(stride % 16 == 0 for stride in strides)


def aligned(array: Any) -> Any:
    """A copy whose memory starts at a multiple of 16 bytes, as buffers of a GPU do."""
    room = np.zeros(array.nbytes + 64, np.uint8)
    start = -room.ctypes.data % 64
    copy = room[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


def _window(window_size: Any, causal: bool) -> tuple[int, int]:
    left, right = (-1, -1) if window_size is None else (window_size, 0) if isinstance(window_size, int) else window_size
    sides = [UNBOUNDED if side < 0 else side for side in (left, right)]
    return sides[0], 0 if causal else sides[1]


def attend(
    q: Any,
    k: Any,
    v: Any,
    *,
    tuning: Tuning,
    splits: int | None = 1,
    mode: Mode = "plain",
    seed: int = 0,
    scale: float | None = None,
    causal: bool = True,
    window_size: int | Sequence[int] | None = None,
    softcap: float = 0.0,
    mask: Any = None,
    alibi_slopes: Any = None,
    sinks: Any = None,
    kv_lengths: Any = None,
    ring_start: Any = 0,
    out_dtype: Any = None,
    rotated: bool = False,
    wide: int | None = None,
) -> Result:
    """Run attention; ``splits`` None takes the prefill kernel, 1 the decode kernel alone, more add the reduction.

    ``k`` and ``v`` are arrays or packed tensors of the reference; ``wide`` overrules whether rows are read 16 bytes at a
    time (bit 0 keys, bit 1 values).
    """
    packed = hasattr(k, "codes") or hasattr(v, "codes")
    sides = [x.codes if hasattr(x, "codes") else x for x in (k, v)]
    keys, values = (aligned(x) for x in sides)
    q = np.ascontiguousarray(q)
    batch, query_heads, query_length, head_dim = q.shape
    kv_heads, capacity = keys.shape[1:3]
    value_dim = v.format.head_dim if hasattr(v, "codes") else values.shape[3]
    out = np.full((batch, query_heads, query_length, value_dim), 9, out_dtype or q.dtype)
    lse = np.full((batch, query_heads, query_length), 9, np.float32)
    left, right = _window(window_size, causal)
    lengths = np.full(batch, capacity, np.int32) if kv_lengths is None else np.asarray(kv_lengths, np.int32)
    longest = int(min(lengths.max(), query_length + left))
    rows = 8 * tuning.row_blocks * tuning.row_groups

    params = np.zeros((), ATTENTION_PARAMS)
    sizes = dict(
        batch=batch, query_heads=query_heads, kv_heads=kv_heads, query_length=query_length, kv_length=capacity,
        kv_capacity=capacity, head_dim=head_dim, value_dim=value_dim, window_left=left, window_right=right,
        splits=splits or 1, keys_per_split=max(1, -(-longest // (splits or 1))), rows_per_group=rows, softcap=softcap,
        ring_start=ring_start if np.ndim(ring_start) == 0 else 0,
        scale=head_dim**-0.5 if scale is None else scale,
    )  # fmt: skip
    for name, value in sizes.items():
        params[name] = value
    for name, array in (("query", q), ("key", keys), ("value", values), ("out", out)):
        params[f"{name}_strides"] = strides_of(array)
    has_ring = np.ndim(ring_start) > 0 or ring_start != 0
    wide_rows = (is_wide(keys) | is_wide(values) << 1) if wide is None else wide
    constants: dict[int, Any] = {
        0: head_dim, 1: value_dim, 2: 0 if mask is None else MASK_KINDS[type_name(np.asarray(mask))], 3: softcap > 0,
        4: alibi_slopes is not None, 5: sinks is not None and (splits or 1) == 1, 6: kv_lengths is not None, 7: has_ring,
        8: True, 19: tuning.row_blocks, 20: tuning.key_groups, 21: wide_rows, 22: np.ndim(ring_start) > 0,
        28: TYPE_CODES[type_name(q)], 29: TYPE_CODES[type_name(keys)], 30: TYPE_CODES[type_name(values)],
        31: TYPE_CODES[type_name(out)],
    }  # fmt: skip
    buffers: dict[int, Any] = {0: bound(q), 1: bound(keys), 2: bound(values)}
    if mask is not None:
        mask = np.asarray(mask)
        shape = (1,) * (4 - mask.ndim) + mask.shape
        mask = np.ascontiguousarray(mask.reshape(shape))
        params["mask_strides"] = [
            stride // mask.itemsize if size > 1 else 0 for stride, size in zip(mask.strides, shape, strict=True)
        ]
        buffers[5] = bound(mask)
    if alibi_slopes is not None:
        buffers[6] = np.asarray(alibi_slopes, np.float32)
    if kv_lengths is not None:
        buffers[8] = lengths
    if np.ndim(ring_start) > 0:
        buffers[9] = np.asarray(ring_start, np.int32)
    for side, slot, name in ((k, 10, "key"), (v, 11, "value")):
        if packed:
            bits = side.format.bits if hasattr(side, "codes") else 0
            constants[9 if name == "key" else 10] = bits
        if hasattr(side, "codes"):
            norms = np.ascontiguousarray(side.norms)
            buffers[slot] = norms
            params[f"{name}_norm_strides"] = [stride // norms.itemsize for stride in norms.strides]
            params[f"{name}_signs"] = sign_bits(side.format.seed, side.format.head_dim)
            constants[11] = constants.get(11, 0) | (norms.dtype == np.float16) << (name == "value")
    if packed:
        constants.setdefault(11, 0)
        constants[12] = hasattr(k, "codes") and not rotated
        constants[13] = hasattr(v, "codes") and not rotated

    kernel = "sdpa" if splits is None else "flash_attn_vec"
    host_name = f"tq_{kernel}" if packed else f"{kernel}_{type_name(keys)}"
    grid = (splits or 1, kv_heads, batch)
    if splits is None:
        grid = (-(-query_length * (query_heads // kv_heads) // rows), kv_heads, batch)
    else:
        constants[18] = splits > 1
    shaders = library(mode)
    known = {constant["index"] for constant in shaders.kernels[host_name]["constants"]}
    result = Result(out, lse)
    run = functools.partial(_run, shaders, result, seed)
    launch = dict(
        constants={index: value for index, value in constants.items() if index in known},
        threadgroup_bytes=[tuning.threadgroup_bytes(head_dim, value_dim)],
        threads=32 * tuning.simdgroups(head_dim, value_dim),
    )
    ends: dict[int, Any] = {3: bound(out), 4: lse, 7: None if sinks is None else np.asarray(sinks, np.float32)}
    if splits is None or splits == 1:
        run(host_name, buffers={**buffers, **ends, 30: params}, grid=grid, **launch)
        return result
    # What a split leaves out must not be read by the reduction.
    parts = np.full((batch, query_heads, query_length, splits, value_dim), np.nan, np.float32)
    stats = np.full((batch, query_heads, query_length, splits, 2), np.nan, np.float32)
    run(host_name, buffers={**buffers, 12: parts, 13: stats, 30: params}, grid=grid, **launch)
    reduce = np.zeros((), REDUCE_PARAMS)
    for name in ("batch", "query_heads", "query_length", "value_dim", "splits", "out_strides", "value_signs"):
        reduce[name] = params[name]
    run(
        "flash_attn_vec_reduce",
        constants={1: value_dim, 5: sinks is not None, 8: True, 13: constants.get(13, False), 28: constants[31]},
        buffers={**ends, 12: parts, 13: stats, 30: reduce}, grid=(query_length, query_heads, batch), threads=128,
    )  # fmt: skip
    return result


def _run(shaders: ShaderLibrary, result: Result, seed: int, kernel: str, **launch: Any) -> None:
    result.counters[kernel] = shaders.run(kernel, seed=seed, **launch)


def run_merge(outs: Sequence[Any], lses: Sequence[Any], *, mode: Mode = "plain", seed: int = 0) -> tuple[Any, Any]:
    """Join partial results as cpp/ops/merge_attention.cpp does."""
    batch, heads, length, value_dim = outs[0].shape
    parts = np.full((batch, heads, length, len(outs), value_dim), np.nan, np.float32)
    stats = np.full((batch, heads, length, len(outs), 2), np.nan, np.float32)
    params = np.zeros((), REDUCE_PARAMS)
    params["batch"], params["query_heads"], params["query_length"] = batch, heads, length
    params["value_dim"], params["splits"] = value_dim, len(outs)
    result = Result(np.zeros_like(outs[0]), np.zeros_like(lses[0]))
    run = functools.partial(_run, library(mode), result, seed, grid=(length, heads, batch), threads=128)
    for split, (out, lse) in enumerate(zip(outs, lses, strict=True)):
        params["split"], params["out_strides"] = split, strides_of(out)
        constants = {28: TYPE_CODES[type_name(out)]}
        run("store_partial", constants=constants, buffers={3: bound(out), 4: lse, 12: parts, 13: stats, 30: params.copy()})
    constants = {1: value_dim, 5: False, 8: True, 13: False, 28: TYPE_CODES[type_name(outs[0])]}
    buffers = {3: bound(result.out), 4: result.lse, 12: parts, 13: stats, 30: params}
    run("flash_attn_vec_reduce", constants=constants, buffers=buffers)
    return result.out, result.lse
