"""The rows of K or of V in a KV cache: dense or TurboQuant-packed arrays addressed by physical row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import ml_dtypes
import numpy as np
import numpy.typing as npt

from . import _core
from .device import Array, empty
from .turboquant import TQFormat, TQTensor, tq_encode

NDArray: TypeAlias = npt.NDArray[Any]

DENSE_KINDS = ("float32", "float16", "bfloat16")
# The least magnitude that each kind rounds to infinity: its largest number and half a unit more.
ROUNDS_TO_INFINITY = {"float32": np.inf, "float16": 65520.0, "bfloat16": 2.0**128 - 2.0**119}
PACKED_KINDS: dict[str, int] = {f"tq{bits}": bits for bits in (2, 3, 4, 5, 6, 8)}
FLOAT_DTYPES = tuple(np.dtype(t) for t in (np.float32, np.float16, ml_dtypes.bfloat16))


class DenseRows:
    """Rows ``[batch, kv_heads, rows, dim]`` in one of the float types."""

    def __init__(self, kind: str, shape: tuple[int, int, int, int], device: Any) -> None:
        self.kind = kind
        self.dim = shape[3]
        self.array = empty(shape, kind, device=device)

    def arrays(self) -> dict[str, NDArray]:
        """The memory behind the rows, by name; axis 2 is the row."""
        return {"rows": self.array.numpy()}

    def check(self, x: NDArray, name: str) -> None:
        """Raise `ValueError` unless every number of `x` is finite in the type of the rows."""
        if x.size == 0:
            return
        # NaN passes through both reductions and compares as false, so it is seen without a temporary array.
        largest = max_magnitude(x)
        if largest < ROUNDS_TO_INFINITY[self.kind]:
            return
        if not largest < np.inf:
            raise ValueError(f"append: {name} must be finite, got NaN or infinity")
        raise ValueError(f"append: {name} must fit {self.kind}, got magnitude {largest:.6g}")

    def stage(self, x: NDArray, name: str) -> Any:
        """`x` in a form whose `write` can not fail."""
        return x

    def write(self, sequences: slice, row: int, x: Any, name: str) -> None:
        """Store `x` ``[sequences, kv_heads, n, dim]`` from physical row `row` on."""
        self.array.numpy()[sequences, :, row : row + x.shape[2]] = x

    def view(self, sequences: slice | int, rows: slice) -> Any:
        """The operand for attention: a view of those sequences and rows."""
        return self.array[sequences, :, rows]


class PackedRows:
    """Rows of TurboQuant codes ``[batch, kv_heads, rows, dim * bits / 8]`` with a float16 norm each."""

    def __init__(self, tq_format: TQFormat, shape: tuple[int, int, int, int], device: Any) -> None:
        self.dim = shape[3]
        self.format = tq_format
        self.device = device
        code_bytes = tq_format.head_dim * tq_format.bits // 8
        codes = empty((*shape[:3], code_bytes), "uint8", device=device)
        norms = empty(shape[:3], tq_format.norm_dtype, device=device)
        self.tensor = TQTensor(codes, norms, tq_format)

    def arrays(self) -> dict[str, NDArray]:
        """The memory behind the rows, by name; axis 2 is the row."""
        return {"codes": self.tensor.codes.numpy(), "norms": self.tensor.norms.numpy()}

    def check(self, x: NDArray, name: str) -> None:
        """Leave the checks to the encoder, which has none to undo when it raises."""

    def stage(self, x: NDArray, name: str) -> Any:
        """`x` encoded aside, so that its `write` can not fail."""
        return self._encoded(x, name, None)

    def write(self, sequences: slice, row: int, x: Any, name: str) -> None:
        """Store `x`, dense or staged, ``[sequences, kv_heads, n, dim]`` from physical row `row` on."""
        view = self.view(sequences, slice(row, row + x.shape[2]))
        if isinstance(x, TQTensor):
            np.copyto(host_array(view.codes), host_array(x.codes))
            np.copyto(host_array(view.norms), host_array(x.norms))
        else:
            self._encoded(x, name, view)

    def view(self, sequences: slice | int, rows: slice) -> Any:
        """The operand for attention: a view of those sequences and rows."""
        # The constructor's checks cost more than a decoding step's share and have passed for the whole.
        view = object.__new__(TQTensor)
        view.codes = self.tensor.codes[sequences, :, rows]
        view.norms = self.tensor.norms[sequences, :, rows]
        view.format = self.format
        return view

    def _encoded(self, x: NDArray, name: str, out: TQTensor | None) -> TQTensor:
        try:
            return tq_encode(x, self.format, out=out, device=self.device)
        except ValueError as error:
            raise ValueError(f"append: {name} can not be packed: {error}") from error


Rows: TypeAlias = DenseRows | PackedRows


def max_magnitude(x: NDArray) -> float:
    """The largest absolute value, NaN if there is one."""
    high, low = np.maximum.reduce(x, axis=None), np.minimum.reduce(x, axis=None)
    return float(high) if high >= -low or high != high else -float(low)


def host_array(x: Any) -> NDArray:
    """`x` as a NumPy array over the same memory where that is possible."""
    if isinstance(x, np.ndarray):
        return x
    if isinstance(x, Array):
        return x.numpy()
    return _core.numpy_from_dlpack(x) if hasattr(x, "__dlpack__") else np.asarray(x)


def make_rows(
    kind: str, shape: tuple[int, int, int, int], seed: int | None, search: int, device: Any
) -> Rows:
    """Rows of a kind: a float type or ``tq2`` to ``tq8``; `shape` is ``[batch, kv_heads, rows, dim]``."""
    if kind in DENSE_KINDS:
        return DenseRows(kind, shape, device)
    return PackedRows(
        TQFormat(bits=PACKED_KINDS[kind], head_dim=shape[3], seed=seed, search=search), shape, device
    )


def reorder_rows(all_rows: list[Rows], indices: Sequence[int], used: int) -> None:
    """Make sequence b a copy of sequence ``indices[b]`` in the first `used` rows of every array."""
    arrays = [array[:, :, :used] for rows in all_rows for array in rows.arrays().values()]
    # One scratch for the largest head comes first: when it can not be had, nothing has been moved.
    scratch = np.empty(max((array[:, 0].nbytes for array in arrays), default=0), np.uint8)
    for array in arrays:
        for head in range(array.shape[1]):
            source = array[:, head]
            moved = scratch[: source.nbytes].view(source.dtype).reshape(source.shape)
            for sequence, index in enumerate(indices):
                np.copyto(moved[sequence], source[index])
            np.copyto(source, moved)
