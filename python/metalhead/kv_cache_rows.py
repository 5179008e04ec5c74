"""The rows of K or of V in a KV cache: dense or TurboQuant-packed arrays addressed by physical row."""

from __future__ import annotations

from typing import Any, TypeAlias

import ml_dtypes
import numpy as np
import numpy.typing as npt

from .device import asarray, empty
from .turboquant import TQFormat, TQTensor, tq_encode

NDArray: TypeAlias = npt.NDArray[Any]

FLOAT_TYPES: dict[str, Any] = {
    "float32": np.float32,
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
}
DENSE_KINDS = tuple(FLOAT_TYPES)
PACKED_KINDS: dict[str, int] = {f"tq{bits}": bits for bits in (2, 3, 4, 5, 6, 8)}


class DenseRows:
    """Rows ``[batch, kv_heads, rows, dim]`` in one of the float types."""

    def __init__(self, kind: str, shape: tuple[int, int, int, int], device: Any) -> None:
        self.dim = shape[3]
        self.array = empty(shape, kind, device=device)

    def arrays(self) -> dict[str, NDArray]:
        """The memory behind the rows, by name; axis 2 is the row."""
        return {"rows": self.array.numpy()}

    def check(self, x: NDArray, name: str) -> None:
        """Raise `ValueError` unless every number of `x` is finite in the type of the rows."""
        if x.size == 0:
            return
        dtype = self.array.numpy().dtype
        # NaN passes through max and min, so one look at both covers it, without a temporary array.
        largest = np.maximum(x.max(), -x.min()).astype(np.float32)
        if not np.isfinite(largest):
            raise ValueError(f"append: {name} must be finite, got NaN or infinity")
        with np.errstate(over="ignore"):
            fits = np.isfinite(largest.astype(dtype))
        if not fits:
            raise ValueError(f"append: {name} must fit {dtype.name}, got magnitude {float(largest):.6g}")

    def stage(self, x: NDArray) -> Any:
        """`x` in a form whose `write` can not fail."""
        return x

    def write(self, sequences: slice, row: int, x: Any) -> None:
        """Store `x` ``[sequences, kv_heads, n, dim]`` from physical row `row` on."""
        np.copyto(self.array.numpy()[sequences, :, row : row + x.shape[2]], x, casting="unsafe")

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
        self.codes = empty((*shape[:3], code_bytes), "uint8", device=device)
        self.norms = empty(shape[:3], tq_format.norm_dtype, device=device)

    def arrays(self) -> dict[str, NDArray]:
        """The memory behind the rows, by name; axis 2 is the row."""
        return {"codes": self.codes.numpy(), "norms": self.norms.numpy()}

    def check(self, x: NDArray, name: str) -> None:
        """Raise `ValueError` unless every number of `x` is finite; the norms are checked by the encoder."""
        if x.size and not np.isfinite(np.maximum(x.max(), -x.min()).astype(np.float32)):
            raise ValueError(f"append: {name} must be finite, got NaN or infinity")

    def stage(self, x: NDArray) -> Any:
        """`x` encoded aside, so that its `write` can not fail."""
        return tq_encode(x, self.format, device=self.device)

    def write(self, sequences: slice, row: int, x: Any) -> None:
        """Store `x`, dense or staged, ``[sequences, kv_heads, n, dim]`` from physical row `row` on."""
        view = self.view(sequences, slice(row, row + x.shape[2]))
        if isinstance(x, TQTensor):
            np.copyto(host_array(view.codes), host_array(x.codes))
            np.copyto(host_array(view.norms), host_array(x.norms))
        else:
            tq_encode(x, self.format, out=view, device=self.device)

    def view(self, sequences: slice | int, rows: slice) -> Any:
        """The operand for attention: a view of those sequences and rows."""
        return TQTensor(self.codes[sequences, :, rows], self.norms[sequences, :, rows], self.format)


Rows: TypeAlias = DenseRows | PackedRows


def host_array(x: Any) -> NDArray:
    """`x` as a NumPy array over the same memory where that is possible."""
    return x if isinstance(x, np.ndarray) else np.asarray(asarray(x).numpy())


def slice_staged(x: Any, rows: slice) -> Any:
    """Rows of what `stage` returned."""
    if isinstance(x, TQTensor):
        return TQTensor(x.codes[:, :, rows], x.norms[:, :, rows], x.format)
    return x[:, :, rows]


def make_rows(
    kind: str, shape: tuple[int, int, int, int], seed: int | None, search: int, device: Any
) -> Rows:
    """Rows of a kind: a float type or ``tq2`` to ``tq8``; `shape` is ``[batch, kv_heads, rows, dim]``."""
    if kind in FLOAT_TYPES:
        return DenseRows(kind, shape, device)
    return PackedRows(
        TQFormat(bits=PACKED_KINDS[kind], head_dim=shape[3], seed=seed, search=search), shape, device
    )


def reorder_rows(all_rows: list[Rows], indices: NDArray, used: int) -> None:
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
