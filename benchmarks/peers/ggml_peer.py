"""ggml's CPU flash attention: what llama.cpp runs."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import numpy as np

from .. import inputs
from ..cases import Case, kind_of
from ..timing import Item
from . import Backend, slots

LIBRARY = Path(__file__).parents[2] / "build" / "bench" / "libggml_shim.so"
NUMPY = {"f32": np.float32, "f16": np.float16}


def _library() -> Any:
    if not LIBRARY.exists():
        raise ImportError("ggml is not built: run benchmarks/install_peers.sh")
    library = ctypes.CDLL(str(LIBRARY))
    pointer, index = ctypes.c_void_p, ctypes.c_int64
    library.bench_version.restype = ctypes.c_char_p
    library.bench_type.argtypes = [ctypes.c_char_p]
    library.bench_row_bytes.argtypes, library.bench_row_bytes.restype = [ctypes.c_int, index], ctypes.c_uint64
    library.bench_quantize.argtypes = [ctypes.c_int, pointer, pointer, index, index]
    library.bench_dequantize.argtypes = [ctypes.c_int, pointer, pointer, index]
    library.bench_attention.argtypes = [
        ctypes.c_int, ctypes.c_int, index, index, index, index, index, ctypes.c_uint64, ctypes.c_float,
        pointer, pointer, pointer, pointer, pointer,
    ]  # fmt: skip
    library.bench_attention.restype = pointer
    library.bench_run.argtypes = library.bench_free.argtypes = [pointer]
    return library


class Implementation(Backend):
    """Variants: f32, f16, bf16, q8_0, q4_0. The cache is head-major, the faster one of ggml's layouts."""

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        self._library = _library()
        self.version = self._library.bench_version().decode()
        self._graphs: list[int] = []

    def prepare(self, case: Case, variant: str, cold_bytes: int) -> Item:
        """See `Backend.prepare`."""
        kind = kind_of(variant)
        type_ = self._library.bench_type(kind.encode())
        row_bytes = self._library.bench_row_bytes(type_, case.head_dim)
        if case.op in ("encode", "unpack"):
            return self._codec(case, type_, row_bytes, cold_bytes)
        keys = case.visible if case.op == "decode" else case.keys
        stored = [
            self._stored(case, source, type_, row_bytes, keys)
            for source in (inputs.keys_of, inputs.values_of)
        ]
        count = slots(case.bytes(kind), cold_bytes) if case.op == "decode" else 1
        mask = inputs.visible_mask(case) if case.op == "prefill" else None
        if mask is not None:
            mask = np.where(mask, np.float16(0), np.float16(-np.inf))
        q = inputs.queries_of(case)
        out = np.zeros((case.rows, case.query_heads, case.head_dim), np.float32)
        calls = []
        run = self._library.bench_run
        for _ in range(count):
            k, v = (x.copy() for x in stored)
            graph = self._library.bench_attention(
                self.threads, type_, case.query_heads, case.kv_heads, case.head_dim, case.rows, keys,
                keys * row_bytes, case.head_dim**-0.5, q.ctypes.data, k.ctypes.data, v.ctypes.data,
                None if mask is None else mask.ctypes.data, out.ctypes.data,
            )  # fmt: skip
            self._graphs.append(graph)
            calls.append(lambda graph=graph, kept=(q, k, v, mask, out): run(graph))
        return Item(calls, lambda result: out.transpose(1, 0, 2))

    def _stored(self, case: Case, source: Any, type_: int, row_bytes: int, keys: int) -> Any:
        stored = np.empty((case.kv_heads, keys, row_bytes), np.uint8)
        for head in range(case.kv_heads):
            x = np.ascontiguousarray(source(case, head)[case.keys - keys :])
            self._library.bench_quantize(type_, x.ctypes.data, stored[head].ctypes.data, keys, case.head_dim)
        return stored

    def _codec(self, case: Case, type_: int, row_bytes: int, cold_bytes: int) -> Item:
        """Quantising and back, on the calling thread."""
        vectors = case.kv_heads * case.keys
        x = np.concatenate([inputs.keys_of(case, head) for head in range(case.kv_heads)])
        count = slots(vectors * (row_bytes + 4 * case.head_dim), cold_bytes)
        rows = np.empty((vectors, row_bytes), np.uint8)
        quantize, dequantize = self._library.bench_quantize, self._library.bench_dequantize
        quantize(type_, x.ctypes.data, rows.ctypes.data, vectors, case.head_dim)
        wide, narrow = ([a.copy() for _ in range(count)] for a in (x, rows))
        if case.op == "encode":
            return Item([
                lambda a=a, b=b: quantize(type_, a.ctypes.data, b.ctypes.data, vectors, case.head_dim)
                for a, b in zip(wide, narrow, strict=True)
            ])  # fmt: skip
        return Item([
            lambda a=a, b=b: dequantize(type_, b.ctypes.data, a.ctypes.data, a.size)
            for a, b in zip(wide, narrow, strict=True)
        ])  # fmt: skip

    def release(self) -> None:
        """Free the graphs; their arrays went with the items."""
        for graph in self._graphs:
            self._library.bench_free(graph)
        self._graphs.clear()
