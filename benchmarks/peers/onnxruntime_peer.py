"""ONNX Runtime: the GroupQueryAttention operator over a cache that it appends to, float32, int8 and int4."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

from .. import inputs
from ..cases import Case, kind_of
from ..timing import Item
from . import Backend, slots

BITS = {"int8": 8, "int4": 4}
INPUTS = ("query", "key", "value", "past_key", "past_value", "seqlens_k", "total_sequence_length")
OUTPUTS = ("output", "present_key", "present_value")


class Implementation(Backend):
    """Variants: f32, int8, int4 (prefill, calls: f32). A decode call also writes the newest key and value."""

    version = onnxruntime.__version__

    def prepare(self, case: Case, variant: str, cold_bytes: int) -> Item:
        """See `Backend.prepare`."""
        kind = kind_of(variant)
        stored, scales, newest = _stored(case, kind)
        session = self._session(case, kind)
        count = slots(case.bytes(kind), cold_bytes) if case.op == "decode" else 1
        value = onnxruntime.OrtValue.ortvalue_from_numpy
        query = value(_token_major(inputs.queries_of(case)))
        out = value(np.zeros((1, case.rows, case.query_heads * case.head_dim), np.float32))
        keys = _keys(case)
        calls = []
        for _ in range(count):
            binding = session.io_binding()
            cache = [value(x.copy()) for x in stored]
            fed = [query, *(value(x) for x in newest), *cache]
            fed += [value(np.array([keys - 1], np.int32)), value(np.array(keys, np.int32))]
            for name, x in zip(INPUTS, fed, strict=True):
                binding.bind_ortvalue_input(name, x)
            for name, x in zip(("k_scale", "v_scale"), scales, strict=False):
                binding.bind_ortvalue_input(name, value(x))
            for name, x in zip(OUTPUTS, (out, *cache), strict=True):
                binding.bind_ortvalue_output(name, x)
            # The values live as long as the call that reads them.
            calls.append(lambda binding=binding, kept=fed: session.run_with_iobinding(binding))
        shape = (case.rows, case.query_heads, case.head_dim)
        return Item(calls, lambda result: out.numpy().reshape(shape).transpose(1, 0, 2))

    def _session(self, case: Case, kind: str) -> Any:
        float32, index = TensorProto.FLOAT, TensorProto.INT32
        element, width = float32, case.head_dim
        if kind == "int8":
            element = TensorProto.INT8
        elif kind == "int4":
            element, width = TensorProto.UINT8, case.head_dim // 2
        rows = [1, case.rows, case.kv_heads * case.head_dim]
        wide = [1, case.rows, case.query_heads * case.head_dim]
        cache = [1, case.kv_heads, _keys(case), width]
        shapes = [(float32, wide), (float32, rows), (float32, rows), (element, cache), (element, cache)]
        shapes += [(index, [1]), (index, [])]
        takes = [helper.make_tensor_value_info(n, *s) for n, s in zip(INPUTS, shapes, strict=True)]
        gives = [
            helper.make_tensor_value_info(n, *s)
            for n, s in zip(OUTPUTS, [shapes[0], shapes[3], shapes[4]], strict=True)
        ]
        names = list(INPUTS)
        attributes: dict[str, Any] = {"num_heads": case.query_heads, "kv_num_heads": case.kv_heads}
        if case.window and case.op == "prefill":
            attributes["local_window_size"] = case.window
        if kind in BITS:
            # Five optional inputs before the scales stay empty.
            names += [""] * 5 + ["k_scale", "v_scale"]
            scale = [1, case.kv_heads, 1, case.head_dim]
            takes += [helper.make_tensor_value_info(n, float32, scale) for n in names[-2:]]
            attributes |= {
                "kv_cache_bit_width": BITS[kind],
                "k_quant_type": "PER_CHANNEL",
                "v_quant_type": "PER_CHANNEL",
            }
        node = helper.make_node("GroupQueryAttention", names, OUTPUTS, domain="com.microsoft", **attributes)
        graph = helper.make_graph([node], "attention", takes, gives)
        opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self.threads, 1
        options.log_severity_level = 3
        # Its threads would otherwise go on spinning while others are measured.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        return onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )


def _keys(case: Case) -> int:
    """Keys of the cache: a decode with a window gets just these, because its own window is slower."""
    return case.visible if case.op != "prefill" else case.keys


def _token_major(x: Any) -> Any:
    return np.ascontiguousarray(x.transpose(0, 2, 1, 3).reshape(1, x.shape[2], -1), np.float32)


def _stored(case: Case, kind: str) -> tuple[list[Any], list[Any], list[Any]]:
    """Caches of the kind, their scales (one for each channel), and the rows that a call appends."""
    stored, scales, newest = [], [], []
    keys = _keys(case)
    for source in (inputs.keys_of, inputs.values_of):
        heads, steps, rows = [], [], []
        for head in range(case.kv_heads):
            x = source(case, head)[case.keys - keys :]
            rows.append(x[keys - case.rows :].copy())
            if kind in BITS:
                top = 2 ** (BITS[kind] - 1) - 1
                step = np.abs(x).max(axis=0) / top
                codes = np.clip(np.rint(x / step), -top - 1, top).astype(np.int8)
                steps.append(step)
                x = codes if kind == "int8" else _nibbles(codes)
            heads.append(x)
        stored.append(np.stack(heads)[None])
        newest.append(_token_major(np.stack(rows)[None]))
        if steps:
            scales.append(np.stack(steps)[None, :, None].astype(np.float32))
    return stored, scales, newest


def _nibbles(codes: Any) -> Any:
    """Two 4-bit codes a byte, offset by 8, the even coordinate in the low half."""
    positive = (codes + 8).astype(np.uint8)
    return positive[:, ::2] | (positive[:, 1::2] << 4)
