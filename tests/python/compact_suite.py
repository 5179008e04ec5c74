"""A short run over all CPU kernels that prints the instruction set in use; a subprocess of test_isa."""

import numpy as np

import metalhead as mh
from cases import DTYPES, Dims, check, make_cancelling_qkv, make_qkv
from test_features import FEATURES, OPERATIONS, run
from test_merge_attention import test_random_parts as check_merge_of_parts
from test_sdpa import test_rising_scores as check_rising_scores
from test_sdpa import test_scores_of_any_size as check_scores_of_any_size
from test_sdpa import test_small_weights_keep_their_digits as check_small_weights


def check_nan_spreads(dtype: str) -> None:
    """A key that is not a number reaches the rows that see it, and no other."""
    q, k, v = make_qkv(Dims(query_length=100, kv_length=100), dtype)
    k[:, :, 70, 3] = np.nan
    out = mh.sdpa(q, k, v, device="cpu").astype(np.float32)
    assert np.isnan(out[:, :, 70:]).all(), f"{dtype}: a number in spite of NaN"
    assert np.isfinite(out[:, :, :70]).all(), f"{dtype}: NaN in a row before it"


def main() -> None:
    """Raise AssertionError with the place of the first value that is off."""
    for dtype in DTYPES:
        for head_dim, value_dim in ((8, 8), (64, 64), (80, 96), (128, 128), (45, 33), (256, 256), (576, 512)):
            for query_length, kv_length in ((1, 1), (1, 100), (3, 17), (16, 65), (40, 90)):
                sizes = {"query_length": query_length, "kv_length": kv_length}
                dims = Dims(query_heads=4, **sizes, head_dim=head_dim, value_dim=value_dim)
                check(mh.sdpa, *make_qkv(dims, dtype), return_lse=True, device="cpu")
        for seed in range(2):
            dims = Dims(query_heads=4, query_length=40, kv_length=4000)
            check(mh.sdpa, *make_cancelling_qkv(dims, dtype, seed), device="cpu")
        check_merge_of_parts("cpu", dtype, 7)
        check_rising_scores("cpu", dtype)
        check_nan_spreads(dtype)
    for query_length in (1, 300):
        check_small_weights("cpu", query_length)
    for spread in (1e-20, 1e15, 1e34):
        check_scores_of_any_size("cpu", spread, "float32")
        check_scores_of_any_size("cpu", spread, "bfloat16")
    for kv_dtype in ("float16", "bfloat16"):
        check(mh.flash_attn_vec, *make_qkv(Dims(query_heads=4), "float32", kv_dtype), device="cpu")
        for head_dim in (64, 45):
            dims = Dims(query_heads=4, query_length=40, kv_length=300, head_dim=head_dim)
            check(mh.sdpa, *make_qkv(dims, "float32", kv_dtype), return_lse=True, device="cpu")
            q, k, v = make_qkv(dims, kv_dtype)
            out = np.empty((*q.shape[:3], dims.value_dim), np.float32)
            check(mh.sdpa, q, k, v, out=out, device="cpu")
    for name in FEATURES:
        for operation in OPERATIONS:
            run(operation, (name,), "cpu")
            run(operation, (name, "float16" if FEATURES[name].slot != "dtype" else "causal"), "cpu")
    print(mh.Device("cpu").info()["instruction_set"])


if __name__ == "__main__":
    main()
