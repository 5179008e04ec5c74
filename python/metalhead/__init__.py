"""metalhead: attention for language-model inference, native on Apple GPUs and CPUs."""

from __future__ import annotations

from importlib.metadata import version as _version

from ._core import DeviceError, KernelError
from .attention import flash_attn_vec, merge_attention, sdpa, sdpa_sliding
from .device import (
    Array,
    Device,
    asarray,
    default_device,
    devices,
    empty,
    info,
    set_default_device,
    zeros,
)
from .kv_cache import KVCache
from .turboquant import TQFormat, TQTensor, codebook, hadamard, tq_attention, tq_decode, tq_encode

__version__ = _version("metalhead")

__all__ = [
    "Array",
    "Device",
    "DeviceError",
    "KVCache",
    "KernelError",
    "TQFormat",
    "TQTensor",
    "asarray",
    "codebook",
    "default_device",
    "devices",
    "empty",
    "flash_attn_vec",
    "hadamard",
    "info",
    "merge_attention",
    "sdpa",
    "sdpa_sliding",
    "set_default_device",
    "tq_attention",
    "tq_decode",
    "tq_encode",
    "zeros",
]
