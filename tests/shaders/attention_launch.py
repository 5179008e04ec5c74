"""Attention on the SIMT runtime: builds the launches that cpp/ops/attention.cpp issues, from NumPy arrays."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np
from tools.metal.build import Mode
from tools.metal.simt import Counters, ShaderLibrary
from tools.metal.toolchain import ROOT

from metalhead import reference

UNBOUNDED = 0x3FFFFFFF
TYPE_CODES = {"float32": 0, "float16": 1, "bfloat16": 2, "uint8": 3}
MASK_KINDS = {"bool": 1, "float32": 2, "float16": 3, "bfloat16": 4}

_INTS = [
    "batch",
    "query_heads",
    "kv_heads",
    "query_length",
    "kv_length",
    "kv_capacity",
    "ring_start",
    "head_dim",
    "value_dim",
    "window_left",
    "window_right",
    "splits",
    "keys_per_split",
    "rows_per_group",
]
_STRIDES = [(f"{side}_strides", np.int64, (3,)) for side in ("query", "key", "value", "out")]
ATTENTION_PARAMS = np.dtype(
    [(name, np.int32) for name in _INTS]
    + [("scale", np.float32), ("softcap", np.float32), *_STRIDES, ("mask_strides", np.int64, (4,))]
    + [("key_norm_strides", np.int64, (3,)), ("value_norm_strides", np.int64, (3,))]
    + [("key_signs", np.uint32, (16,)), ("value_signs", np.uint32, (16,))]
)
REDUCE_PARAMS = np.dtype(
    [(name, np.int32) for name in ["batch", "query_heads", "query_length", "value_dim", "splits", "split"]]
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
    """The array as the runtime takes it: bfloat16 as its bits, booleans as bytes."""
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

    @property
    def rows(self) -> int:
        """Query rows that a threadgroup takes at a time."""
        return 8 * self.row_blocks * self.row_groups

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
    left, right = (-1, -1) if window_size is None else np.broadcast_to(window_size, 2)
    right = 0 if np.ndim(window_size) == 0 and window_size is not None else right
    sides = [UNBOUNDED if side < 0 else side for side in (left, right)]
    return sides[0], 0 if causal else sides[1]


@dataclass
class Launch:
    """One launch in the making: params, function constants and buffers by index."""

    params: Any
    constants: dict[int, Any]
    buffers: dict[int, Any] = field(default_factory=dict)


def _side(x: Any) -> Any:
    """Codes of a packed tensor, or the dense array, in memory as a GPU has it."""
    return aligned(x.codes if hasattr(x, "codes") else x)


def _new_launch(
    q: Any, keys: Any, values: Any, out: Any, tuning: Tuning, splits: int, wide: int | None
) -> Launch:
    params = np.zeros((), ATTENTION_PARAMS)
    params["batch"], params["query_heads"], params["query_length"], params["head_dim"] = q.shape
    params["kv_heads"], params["kv_capacity"] = keys.shape[1:3]
    params["kv_length"], params["value_dim"] = keys.shape[2], out.shape[3]
    params["splits"], params["rows_per_group"] = splits, tuning.rows
    for name, array in (("query", q), ("key", keys), ("value", values), ("out", out)):
        params[f"{name}_strides"] = strides_of(array)
    dtypes = {28 + i: TYPE_CODES[type_name(array)] for i, array in enumerate((q, keys, values, out))}
    wide_rows = (is_wide(keys) | is_wide(values) << 1) if wide is None else wide
    sizes = {
        0: q.shape[3],
        1: out.shape[3],
        8: True,
        19: tuning.row_blocks,
        20: tuning.key_groups,
        21: wide_rows,
    }
    return Launch(params, {**sizes, **dtypes}, {0: bound(q), 1: bound(keys), 2: bound(values)})


def _set_mask(launch: Launch, mask: Any) -> None:
    launch.constants[2] = 0 if mask is None else MASK_KINDS[type_name(np.asarray(mask))]
    if mask is None:
        return
    mask = np.asarray(mask)
    shape = (1,) * (4 - mask.ndim) + mask.shape
    mask = np.ascontiguousarray(mask.reshape(shape))
    steps = [stride // mask.itemsize for stride in mask.strides]
    launch.params["mask_strides"] = [step if size > 1 else 0 for step, size in zip(steps, shape, strict=True)]
    launch.buffers[5] = bound(mask)


def _set_packed(launch: Launch, k: Any, v: Any, rotated: bool) -> None:
    launch.constants[11] = 0
    for x, slot, name in ((k, 0, "key"), (v, 1, "value")):
        packed = hasattr(x, "codes")
        launch.constants[9 + slot] = x.format.bits if packed else 0
        launch.constants[12 + slot] = packed and not rotated
        if packed:
            norms = np.ascontiguousarray(x.norms)
            launch.buffers[10 + slot] = norms
            launch.params[f"{name}_norm_strides"] = [stride // norms.itemsize for stride in norms.strides]
            launch.params[f"{name}_signs"] = sign_bits(x.format.seed, x.format.head_dim)
            launch.constants[11] |= (norms.dtype == np.float16) << slot


def _set_options(launch: Launch, options: dict[str, Any], splits: int) -> None:
    """Everything that `metalhead.sdpa` has keywords for; sinks belong to whoever writes the result."""
    params, constants, buffers = launch.params, launch.constants, launch.buffers
    _set_mask(launch, options.pop("mask", None))
    slopes, sinks, lengths = (options.pop(name, None) for name in ("alibi_slopes", "sinks", "kv_lengths"))
    ring_start = options.pop("ring_start", 0)
    causal = options.pop("causal", True)
    left, right = _window(options.pop("window_size", None), causal)
    params["window_left"], params["window_right"] = left, right
    params["softcap"] = options.pop("softcap", 0.0)
    scale = options.pop("scale", None)
    params["scale"] = float(params["head_dim"]) ** -0.5 if scale is None else scale
    longest = int(params["kv_length"]) if lengths is None else int(np.max(lengths))
    params["keys_per_split"] = max(1, -(-min(longest, int(params["query_length"]) + left) // splits))
    constants[3], constants[4], constants[6] = params["softcap"] > 0, slopes is not None, lengths is not None
    constants[5] = sinks is not None and splits == 1
    constants[22] = np.ndim(ring_start) > 0
    constants[7] = constants[22] or ring_start != 0
    if slopes is not None:
        buffers[6] = np.asarray(slopes, np.float32)
    if lengths is not None:
        buffers[8] = np.asarray(lengths, np.int32)
    if constants[22]:
        buffers[9] = np.asarray(ring_start, np.int32)
    else:
        params["ring_start"] = ring_start
    assert not options, f"unknown options {sorted(options)}"


def attend(
    q: Any,
    k: Any,
    v: Any,
    *,
    tuning: Tuning,
    splits: int | None = 1,
    mode: Mode = "plain",
    seed: int = 0,
    out_dtype: Any = None,
    rotated: bool = False,
    wide: int | None = None,
    **options: Any,
) -> Result:
    """Run attention; ``splits`` None takes the prefill kernel, 1 the decode kernel, more add a reduction.

    ``k`` and ``v`` are arrays or packed tensors of the reference; ``wide`` overrules whether rows are read
    16 bytes at a time (bit 0 keys, bit 1 values); ``options`` are keywords of `metalhead.sdpa`.
    """
    packed = hasattr(k, "codes") or hasattr(v, "codes")
    keys, values = _side(k), _side(v)
    value_dim = v.format.head_dim if hasattr(v, "codes") else values.shape[3]
    q = np.ascontiguousarray(q)
    result = Result(
        np.full((*q.shape[:3], value_dim), 9, out_dtype or q.dtype), np.full(q.shape[:3], 9, np.float32)
    )
    sinks = options.get("sinks")
    launch = _new_launch(q, keys, values, result.out, tuning, splits or 1, wide)
    _set_options(launch, options, splits or 1)
    if packed:
        _set_packed(launch, k, v, rotated)
    kernel, tiles = ("sdpa", _tiles(q, keys, tuning)) if splits is None else ("flash_attn_vec", splits)
    launch.constants[18] = (splits or 1) > 1
    shaders = library(mode)
    name = f"tq_{kernel}" if packed else f"{kernel}_{type_name(keys)}"
    known = {constant["index"] for constant in shaders.kernels[name]["constants"]}
    run = functools.partial(
        _run,
        shaders,
        result,
        seed,
        name,
        constants={index: value for index, value in launch.constants.items() if index in known},
        threadgroup_bytes=[tuning.threadgroup_bytes(q.shape[3], value_dim)],
        threads=32 * tuning.simdgroups(q.shape[3], value_dim),
        grid=(tiles, keys.shape[1], q.shape[0]),
    )
    ends = {3: bound(result.out), 4: result.lse, 7: None if sinks is None else np.asarray(sinks, np.float32)}
    if not launch.constants[18]:
        run(buffers={**launch.buffers, **ends, 30: launch.params})
        return result
    # What a split leaves out must not be read by the reduction.
    parts = {
        12: np.full((*q.shape[:3], tiles, value_dim), np.nan, np.float32),
        13: np.full((*q.shape[:3], tiles, 2), np.nan, np.float32),
    }
    run(buffers={**launch.buffers, **parts, 30: launch.params})
    reduce = np.zeros((), REDUCE_PARAMS)
    for field_name in set(REDUCE_PARAMS.names or ()) - {"split"}:
        reduce[field_name] = launch.params[field_name]
    rotate = launch.constants.get(13, False)
    constants = {1: value_dim, 5: sinks is not None, 8: True, 13: rotate, 28: launch.constants[31]}
    _reduce(shaders, result, seed, constants, {**ends, **parts, 30: reduce})
    return result


def _tiles(q: Any, keys: Any, tuning: Tuning) -> int:
    return -(-q.shape[2] * (q.shape[1] // keys.shape[1]) // tuning.rows)


def _reduce(shaders: ShaderLibrary, result: Result, seed: int, constants: Any, buffers: Any) -> None:
    batch, heads, length = result.lse.shape
    grid = (length, heads, batch)
    _run(
        shaders,
        result,
        seed,
        "flash_attn_vec_reduce",
        constants=constants,
        buffers=buffers,
        grid=grid,
        threads=128,
    )


def _run(shaders: ShaderLibrary, result: Result, seed: int, kernel: str, **launch: Any) -> None:
    result.counters[kernel] = shaders.run(kernel, seed=seed, **launch)


def run_merge(
    outs: Sequence[Any], lses: Sequence[Any], *, mode: Mode = "plain", seed: int = 0
) -> tuple[Any, Any]:
    """Join partial results as cpp/ops/merge_attention.cpp does."""
    batch, heads, length, value_dim = outs[0].shape
    parts = np.full((batch, heads, length, len(outs), value_dim), np.nan, np.float32)
    stats = np.full((batch, heads, length, len(outs), 2), np.nan, np.float32)
    params = np.zeros((), REDUCE_PARAMS)
    params["batch"], params["query_heads"], params["query_length"] = batch, heads, length
    params["value_dim"], params["splits"] = value_dim, len(outs)
    result = Result(np.zeros_like(outs[0]), np.zeros_like(lses[0]))
    shaders = library(mode)
    store = functools.partial(
        _run, shaders, result, seed, "store_partial", grid=(length, heads, batch), threads=128
    )
    for split, (out, lse) in enumerate(zip(outs, lses, strict=True)):
        params["split"], params["out_strides"] = split, strides_of(out)
        buffers = {3: bound(out), 4: lse, 12: parts, 13: stats, 30: params.copy()}
        store(constants={28: TYPE_CODES[type_name(out)]}, buffers=buffers)
    constants = {1: value_dim, 5: False, 8: True, 13: False, 28: TYPE_CODES[type_name(outs[0])]}
    buffers = {3: bound(result.out), 4: result.lse, 12: parts, 13: stats, 30: params}
    _reduce(shaders, result, seed, constants, buffers)
    return result.out, result.lse
