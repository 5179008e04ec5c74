"""TurboQuant: vectors packed to 2 to 8 bits a coordinate, and attention on packed keys and values."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, ClassVar

import numpy as np

from . import _core
from ._core import native

__all__ = ["TQFormat", "TQTensor", "codebook", "hadamard", "tq_attention", "tq_decode", "tq_encode"]

FORMAT_VERSION = 1
_DTYPES = {name: np.dtype(name) for name in ("uint8", "float16", "float32")}


@dataclasses.dataclass(frozen=True)
class TQFormat:
    """How vectors are packed: everything a reader of codes and norms must know.

    Parameters
    ----------
    bits : {4, 2, 3, 5, 6, 8}
        Bits of one coordinate. 2 to 6 use the optimal levels of N(0, 1), 8 is linear.
    head_dim : int
        Coordinates of one vector: 32, 64, 128, 256 or 512.
    seed : int or None
        Signs of the rotation, 0 to 2^64 - 1; None is no signs, the format of older kernels.
    norm : {"corrected", "plain", "unbiased"}
        The stored number: ``corrected`` decodes to the exact length, ``unbiased`` to unbiased inner products,
        ``plain`` is the length itself.
    search : {1, 5, 17}
        Scales that the encoder tries; costs time when encoding and nothing else.
    norm_dtype : {"float16", "float32"}
        Storage of the norms.
    version : int
        Of the format's definition; always 1.

    Raises
    ------
    ValueError, TypeError
        For a field that breaks its rule.

    Examples
    --------
    >>> import metalhead as mh
    >>> mh.TQFormat(bits=3).bytes_per_vector
    50
    >>> mh.TQFormat() == mh.TQFormat(bits=4, head_dim=128)
    True
    """

    bits: int = 4
    head_dim: int = 128
    seed: int | None = 0
    norm: str = "corrected"
    search: int = 1
    norm_dtype: str = "float16"
    version: int = dataclasses.field(default=FORMAT_VERSION, kw_only=True)
    _checked: ClassVar[_core.CheckedFormat]  # no field: set on instances, the core's form of the fields

    def __post_init__(self) -> None:
        if self.version != FORMAT_VERSION:
            raise ValueError(f"TQFormat: version must be {FORMAT_VERSION}, got {self.version!r}")
        object.__setattr__(self, "norm_dtype", np.dtype(_core.numpy_dtype(self.norm_dtype)).name)
        object.__setattr__(self, "_checked", _core.CheckedFormat(*self._fields()))

    @property
    def bytes_per_vector(self) -> int:
        """Bytes that one packed vector takes, its norm included."""
        return self.code_bytes + _DTYPES[self.norm_dtype].itemsize

    @property
    def code_bytes(self) -> int:
        """Bytes of one vector's codes: the last axis of `TQTensor.codes`."""
        return self.head_dim * self.bits // 8

    def _fields(self) -> tuple[Any, ...]:
        return (self.bits, self.head_dim, self.seed, self.norm, self.search, self.norm_dtype)

    def __reduce__(self) -> tuple[Any, ...]:
        return functools.partial(TQFormat, *self._fields(), version=self.version), ()


