"""Arrays of other libraries through DLPack, both ways."""

import gc

import numpy as np
import pytest

import metalhead as mh
from cases import Dims, make_qkv, random_array

DIMS = Dims(batch=2, query_heads=4, kv_heads=2, query_length=3, kv_length=21, head_dim=32, value_dim=32)


class Foreign:
    """An array of a library that metalhead does not know: DLPack and nothing else."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_inputs_through_dlpack(device, dtype):
    q, k, v = make_qkv(DIMS, dtype)
    expected = mh.sdpa(q, k, v, device=device)
    token_major = np.ascontiguousarray(v.swapaxes(1, 2)).swapaxes(1, 2)
    assert np.array_equal(mh.sdpa(q, Foreign(k), Foreign(token_major), device=device), expected)
    assert np.array_equal(mh.sdpa(q, Foreign(k), Foreign(v), device=device), expected)
    assert np.array_equal(mh.asarray(Foreign(q), device=device).numpy(), q)
    result = mh.sdpa(Foreign(q), Foreign(k), Foreign(v), device=device)
    assert np.array_equal(np.from_dlpack(result), expected)


def test_export_through_dlpack(device):
    a = mh.asarray(random_array(0, (2, 6, 8)), device=device)
    seen = np.from_dlpack(a)
    assert np.array_equal(seen, a.numpy())
    a.numpy()[0, 0, 0] = 42
    assert seen[0, 0, 0] == 42
    assert np.array_equal(np.from_dlpack(a[:, ::2]), a.numpy()[:, ::2])
    expected = a.numpy().copy()
    del a
    gc.collect()
    assert np.array_equal(seen, expected)


def test_out_through_dlpack(device):
    q, k, v = make_qkv(DIMS)
    out = np.zeros(q.shape, np.float32)
    foreign = Foreign(out)
    assert mh.sdpa(q, k, v, out=foreign, device=device) is foreign
    assert np.array_equal(out, mh.sdpa(q, k, v, device=device))
    out[...] = 7
    out.flags.writeable = False
    with pytest.raises(ValueError, match="sdpa: out must be writable"):
        mh.sdpa(q, k, v, out=foreign, device=device)
    assert (out == 7).all()


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_torch(device, dtype):
    torch = pytest.importorskip("torch")
    q, k, v = make_qkv(DIMS, dtype)
    tensors = [torch.from_numpy(x.astype(np.float32)).to(getattr(torch, dtype)) for x in (q, k, v)]
    result, lse = mh.sdpa(*tensors, return_lse=True, device=device)
    assert isinstance(result, torch.Tensor)
    assert isinstance(lse, torch.Tensor)
    assert result.dtype == tensors[0].dtype
    expected = mh.sdpa(q, k, v, device=device).astype(np.float32)
    assert np.array_equal(result.float().numpy(), expected)
    out = torch.empty_like(tensors[0])
    assert mh.sdpa(*tensors, out=out, device=device) is out
    assert np.array_equal(out.float().numpy(), expected)
    moved = [x.transpose(1, 2).contiguous().transpose(1, 2) for x in tensors]
    assert np.array_equal(mh.sdpa(*moved, device=device).float().numpy(), expected)
    assert np.array_equal(mh.asarray(tensors[0], device=device).numpy(), q)


def test_out_of_another_kind_than_q(device):
    torch = pytest.importorskip("torch")
    q, k, v = make_qkv(DIMS)
    expected = mh.sdpa(q, k, v, device=device)
    out = np.empty(q.shape, np.float32)
    assert mh.sdpa(torch.from_numpy(q), k, v, out=out, device=device) is out
    assert np.array_equal(out, expected)
    result, lse = mh.sdpa(torch.from_numpy(q), k, v, out=out, return_lse=True, device=device)
    assert result is out
    assert isinstance(lse, torch.Tensor)
    tensor = torch.zeros(q.shape)
    assert mh.sdpa(q, k, v, out=tensor, device=device) is tensor
    assert np.array_equal(tensor.numpy(), expected)


def test_torch_results_outlive_what_made_them(device):
    torch = pytest.importorskip("torch")
    x = torch.from_numpy(make_qkv(DIMS)[0])
    result = mh.hadamard(x, device=device)
    expected = mh.hadamard(x.numpy(), device=device)
    for _ in range(50):
        mh.hadamard(2 * x, device=device)
    gc.collect()
    assert np.array_equal(result.numpy(), expected)
    result += 1
    assert np.array_equal(result.numpy(), expected + 1)


@pytest.mark.parametrize("name", ["gradient", "meta", "sparse", "float64"])
def test_torch_tensors_that_are_rejected(device, name):
    torch = pytest.importorskip("torch")
    x = torch.ones(1, 2, 3, 32)
    made = {
        "gradient": lambda: x.clone().requires_grad_(),
        "meta": lambda: x.to("meta"),
        "sparse": lambda: x.to_sparse(),
        "float64": lambda: x.double(),
    }[name]()
    with pytest.raises(TypeError, match=r"^sdpa: k (requires a gradient|cannot be read|has dtype)") as caught:
        mh.sdpa(x, made, x, device=device)
    assert "\n" not in str(caught.value)
    with pytest.raises(TypeError, match=r"^sdpa: out "):
        mh.sdpa(x, x, x, out=made, device=device)
