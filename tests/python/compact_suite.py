"""A short run over all CPU kernels that prints the instruction set in use; a subprocess of test_isa."""

import metalhead as mh
from cases import DTYPES, Dims, check, make_cancelling_qkv, make_qkv
from test_features import FEATURES, OPERATIONS, run
from test_merge_attention import test_random_parts as check_merge_of_parts


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
    for kv_dtype in ("float16", "bfloat16"):
        check(mh.flash_attn_vec, *make_qkv(Dims(query_heads=4), "float32", kv_dtype), device="cpu")
    for name in FEATURES:
        for operation in OPERATIONS:
            run(operation, (name,), "cpu")
            run(operation, (name, "float16" if FEATURES[name].slot != "dtype" else "causal"), "cpu")
    print(mh.Device("cpu").info()["instruction_set"])


if __name__ == "__main__":
    main()
