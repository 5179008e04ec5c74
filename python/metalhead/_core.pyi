from typing import Any

import numpy
from numpy.typing import NDArray

"""The native core of metalhead: devices, arrays and operations."""

from typing import TypeVar

import numpy


class KernelError(RuntimeError):
    pass

class DeviceError(RuntimeError):
    pass

class Device:
    """
    A device that runs the operations: `Device("cpu")`, `Device("metal")`.

    `threads` and `instruction_set` choose a CPU device of their own; without them the process
    shares one. Raises DeviceError for a device that is not present.
    """

    def __init__(self, name: str, *, threads: int | None = None, instruction_set: str | None = None) -> None: ...

    @property
    def name(self) -> str:
        """The device's name."""

    def info(self) -> dict[str, str]:
        """Facts about the device, as texts by name."""

    def synchronize(self) -> None:
        """
        Waits until all work given to the device has finished; raises the first error among it.
        """

    def warm_up(self) -> None:
        """
        Starts threads and compiles pipelines that first calls would otherwise wait for.
        """

    def pool_stats(self) -> dict[str, int]:
        """Bytes and counts of the device's buffer pool."""

    def set_pool_limit(self, bytes: int) -> None:
        """Bounds how many bytes of freed buffers are kept for reuse."""

    def trim_pool(self) -> None:
        """Gives cached buffers back to the system."""

    def __eq__(self, other: object) -> bool: ...

    def __hash__(self) -> int: ...

    def __repr__(self) -> str: ...

def devices() -> list[str]:
    """Names of the devices of this machine, the default candidate first."""

def default_device() -> Device:
    """The device that runs calls which name none."""

def set_default_device(device: object) -> None:
    """Makes a device, given by name or as a Device, the default."""

class Array:
    """
    Memory of a device, visible to NumPy without a copy.

    Made by `empty`, `zeros`, `asarray` and by operations on arrays. Indexing with integers, slices and
    an ellipsis gives a view.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the axes."""

    @property
    def strides(self) -> tuple[int, ...]:
        """Bytes between neighbours along each axis, as in NumPy."""

    @property
    def dtype(self) -> numpy.dtype[Any]:
        """The NumPy dtype."""

    @property
    def ndim(self) -> int:
        """Number of axes."""

    @property
    def size(self) -> int:
        """Number of elements."""

    @property
    def nbytes(self) -> int:
        """Bytes of the elements."""

    @property
    def device(self) -> Device:
        """The device that holds the memory."""

    def numpy(self) -> NDArray[Any]:
        """A NumPy view of the memory; waits for pending work first."""

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]: ...

    def __dlpack__(self, *, stream: object | None = None, max_version: object | None = None, dl_device: object | None = None, copy: object | None = None) -> object:
        """The memory as a DLPack capsule, after pending work."""

    def __dlpack_device__(self) -> tuple[int, int]:
        """DLPack's name for the CPU."""

    def __getitem__(self, key: object) -> Array: ...

    def __len__(self) -> int: ...

    def __repr__(self) -> str: ...

def numpy_dtype(dtype: object) -> numpy.dtype[Any]: ...

def numpy_from_dlpack(object: object) -> NDArray[Any]: ...

def empty(shape: object, dtype: object, device: object | None = None) -> Array: ...

Declaration = TypeVar("Declaration")

def native(declaration: Declaration) -> Declaration:
    """
    Turns a declaration into the core's function of that name and those parameters.
    """

class CheckedFormat:
    """The fields of a `TQFormat` that have passed their checks."""

    def __init__(self, bits: object, head_dim: object, seed: object | None, norm: object, search: object, norm_dtype: object) -> None: ...

def tq_encode(x: object, format: CheckedFormat, codes: object | None, norms: object | None, device: object | None) -> tuple[Any, Any]: ...

def tq_decode(codes: object, norms: object, format: CheckedFormat, rotated: object, dtype: object) -> object: ...

def codebook(bits: object) -> NDArray[numpy.float32]: ...
