"""MLX on its CPU back end: fast attention, and two quantized products around a softmax."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import mlx.core as mx
import numpy as np

from .. import inputs
from ..cases import Case, kind_of
from ..timing import Item
from . import Backend, slots

DTYPES = {"f32": mx.float32, "f16": mx.float16, "bf16": mx.bfloat16, "mlx4": mx.float32}
GROUP = {"group_size": 64, "bits": 4}


class Implementation(Backend):
    """Variants: f32, bf16, mlx4. The number of threads is its own choice."""

    version = version("mlx")

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        mx.set_default_device(mx.cpu)

    def prepare(self, case: Case, variant: str, cold_bytes: int) -> Item:
        """See `Backend.prepare`."""
        kind = kind_of(variant)
        k, v = (np.empty((1, case.kv_heads, case.keys, case.head_dim), np.float32) for _ in range(2))
        inputs.fill(case, k, v)
        first = case.keys - case.visible if case.op == "decode" else 0
        k, v = (mx.array(x[:, :, first:]).astype(DTYPES[kind]) for x in (k, v))
        if case.op == "encode":
            count = slots(case.bytes("mlx4"), cold_bytes)
            copies = [k + 0 for _ in range(count)]
            mx.eval(copies)
            return Item([lambda x=x: mx.eval(mx.quantize(x, **GROUP)) for x in copies])
        if case.op == "unpack":
            sets = [mx.quantize(k, **GROUP) for _ in range(slots(case.bytes("mlx4"), cold_bytes))]
            mx.eval(sets)
            return Item([lambda x=x: mx.eval(mx.dequantize(*x, **GROUP)) for x in sets])
        q = mx.array(inputs.queries_of(case)).astype(DTYPES[kind])
        count = slots(case.bytes(kind), cold_bytes) if case.op == "decode" else 1
        if kind == "mlx4":
            return packed(case, q, k, v, count)
        mask = "causal" if case.op == "prefill" else None
        if case.op == "prefill" and case.window:
            mask = mx.array(inputs.visible_mask(case))
        scale = case.head_dim**-0.5

        def attend(k: Any, v: Any) -> Any:
            out = mx.fast.scaled_dot_product_attention(q, k, v, scale=scale, mask=mask)
            mx.eval(out)
            return out

        copies = [(k + 0, v + 0) for _ in range(count)]
        mx.eval(q, copies)
        return Item([lambda k=k, v=v: attend(k, v) for k, v in copies], as_numpy)

    def release(self) -> None:
        """Give cached buffers back."""
        mx.clear_cache()


def packed(case: Case, q: Any, k: Any, v: Any, count: int) -> Item:
    """A 4-bit cache as mlx has it: groups of 64 with a scale and a bias."""
    rows = (q * case.head_dim**-0.5).reshape(1, case.kv_heads, -1, case.head_dim)
    copies = [(mx.quantize(k, **GROUP), mx.quantize(v, **GROUP)) for _ in range(count)]
    mx.eval(rows, copies)

    def attend(k: Any, v: Any) -> Any:
        weights = mx.softmax(mx.quantized_matmul(rows, *k, transpose=True, **GROUP), axis=-1)
        out = mx.quantized_matmul(weights, *v, transpose=False, **GROUP)
        out = out.reshape(1, case.query_heads, 1, case.head_dim)
        mx.eval(out)
        return out

    return Item([lambda k=k, v=v: attend(k, v) for k, v in copies], as_numpy)


def as_numpy(result: Any) -> Any:
    """The result in float32, without the batch axis."""
    return np.array(result[0].astype(mx.float32))