class TQTensor:
    """Packed vectors: codes, norms and the format that gives them their meaning.

    Parameters
    ----------
    codes : uint8 array [..., head_dim * bits / 8]
    norms : array [...] of the format's ``norm_dtype``
    format : TQFormat

    Raises
    ------
    ValueError, TypeError
        If shapes or dtypes do not fit the format.

    Notes
    -----
    The arrays are kept, not copied, whatever library they come from. Indexing takes leading axes (batch,
    head, row) and gives a view.

    Examples
    --------
    >>> import numpy as np, metalhead as mh
    >>> cache = mh.tq_encode(np.ones((1, 2, 10, 64), np.float32), mh.TQFormat(bits=4, head_dim=64))
    >>> cache.shape, cache.nbytes, cache[:, :, :4].shape
    ((1, 2, 10, 64), 680, (1, 2, 4, 64))
    """

    __slots__ = ("codes", "format", "norms")

    def __init__(self, codes: Any, norms: Any, format: TQFormat) -> None:
        if not isinstance(format, TQFormat):
            raise TypeError(f"TQTensor: format must be a TQFormat, got {type(format).__name__}")
        _check_array("codes", codes, "uint8")
        _check_array("norms", norms, format.norm_dtype)
        shape = tuple(codes.shape)
        if not shape or shape[-1] != format.code_bytes:
            raise ValueError(
                f"TQTensor: codes of {format.bits} bits and head_dim {format.head_dim} must end in an axis "
                f"of {format.code_bytes} bytes, got shape {shape}"
            )
        if tuple(norms.shape) != shape[:-1]:
            raise ValueError(
                f"TQTensor: norms must have the shape of codes without the last axis, got "
                f"{tuple(norms.shape)} for codes {shape}"
            )
        self.codes = codes
        self.norms = norms
        self.format = format

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the vectors that the tensor stands for: ``[..., head_dim]``."""
        return (*(int(size) for size in self.codes.shape[:-1]), self.format.head_dim)

    @property
    def nbytes(self) -> int:
        """Bytes of codes and norms."""
        vectors = 1
        for size in self.shape[:-1]:
            vectors *= size
        return vectors * self.format.bytes_per_vector

    def __getitem__(self, key: Any) -> TQTensor:
        entries = key if isinstance(key, tuple) else (key,)
        axes = len(self.shape) - 1
        if any(entry is Ellipsis for entry in entries):
            at = next(i for i, entry in enumerate(entries) if entry is Ellipsis)
            missing = axes - (len(entries) - 1)
            entries = (*entries[:at], *(slice(None),) * missing, *entries[at + 1 :])
        if len(entries) > axes:
            raise IndexError(f"TQTensor: at most {axes} indices (the vectors' axes), got {len(entries)}")
        if any(entry is None for entry in entries):
            raise IndexError("TQTensor: an index must not be None: no axes can be added")
        return TQTensor(self.codes[entries], self.norms[entries], self.format)

    def __repr__(self) -> str:
        return f"metalhead.TQTensor(shape={self.shape}, bits={self.format.bits})"


def tq_encode(x: Any, format: TQFormat, *, out: TQTensor | None = None, device: Any = None) -> TQTensor:
    """Pack vectors: rotate, quantise every coordinate, keep one norm for each vector.

    Parameters
    ----------
    x : array [..., head_dim]
        float32, float16 or bfloat16; one to five axes.
    format : TQFormat
        Its ``head_dim`` must be x's last axis.
    out : TQTensor of x's shape and this format, optional
        Where the result goes, for instance rows of a cache; may not overlap x. The last axis of its codes
        and of its norms must be contiguous.
    device : str or Device, optional
        Where to run; by default where the arrays are, else the default device.

    Returns
    -------
    TQTensor
        Arrays of x's kind, or `out`. The codes are the same bits on every device and instruction set.

    Raises
    ------
    ValueError
        If x holds NaN or infinity, or a norm does not fit ``norm_dtype``. `out` is what it was then.
    TypeError
        For wrong dtypes.

    Notes
    -----
    TurboQuant (arXiv 2504.19874) without its second stage; the norms are those of DRIVE and EDEN. The exact
    rule stands in docs/turboquant.md.

    Examples
    --------
    >>> import numpy as np, metalhead as mh
    >>> x = np.random.default_rng(0).standard_normal((100, 128), dtype=np.float32)
    >>> packed = mh.tq_encode(x, mh.TQFormat(bits=4))
    >>> packed.codes.shape, packed.norms.shape
    ((100, 64), (100,))
    >>> error = mh.tq_decode(packed) - x
    >>> bool((error**2).sum() < 0.0105 * (x**2).sum())
    True
    """
    if not isinstance(format, TQFormat):
        raise TypeError(f"tq_encode: format must be a TQFormat, got {type(format).__name__}")
    if out is None:
        codes, norms = _core.tq_encode(x, format._checked, None, None, device)
        return TQTensor(codes, norms, format)
    if not isinstance(out, TQTensor):
        raise TypeError(f"tq_encode: out must be a TQTensor, got {type(out).__name__}")
    if out.format != format:
        raise ValueError(f"tq_encode: out must have the format {format}, got {out.format}")
    _core.tq_encode(x, format._checked, out.codes, out.norms, device)
    return out


def tq_decode(x: TQTensor, *, rotated: bool = False, dtype: Any = "float32") -> Any:
    """Unpack vectors.

    Parameters
    ----------
    x : TQTensor [..., head_dim]
    rotated : bool
        Leave the vectors in the rotated basis, where they are levels times norm.
    dtype : str or NumPy dtype
        float32, float16 or bfloat16.

    Returns
    -------
    array [..., head_dim] of the kind of x's codes

    Raises
    ------
    TypeError
        If x is no TQTensor or the dtype is not a floating one.

    Examples
    --------
    >>> import numpy as np, metalhead as mh
    >>> x = np.eye(2, 64, dtype=np.float32)
    >>> packed = mh.tq_encode(x, mh.TQFormat(bits=8, head_dim=64, norm_dtype="float32"))
    >>> bool(np.abs(mh.tq_decode(packed) - x).max() < 1e-6)
    True
    """
    if not isinstance(x, TQTensor):
        raise TypeError(f"tq_decode: x must be a TQTensor, got {type(x).__name__}")
    return _core.tq_decode(x.codes, x.norms, x.format._checked, rotated, dtype)


@native
def hadamard(
    x: Any, *, seed: int | None = 0, inverse: bool = False, out: Any = None, device: Any = None
) -> Any:
    """Rotate vectors: signs, then the orthonormal Walsh-Hadamard transform in natural order.

    Parameters
    ----------
    x : array [..., D]
        float32, float16 or bfloat16; D a power of two from 32 to 512.
    seed : int or None
        Of the signs (SplitMix64), 0 to 2^64 - 1; None is no signs.
    inverse : bool
        Undo the rotation: the transform, then the signs.
    out : array of x's shape, optional
        Where the result goes, in its own floating dtype; may not overlap x.
    device : str or Device, optional

    Returns
    -------
    array [..., D] of x's kind and dtype

    Raises
    ------
    ValueError, TypeError
        For shapes and dtypes that break a rule above.

    Examples
    --------
    >>> import numpy as np, metalhead as mh
    >>> x = np.arange(64, dtype=np.float32)
    >>> y = mh.hadamard(x)
    >>> bool(np.allclose(mh.hadamard(y, inverse=True), x, atol=1e-4))
    True
    """


def codebook(bits: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """The levels that codes stand for, ascending, in units of ``norm / sqrt(head_dim)``.

    Parameters
    ----------
    bits : {2, 3, 4, 5, 6, 8}

    Returns
    -------
    float32 NumPy array [2**bits]
        The optimal levels of N(0, 1); for 8 bits the integers from -128.

    Raises
    ------
    ValueError
        For another number of bits.

    Examples
    --------
    >>> import metalhead as mh
    >>> mh.codebook(2).round(4).tolist()
    [-1.5104000568389893, -0.4528000056743622, 0.4528000056743622, 1.5104000568389893]
    """
    levels: np.ndarray[Any, np.dtype[np.float32]] = _core.codebook(bits)
    return levels


@native
def tq_attention(
    q: Any,
    k: Any,
    v: Any,
    *,
    scale: float | None = None,
    causal: bool = True,
    window_size: int | tuple[int, int] | None = None,
    softcap: float = 0.0,
    mask: Any = None,
    alibi_slopes: Any = None,
    sinks: Any = None,
    kv_lengths: Any = None,
    ring_start: Any = 0,
    out: Any = None,
    return_lse: bool = False,
    device: Any = None,
    rotated: bool = False,
    splits: int | None = None,
) -> Any:
    """Attention over packed keys and values, which are never decoded to memory.

    The result is that of `sdpa` over the decoded K and V; parameters, results and errors are those of `sdpa`
    too. Up to 16 query rows take the decode path of `flash_attn_vec`.

    Parameters
    ----------
    q : array [B, Hq, Lq, D], or [Hq, Lq, D] for batch 1
    k, v : TQTensor [B, Hkv, Lk, D] and [B, Hkv, Lk, Dv]
        Each with its own format. Either one may be a dense array instead, as `sdpa` takes it.
    rotated : bool
        q comes rotated as the keys are, and the output stays rotated as the values are: for callers who do
        both themselves. A dense side is not rotated.
    splits : int, optional
        Workers that share the keys of one KV head; for at most 16 query rows.

    Notes
    -----
    q is rotated once for each head and the output rotated back once; the norms multiply finished scores and
    weights.

    Examples
    --------
    >>> import numpy as np, metalhead as mh
    >>> rng = np.random.default_rng(0)
    >>> q = rng.standard_normal((1, 8, 1, 128), dtype=np.float32)
    >>> k, v = rng.standard_normal((2, 1, 2, 300, 128), dtype=np.float32)
    >>> k, v = (mh.tq_encode(x, mh.TQFormat(bits=6)) for x in (k, v))
    >>> exact = mh.sdpa(q, mh.tq_decode(k), mh.tq_decode(v))
    >>> bool(np.allclose(mh.tq_attention(q, k, v), exact, atol=1e-5))
    True
    """


def _check_array(name: str, array: Any, dtype: str) -> None:
    found = getattr(array, "dtype", None)
    if found is None or not hasattr(array, "shape"):
        raise TypeError(f"TQTensor: {name} must be an array, got {type(array).__name__}")
    # By dtype where that can be: NumPy takes microseconds to name one.
    is_numpy = isinstance(found, np.dtype)
    if found != _DTYPES[dtype] if is_numpy else str(found).rpartition(".")[2] != dtype:
        raise TypeError(f"TQTensor: {name} must have dtype {dtype}, got {found}")
