"""Devices and their memory: listing them, choosing one, making arrays on one."""

from __future__ import annotations

import platform
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import _core
from ._core import Array, Device, default_device, devices, set_default_device

__all__ = [
    "Array", "Device", "asarray", "default_device", "devices", "empty", "info", "set_default_device", "zeros",
]  # fmt: skip


def empty(shape: int | Sequence[int], dtype: Any = "float32", device: Any = None) -> Array:
    """Make an array on a device, contents undefined.

    Parameters
    ----------
    shape : int or sequence of int
        At most 5 axes.
    dtype : str or NumPy dtype
        float32, float16, bfloat16, uint8, int32 or bool.
    device : str or Device, optional
        The default device if not given.

    Raises
    ------
    ValueError, TypeError, MemoryError

    Examples
    --------
    >>> import metalhead as mh
    >>> mh.empty((2, 8), "bfloat16", device="cpu")
    metalhead.Array(shape=(2, 8), dtype=bfloat16, device='cpu')
    """
    return _core.empty(shape, dtype, device)


def zeros(shape: int | Sequence[int], dtype: Any = "float32", device: Any = None) -> Array:
    """Make an array of zeros on a device; parameters and errors as for `empty`.

    Examples
    --------
    >>> import metalhead as mh
    >>> mh.zeros(3).numpy().tolist()
    [0.0, 0.0, 0.0]
    """
    array = _core.empty(shape, dtype, device)
    array.numpy()[...] = 0
    return array


def asarray(x: Any, dtype: Any = None, device: Any = None, copy: bool | None = None) -> Array:
    """Turn anything that NumPy or DLPack can read into an `Array` on a device.

    Parameters
    ----------
    x : array, scalar or nested sequence
        Python floats become float32 and Python integers int32.
    dtype : str or NumPy dtype, optional
        Converted to if given; else x's own, which must be one that `empty` takes.
    device : str or Device, optional
        x's own device if it is an `Array`, else the default device.
    copy : bool, optional
        True always copies, False raises ValueError if a copy is needed, None copies where needed. Only an
        `Array` on the same device is taken without a copy.

    Examples
    --------
    >>> import numpy as np, metalhead as mh
    >>> a = mh.asarray(np.ones((2, 3), np.float16), device="cpu")
    >>> a.dtype, a.shape
    (dtype('float16'), (2, 3))
    >>> mh.asarray(a) is a
    True
    """
    if isinstance(x, Array):
        same_device = device is None or x.device == (Device(device) if isinstance(device, str) else device)
        same_dtype = dtype is None or x.dtype == _core.numpy_dtype(dtype)
        if same_device and same_dtype and not copy:
            return x
        device = x.device if device is None else device
    if copy is False:
        raise ValueError(
            "asarray: this needs a copy (another device, dtype or kind of array), but copy=False was given"
        )
    source = _to_numpy(x)
    target = _core.numpy_dtype(dtype) if dtype is not None else source.dtype
    array = _core.empty(source.shape, target, device)
    array.numpy()[...] = source
    return array


def _to_numpy(x: Any) -> np.ndarray[Any, Any]:
    if isinstance(x, np.ndarray):
        return x
    if isinstance(x, Array) or not hasattr(x, "__dlpack__"):
        array = np.asarray(x)
        if isinstance(x, bool | int | float | list | tuple):
            narrow = {"float64": np.float32, "int64": np.int32}.get(array.dtype.name)
            return array if narrow is None else array.astype(narrow)
        return array
    return _core.numpy_from_dlpack(x)


def info() -> dict[str, Any]:
    """Describe the installation: version, platform, devices, and what has run on which hardware.

    Examples
    --------
    >>> import metalhead as mh
    >>> "cpu" in mh.info()["devices"]
    True
    """
    from . import __version__

    return {
        "version": __version__,
        "python": platform.python_version(),
        "platform": f"{sys.platform} {platform.machine()}",
        "default_device": default_device().name,
        "devices": {name: Device(name).info() for name in devices()},
        "apple_hardware": "not yet run on Apple hardware",
    }
