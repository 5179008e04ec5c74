"""Results in the caller's own kind of array: torch, JAX and MLX, by DLPack."""

from __future__ import annotations

import importlib
from typing import Any

from ._core import Array


def like(array: Array, prototype: Any) -> Any:
    """Return `array` as the library that made `prototype` knows it, or as it is if that has no way in."""
    library = type(prototype).__module__.partition(".")[0]
    if library == "torch":
        return importlib.import_module("torch").from_dlpack(array)
    if library in ("jax", "jaxlib"):
        return importlib.import_module("jax.dlpack").from_dlpack(array)
    if library == "mlx":
        return importlib.import_module("mlx.core").array(array)
    return array
