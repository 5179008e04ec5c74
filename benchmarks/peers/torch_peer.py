"""PyTorch: scaled_dot_product_attention as documented, and in its fastest form for one query row."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import torch

from .. import inputs
from ..cases import Case, kind_of
from ..timing import Item
from . import Backend, slots

DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
STORED = {"f32": np.float32, "f16": np.float16, "bf16": ml_dtypes.bfloat16}


class Implementation(Backend):
    """Variants: gqa- (enable_gqa), plain-, flex- (compiled), fold- (a group's query heads as query rows)."""

    version = torch.__version__

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        torch.set_num_threads(threads)
        torch.set_grad_enabled(False)
        self._arrays: dict[Any, list[Any]] = {}

    def prepare(self, case: Case, variant: str, cold_bytes: int) -> Item:
        """See `Backend.prepare`."""
        how, kind = variant.split("-")[0], kind_of(variant)
        q = torch.from_numpy(inputs.queries_of(case)).to(DTYPES[kind])
        pairs = self._pairs(case, kind, cold_bytes)
        group = case.query_heads // case.kv_heads
        attention = torch.nn.functional.scaled_dot_product_attention
        calls: list[Any]
        if how == "fold":
            folded = q.view(1, case.kv_heads, group, case.head_dim)
            calls = [lambda k=k, v=v: attention(folded, k, v) for k, v in pairs]
        elif how == "flex":
            calls = flex_calls(case, q, pairs)
        elif how == "plain":
            calls = [lambda k=k, v=v: attention(q, k, v) for k, v in pairs]
        else:
            keywords: dict[str, Any] = {"enable_gqa": True}
            if case.op == "prefill" and case.window:
                keywords["attn_mask"] = torch.from_numpy(inputs.visible_mask(case))
            elif case.op == "prefill":
                keywords["is_causal"] = True
            calls = [lambda k=k, v=v: attention(q, k, v, **keywords) for k, v in pairs]
        shape = (case.query_heads, case.rows, case.head_dim)
        return Item(calls, lambda result: result.float().numpy().reshape(shape))

    def _pairs(self, case: Case, kind: str, cold_bytes: int) -> list[Any]:
        """Keys and values, shared by the variants of a case; a window is a slice, the fastest way."""
        if (case, kind) not in self._arrays:
            # NumPy's memory, because it asks for huge pages and torch does not.
            k, v = (np.empty((1, case.kv_heads, case.keys, case.head_dim), STORED[kind]) for _ in range(2))
            inputs.fill(case, k, v)
            first = case.keys - case.visible if case.op != "prefill" else 0
            count = slots(case.bytes(kind), cold_bytes) if case.op == "decode" else 1
            self._arrays[case, kind] = [
                tuple(_tensor(x[:, :, first:].copy(), kind) for x in (k, v)) for _ in range(count)
            ]
        return self._arrays[case, kind]

    def release(self) -> None:
        """Drop the arrays that variants share."""
        self._arrays.clear()


def _tensor(array: Any, kind: str) -> torch.Tensor:
    return (
        torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
        if kind == "bf16"
        else torch.from_numpy(array)
    )


def flex_calls(case: Case, q: torch.Tensor, pairs: list[Any]) -> list[Any]:
    """flex_attention compiled for exactly this shape, with a block mask."""
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    torch._dynamo.reset()
    compiled = torch.compile(flex_attention, dynamic=False)
    window = case.window or case.keys

    def visible(batch: Any, head: Any, row: Any, key: Any) -> Any:
        return (key <= row) & (key > row - window)

    mask = create_block_mask(visible, None, None, case.rows, case.keys, device="cpu")
    return [lambda k=k, v=v: compiled(q, k, v, block_mask=mask, enable_gqa=True) for k, v in pairs]
