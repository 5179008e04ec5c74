"""Bounds of the smallest call: an extension call that does nothing, and our kernel without Python."""

from __future__ import annotations

import importlib.util
import sysconfig
from pathlib import Path
from typing import Any

import numpy as np

from .. import inputs
from ..cases import Case
from ..timing import Item
from . import Backend

BUILD = Path(__file__).parents[2] / "build" / "bench" / "package" / "benchmarks"
KERNEL_CALLS = 1000


def _extension() -> Any:
    path = BUILD / f"call_floor{sysconfig.get_config_var('EXT_SUFFIX')}"
    spec = importlib.util.spec_from_file_location("call_floor", path)
    if spec is None or spec.loader is None or not path.exists():
        raise ImportError("call_floor is not built for this Python: run make bench or make bench-quick")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Implementation(Backend):
    """Variants: no-operation, bare-kernel."""

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        self._floor = _extension()

    def prepare(self, case: Case, variant: str, cold_bytes: int) -> Item:
        """See `Backend.prepare`."""
        q = inputs.queries_of(case)
        k, v = (np.empty((1, case.kv_heads, case.keys, case.head_dim), np.float32) for _ in range(2))
        inputs.fill(case, k, v)
        out = np.empty_like(q)
        if variant == "bare-kernel":
            run = self._floor.bare_kernel_seconds
            return Item([lambda: run(q, k, v, out, KERNEL_CALLS)], returns_seconds=True)
        nothing = self._floor.no_operation
        return Item([lambda: nothing(q, k, v)])
