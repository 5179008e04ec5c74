"""The implementations that are measured, one file each, and what they share."""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from typing import Any

from ..cases import Case
from ..timing import Item

# Name on the command line and in results -> module here.
MODULES = {
    "metalhead": "ours",
    "baseline": "ours",
    "floor": "floor",
    "limits": "limits",
    "torch": "torch_peer",
    "onnxruntime": "onnxruntime_peer",
    "ggml": "ggml_peer",
    "mlx": "mlx_peer",
    "numpy": "numpy_peer",
}
# Compared with: everything that is neither ours nor a bound.
PEERS = ("torch", "onnxruntime", "ggml", "mlx", "numpy")


class Backend(ABC):
    """An implementation in its own process, told once how many threads it may use."""

    version = ""

    def __init__(self, threads: int) -> None:
        self.threads = threads

    @abstractmethod
    def prepare(self, case: Case, variant: str, cold_bytes: int) -> Item:
        """Allocate and fill what the calls of `variant` need, on at least `cold_bytes` of memory."""

    def release(self) -> None:  # noqa: B027 (most hold nothing beyond their items)
        """Drop what outlives items."""


def load(name: str) -> Any:
    """The backend class of a name; ImportError where its package is not installed."""
    return importlib.import_module(f"{__name__}.{MODULES[name]}").Implementation


def slots(item_bytes: int, cold_bytes: int, most: int = 256) -> int:
    """Copies of memory that together reach `cold_bytes`."""
    return max(1, min(most, -(-cold_bytes // max(1, item_bytes))))
