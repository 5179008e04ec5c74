"""Arrays: metalhead's own, NumPy's in every layout, and those of others through DLPack."""

from __future__ import annotations

import gc
import mmap

import ml_dtypes
import numpy as np
import pytest

import metalhead as mh
from cases import DTYPES, Dims, check, make_qkv, random_array
from metalhead import reference

DIMS = Dims(batch=2, query_heads=4, kv_heads=2, query_length=3, kv_length=21, head_dim=32, value_dim=32)


def on_device(arrays, device):
    return [mh.asarray(x, device=device) for x in arrays]


@pytest.mark.parametrize("dtype", [*DTYPES, "uint8", "int32", "bool"])
@pytest.mark.parametrize("shape", [(), (5,), (2, 3), (1, 2, 3, 8)])
def test_properties(device, dtype, shape):
    a = mh.zeros(shape, dtype, device=device)
    assert a.shape == shape
    assert str(np.dtype(a.dtype)) == dtype
    assert a.device == mh.Device(device)
    view = a.numpy()
    assert view.shape == shape
    assert str(view.dtype) == dtype
    assert tuple(a.strides) == view.strides
    assert not view.any()
    assert mh.empty(shape, dtype, device=device).shape == shape


@pytest.mark.parametrize(
    "dtype", [np.float32, np.float16, ml_dtypes.bfloat16, np.dtype("float32"), "bfloat16"]
)
def test_dtype_may_be_named_in_any_way(device, dtype):
    assert np.dtype(mh.empty((2,), dtype, device=device).dtype) == np.dtype(dtype)


def test_numpy_sees_the_memory_itself(device):
    a = mh.zeros((2, 3), "float32", device=device)
    a.numpy()[1, 2] = 5
    assert np.asarray(a)[1, 2] == 5
    assert np.shares_memory(np.asarray(a), a.numpy())
    copied = np.array(a, copy=True)
    copied[...] = 1
    assert a.numpy()[0, 0] == 0


def test_memory_outlives_the_array(device):
    seen = mh.asarray(np.arange(1000, dtype=np.float32), device=device).numpy()
    gc.collect()
    others = [mh.zeros((1000,), "float32", device=device) for _ in range(20)]
    assert np.array_equal(seen, np.arange(1000))
    del others


def test_views_share_memory(device):
    a = mh.asarray(random_array(0, (2, 3, 10, 8)), device=device)
    view = a[:, 1:, 2:9:3]
    expected = a.numpy()[:, 1:, 2:9:3]
    assert view.shape == expected.shape
    assert tuple(view.strides) == expected.strides
    assert np.array_equal(view.numpy(), expected)
    view.numpy()[...] = 0
    assert not a.numpy()[:, 1:, 2:9:3].any()
    assert a[1].shape == (3, 10, 8)
    assert a[..., 0].shape == (2, 3, 10)
    assert np.array_equal(a[-1, :, 3].numpy(), a.numpy()[-1, :, 3])
    assert a[:, :, 10:].shape == (2, 3, 0, 8)
    del a
    gc.collect()
    assert view.numpy().shape == expected.shape


@pytest.mark.parametrize("index", [5, -3, (0, 0, 0, 0, 0), (0, 3)])
def test_indices_out_of_range(device, index):
    with pytest.raises(IndexError):
        mh.zeros((2, 3, 4, 5), "float32", device=device)[index]


@pytest.mark.parametrize(
    ("shape", "dtype", "error"),
    [
        ((-1,), "float32", ValueError),
        ((2**40, 2**40), "float32", ValueError),
        ((2,), "float64", TypeError),
        ((2,), "nonsense", TypeError),
        ("ab", "float32", TypeError),
        ((1.5,), "float32", TypeError),
    ],
)
def test_arrays_that_cannot_be_made(device, shape, dtype, error):
    for make in (mh.empty, mh.zeros):
        with pytest.raises(error):
            make(shape, dtype, device=device)


