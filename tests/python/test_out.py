"""The `out` argument: what is rejected, and that a rejected call writes nothing."""

import numpy as np
import pytest

import metalhead as mh
from cases import DTYPES, Dims, check, make_qkv
from rejection import assert_rejected

EACH_OPERATION = pytest.mark.parametrize(
    "operation", [mh.sdpa, mh.flash_attn_vec], ids=lambda operation: operation.__name__
)
DIMS = Dims(batch=2, query_heads=4, kv_heads=2, query_length=5, kv_length=33)


@EACH_OPERATION
def test_shapes_of_out(device, operation):
    for shape in ((2, 4, 5, 63), (2, 4, 64, 5), (4, 5, 64), (2, 4, 5, 64, 1)):
        out = np.zeros(shape, np.float32)
        assert_rejected(
            ValueError, operation, make_qkv(DIMS), ["out", "(2, 4, 5, 64)", shape], device, out=out
        )


@EACH_OPERATION
def test_out_that_cannot_be_written(device, operation):
    out = np.zeros((2, 4, 5, 64), np.float32)
    out.flags.writeable = False
    assert_rejected(ValueError, operation, make_qkv(DIMS), ["out"], device, out=out)
    repeated = np.lib.stride_tricks.as_strided(np.zeros(64, np.float32), (2, 4, 5, 64), (0, 0, 0, 4))
    assert_rejected(ValueError, operation, make_qkv(DIMS), ["out"], device, out=repeated)


@EACH_OPERATION
@pytest.mark.parametrize("name", ["q", "k", "v", "mask", "sinks"])
def test_out_that_overlaps_an_input(device, operation, name):
    dims = DIMS._replace(kv_heads=4, kv_length=5)
    arrays = dict(zip("qkv", make_qkv(dims), strict=True))
    shared = np.zeros(2 * 4 * 5 * 64 + 200, np.float32)
    out = shared[200:].reshape(2, 4, 5, 64)
    keywords = {}
    if name in arrays:
        first = shared[:-200].reshape(2, 4, 5, 64)
        first[...] = arrays[name]
        arrays[name] = first
    elif name == "mask":
        keywords["mask"] = shared[101:301].reshape(2, 4, 5, 5)
    else:
        keywords["sinks"] = shared[197:201]
    before = shared.copy()
    assert_rejected(ValueError, operation, arrays.values(), ["out", name], device, out=out, **keywords)
    assert np.array_equal(shared, before)


@EACH_OPERATION
def test_out_beside_an_input_is_accepted(device, operation):
    q, k, v = make_qkv(DIMS)
    shared = np.zeros(2 * q.size, np.float32)
    left, right = shared[: q.size].reshape(q.shape), shared[q.size :].reshape(q.shape)
    left[...] = q
    check(operation, left, k, v, out=right, device=device)


def test_rejected_calls_do_not_write_out(device):
    q, k, v = make_qkv(DIMS)
    out = np.full(q.shape, 7, np.float32)
    with pytest.raises(ValueError, match="kv_lengths"):
        mh.sdpa(q, k, v, kv_lengths=[5, 34], out=out, device=device)
    assert (out == 7).all()


def test_out_of_another_float_type(device):
    q, k, v = make_qkv(DIMS)
    for dtype in DTYPES.values():
        check(mh.sdpa, q, k, v, out=np.empty(q.shape, dtype), device=device)
