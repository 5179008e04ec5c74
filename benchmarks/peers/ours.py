"""metalhead, as its users call it: arrays of the library for K and V, NumPy for the rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

import metalhead as mh
from metalhead import reference

from .. import checks, inputs
from ..cases import Case, kind_of
from ..timing import Item
from . import Backend, slots

DTYPES = {"f32": np.dtype("float32"), "f16": np.dtype("float16"), "bf16": np.dtype(ml_dtypes.bfloat16)}


class Implementation(Backend):
    """Decode by `flash_attn_vec` and `tq_attention`, prefill by `sdpa` and `tq_attention`, the codec."""

    version = f"{mh.__version__} ({mh.Device('cpu').info()['instruction_set']})"

    def prepare(self, case: Case, variant: str, cold_bytes: int) -> Item:
        """See `Backend.prepare`; variants are storage kinds, with a prefix for the ways of calling."""
        if case.op in ("encode", "unpack"):
            return codec(case, kind_of(variant), cold_bytes)
        if case.op == "call":
            return smallest_call(case, variant)
        return (
            packed(case, variant, cold_bytes)
            if variant.startswith("tq")
            else dense(case, variant, cold_bytes)
        )


def _window(case: Case) -> dict[str, Any]:
    return {"window_size": case.window - 1} if case.window else {}


def _places(case: Case, kind: str, cold_bytes: int) -> tuple[int, list[int]]:
    """Rows of one array, and where in it the cache of each call begins.

    A call with a window reads a small part of its cache. Caches that overlap, each beginning one window after
    the last, keep what is read cold without holding many whole ones.
    """
    if case.op == "decode" and case.window:
        count = slots(case.bytes(kind), cold_bytes)
        return case.keys + (count - 1) * case.window, [i * case.window for i in range(count)]
    return case.keys, [0]


def _copies(case: Case, kind: str, cold_bytes: int) -> int:
    return slots(case.bytes(kind), cold_bytes) if case.op == "decode" and not case.window else 1


def _repeat(case: Case, whole: Any, filled: Any, places: list[int]) -> None:
    """Fill an array of overlapping caches so that each of them holds the same visible keys."""
    whole[:, :, : case.keys] = filled
    for place in places[1:]:
        end = place + case.keys
        whole[:, :, end - case.window : end] = filled[:, :, case.keys - case.window :]


def dense(case: Case, kind: str, cold_bytes: int) -> Item:
    """Attention over float32, float16 or bfloat16 arrays."""
    dtype = DTYPES[kind]
    total, places = _places(case, kind, cold_bytes)
    shape = (1, case.kv_heads, case.keys, case.head_dim)
    first_k, first_v = (np.empty(shape, dtype) for _ in range(2))
    inputs.fill(case, first_k, first_v)
    pairs = []
    for _ in range(_copies(case, kind, cold_bytes)):
        pair = [
            mh.empty((1, case.kv_heads, total, case.head_dim), dtype.name, device="cpu") for _ in range(2)
        ]
        for array, filled in zip(pair, (first_k, first_v), strict=True):
            _repeat(case, array.numpy(), filled, places)
        pairs += [[array[:, :, place : place + case.keys] for array in pair] for place in places]
    q = inputs.queries_of(case).astype(dtype)
    out = np.empty_like(q)
    attention = mh.flash_attn_vec if case.op == "decode" else mh.sdpa
    keywords = _window(case)
    return Item(
        [lambda k=k, v=v: attention(q, k, v, out=out, **keywords) for k, v in pairs],
        lambda result: result[0],
        lambda result: checks.assert_accurate(
            case, result[0], q, lambda head: first_k[0, head], lambda head: first_v[0, head]
        ),
    )


def packed(case: Case, kind: str, cold_bytes: int) -> Item:
    """Attention over TurboQuant codes: a float32 query in decode, float16 in prefill, as in the row it is
    held to.
    """
    fmt = mh.TQFormat(bits=int(kind[2:]), head_dim=case.head_dim)
    total, places = _places(case, kind, cold_bytes)
    first = [encoded(case, source, fmt) for source in (inputs.keys_of, inputs.values_of)]
    pairs = []
    for _ in range(_copies(case, kind, cold_bytes)):
        pair = [_tensor(fmt, (1, case.kv_heads, total)) for _ in range(2)]
        for tensor, filled in zip(pair, first, strict=True):
            _repeat(case, tensor.codes.numpy(), filled.codes, places)
            _repeat(case, tensor.norms.numpy(), filled.norms, places)
        pairs += [[tensor[:, :, place : place + case.keys] for tensor in pair] for place in places]
    q = inputs.queries_of(case).astype(DTYPES["f16" if case.op == "prefill" else "f32"])
    out = np.empty_like(q)
    keywords = _window(case)

    def stored(tensor: mh.TQTensor) -> Callable[[int], Any]:
        return lambda head: reference.tq_decode(tensor[0, head])

    return Item(
        [lambda k=k, v=v: mh.tq_attention(q, k, v, out=out, **keywords) for k, v in pairs],
        lambda result: result[0],
        lambda result: checks.assert_accurate(case, result[0], q, stored(first[0]), stored(first[1])),
    )


def _tensor(fmt: mh.TQFormat, shape: tuple[int, ...]) -> mh.TQTensor:
    # Zeros make the pages real here, not in the first calls that are timed.
    codes = mh.zeros((*shape, fmt.code_bytes), "uint8", device="cpu")
    return mh.TQTensor(codes, mh.zeros(shape, fmt.norm_dtype, device="cpu"), fmt)


def encoded(case: Case, source: Callable[[Case, int], Any], fmt: mh.TQFormat) -> mh.TQTensor:
    """Packed rows of every KV head in NumPy arrays, ``[1, kv_heads, keys]``."""
    heads = [mh.tq_encode(source(case, head), fmt) for head in range(case.kv_heads)]
    codes, norms = (np.stack([getattr(x, name) for x in heads])[None] for name in ("codes", "norms"))
    return mh.TQTensor(codes, norms, fmt)


def smallest_call(case: Case, variant: str) -> Item:
    """The smallest decode: with ``out=``, with a new result, or on torch tensors."""
    q = inputs.queries_of(case)
    k, v = (np.empty((1, case.kv_heads, case.keys, case.head_dim), np.float32) for _ in range(2))
    inputs.fill(case, k, v)
    out = np.empty_like(q)
    call: Callable[[], Any]
    if variant == "torch-f32":
        import torch

        tensors = [torch.from_numpy(x) for x in (q, k, v)]
        call = lambda: mh.flash_attn_vec(*tensors)  # noqa: E731
    elif variant == "out-f32":
        call = lambda: mh.flash_attn_vec(q, k, v, out=out)  # noqa: E731
    else:
        call = lambda: mh.flash_attn_vec(q, k, v)  # noqa: E731
    return Item(
        [call],
        lambda result: np.asarray(result)[0],
        lambda result: checks.assert_accurate(
            case, np.asarray(result)[0], q, lambda head: k[0, head], lambda head: v[0, head]
        ),
    )


def codec(case: Case, kind: str, cold_bytes: int) -> Item:
    """Packing float32 vectors, or unpacking them to float32."""
    fmt = mh.TQFormat(bits=int(kind[2:]), head_dim=case.head_dim)
    shape = (1, case.kv_heads, case.keys, case.head_dim)
    x = np.empty(shape, np.float32)
    inputs.fill(case, x, np.empty_like(x))
    count = slots(case.bytes(kind), cold_bytes)
    sample = x[0, -1, :64]
    expected = reference.tq_encode(sample, fmt)
    if case.op == "encode":
        sources, targets = [x.copy() for _ in range(count)], [_tensor(fmt, shape[:3]) for _ in range(count)]

        def same_codes(result: mh.TQTensor) -> None:
            if not np.array_equal(result.codes.numpy()[0, -1, :64], expected.codes):
                raise AssertionError(f"{case.name}: codes differ from the reference's")

        return Item(
            [
                lambda x=x, target=target: mh.tq_encode(x, fmt, out=target)
                for x, target in zip(sources, targets, strict=True)
            ],
            lambda result: _distortion(sample, reference.tq_decode(expected)),
            same_codes,
        )
    tensor = mh.tq_encode(x, fmt)
    copies = [mh.TQTensor(tensor.codes.copy(), tensor.norms.copy(), fmt) for _ in range(count)]

    def same_numbers(result: Any) -> None:
        np.testing.assert_allclose(result[0, -1, :64], reference.tq_decode(expected), rtol=1e-4, atol=1e-5)

    return Item(
        [lambda tensor=tensor: mh.tq_decode(tensor) for tensor in copies],
        lambda result: _distortion(sample, result[0, -1, :64]),
        same_numbers,
    )


def _distortion(x: Any, decoded: Any) -> float:
    """Root of the relative squared error."""
    return float(np.sqrt(((x - decoded) ** 2).sum() / (x**2).sum()))
