"""NumPy arrays in every layout: the right answer or a clear error, never a crash."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import metalhead as mh
from cases import Dims, check, make_qkv

DIMS = Dims(batch=2, query_heads=4, kv_heads=2, query_length=3, kv_length=21, head_dim=32, value_dim=32)


def layouts(x: Any) -> dict[str, Any]:
    """The same values in memory that is laid out in unusual ways."""
    read_only = x.copy()
    read_only.flags.writeable = False
    spaced = np.full((*x.shape[:-1], 2 * x.shape[-1]), np.nan, x.dtype)[..., ::2]
    spaced[...] = x
    raw = np.zeros(x.nbytes + 1, np.uint8)[1:]
    misaligned = raw.view(x.dtype).reshape(x.shape)
    misaligned[...] = x
    odd_rows = np.zeros((*x.shape[:-1], x.shape[-1] * x.itemsize + 1), np.uint8)
    odd_stride = odd_rows[..., :-1].view(x.dtype)
    odd_stride[...] = x
    return {
        "read-only": read_only,
        "Fortran order": np.asfortranarray(x),
        "byte-swapped": x.astype(x.dtype.newbyteorder()) if x.dtype.kind == "f" else x,
        "spaced last axis": spaced,
        "misaligned": misaligned,
        "odd stride": odd_stride,
        "negative rows": np.ascontiguousarray(x[:, :, ::-1])[:, :, ::-1],
        "negative heads": np.ascontiguousarray(x[:, ::-1])[:, ::-1],
        "negative last axis": np.ascontiguousarray(x[..., ::-1])[..., ::-1],
        "negative batch": np.ascontiguousarray(x[::-1])[::-1],
        "heads last": np.ascontiguousarray(np.moveaxis(x, 1, 3)).transpose(0, 3, 1, 2),
        "subclass": x.view(type("Subclass", (np.ndarray,), {})),
    }


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("layout", list(layouts(np.zeros((1, 1, 1, 8), np.float32))))
@pytest.mark.parametrize("position", [0, 1, 2])
def test_layouts_of_inputs(device, dtype, layout, position):
    arrays = list(make_qkv(DIMS, dtype))
    expected = mh.sdpa(*arrays, device=device)
    arrays[position] = layouts(arrays[position])[layout]
    assert np.array_equal(mh.sdpa(*arrays, device=device), expected)


@pytest.mark.parametrize("layout", list(layouts(np.zeros((1, 1, 1, 8), np.float32)))[1:])
def test_layouts_of_out(device, layout):
    """The right answer in place, or a clear error and an untouched `out`."""
    q, k, v = make_qkv(DIMS)
    out = layouts(np.full(q.shape, 7, np.float32))[layout]
    try:
        mh.sdpa(q, k, v, out=out, device=device)
    except (ValueError, TypeError) as error:
        assert str(error).startswith("sdpa: out ")
        assert (out == 7).all()
    else:
        assert np.array_equal(out, mh.sdpa(q, k, v, device=device))


def test_repeated_heads_and_sequences_by_zero_strides(device):
    q, k, v = make_qkv(DIMS._replace(batch=1, kv_heads=1))
    wide = [np.broadcast_to(x, (3, 2, *x.shape[2:])) for x in (k, v)]
    query = np.broadcast_to(q, (3, *q.shape[1:]))
    check(mh.sdpa, query, *wide, device=device)


def test_zero_size_views(device):
    q, k, v = make_qkv(DIMS)
    assert mh.sdpa(q[:, :, :0], k, v, device=device).shape == (2, 4, 0, 32)
    out = np.empty((2, 4, 0, 32), np.float32)
    assert mh.sdpa(q[:, :, :0], k, v, out=out, device=device) is out
    empty = mh.zeros((2, 4, 0, 32), "float32", device=device)
    assert mh.sdpa(empty, *(mh.asarray(x, device=device) for x in (k, v))).shape == (2, 4, 0, 32)


def test_memory_mapped_files(device, tmp_path):
    q, k, v = make_qkv(DIMS)
    k.tofile(tmp_path / "k")
    mapped = np.memmap(tmp_path / "k", np.float32, mode="r", shape=k.shape)
    assert np.array_equal(mh.sdpa(q, mapped, v, device=device), mh.sdpa(q, k, v, device=device))


def in_pages(x: Any, offset: int) -> Any:
    """The same values `offset` bytes past the start of a 16 KiB page."""
    raw = np.zeros(x.nbytes + 2 * 16384, np.uint8)
    start = -raw.ctypes.data % 16384 + offset
    placed = raw[start : start + x.nbytes].view(x.dtype).reshape(x.shape)
    placed[...] = x
    return placed


def test_whole_pages_are_not_copied(device):
    """Keys and values in whole pages of host memory take no buffer of a GPU's pool; others take one each."""
    q, k, v = make_qkv(Dims(query_heads=4, kv_length=128, head_dim=64, value_dim=64))
    assert k.nbytes % 16384 == 0
    taken = []
    for offset in (0, 64):
        keys, values = in_pages(k, offset), in_pages(v, offset)
        before = mh.Device(device).pool_stats()
        check(mh.sdpa, q, keys, values, device=device)
        after = mh.Device(device).pool_stats()
        taken.append(sum(after[name] - before[name] for name in ("allocations", "reuses")))
    assert taken[1] - taken[0] == (0 if device == "cpu" else 2)
