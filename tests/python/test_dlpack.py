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