def maps_any_amount_of_memory():
    try:
        mmap.mmap(-1, 2**45, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
    except (OSError, MemoryError):
        return False
    return True


@pytest.mark.skipif(maps_any_amount_of_memory(), reason="this system maps any amount of memory")
def test_more_memory_than_there_is(device):
    with pytest.raises((MemoryError, ValueError)):
        mh.empty((2**43,), "float32", device=device)


def test_asarray(device):
    x = random_array(0, (3, 4))
    a = mh.asarray(x, device=device)
    x[0, 0] = 99
    assert mh.asarray(a, device=device) is a
    assert mh.asarray(a, copy=True, device=device) is not a
    half = mh.asarray(a, dtype="float16", device=device)
    assert np.array_equal(half.numpy(), a.numpy().astype(np.float16))
    swapped = random_array(1, (3, 4)).astype(">f4")
    assert np.array_equal(mh.asarray(swapped, device=device).numpy(), swapped)
    with pytest.raises(ValueError, match="copy"):
        mh.asarray(a, dtype="float16", copy=False, device=device)
    with pytest.raises(TypeError):
        mh.asarray(object(), device=device)


def test_results_are_of_the_kind_of_q(device):
    q, k, v = make_qkv(DIMS)
    expected = check(mh.sdpa, q, k, v, device=device)
    a, b, c = on_device((q, k, v), device)
    result = mh.sdpa(a, b, c, return_lse=True)
    assert all(isinstance(x, mh.Array) for x in result)
    assert np.array_equal(result[0].numpy(), expected)
    assert type(mh.sdpa(q, b, c, device=device)) is np.ndarray
    assert isinstance(mh.sdpa(a, k, v, device=device), mh.Array)
    assert np.array_equal(np.asarray(mh.sdpa(a, k, v)), expected)


def test_a_chain_of_calls_on_arrays(device):
    """Each call reads what the one before it wrote, with no wait in between."""
    q, k, v = make_qkv(DIMS._replace(query_heads=2))
    a, b, c = on_device((q, k, v), device)
    expected = q
    for _ in range(4):
        a = mh.sdpa(a, b, c)
        expected = mh.sdpa(expected, k, v, device=device)
    assert np.array_equal(a.numpy(), expected)


def test_views_of_arrays_as_inputs_and_out(device):
    q, k, v = make_qkv(DIMS)
    large = mh.asarray(random_array(5, (2, 2, 50, 32)), device=device)
    large.numpy()[:, :, :21] = k
    out = mh.zeros((2, 4, 9, 32), "float32", device=device)
    a, _, c = on_device((q, k, v), device)
    mh.sdpa(a, large[:, :, :21], c, out=out[:, :, 2:5])
    assert np.array_equal(out.numpy()[:, :, 2:5], mh.sdpa(q, k, v, device=device))
    assert not out.numpy()[:, :, :2].any()
    assert not out.numpy()[:, :, 5:].any()
    with pytest.raises(ValueError, match="overlap"):
        mh.sdpa(a, large[:, :, :21], c, out=a)


def test_arrays_of_another_device_are_rejected(device):
    others = [name for name in mh.devices() if name != device]
    if not others:
        pytest.skip("only one device")
    q, k, v = make_qkv(DIMS)
    a, b, c = on_device((q, k, v), others[0])
    with pytest.raises(ValueError, match="device"):
        mh.sdpa(a, b, c, device=device)
    with pytest.raises(ValueError, match="device"):
        mh.sdpa(mh.asarray(q, device=device), b, c)


def test_repr_says_what_an_array_is(device):
    text = repr(mh.zeros((2, 3), "float16", device=device))
    assert "(2, 3)" in text
    assert "float16" in text
    assert device in text


def test_the_reference_takes_arrays(device):
    q, k, v = make_qkv(DIMS)
    assert np.array_equal(reference.sdpa(*on_device((q, k, v), device)), reference.sdpa(q, k, v))
