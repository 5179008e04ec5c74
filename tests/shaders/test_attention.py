"""Dense decode and prefill kernels against the reference: every option, several schedules, instrumented."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from attention_cases import Dims, check, make_qkv
from attention_launch import Tuning, attend
from tools.metal.simt import SimtError

from metalhead import reference

DTYPES = [
    ("float32", "float32"),
    ("float16", "float16"),
    ("bfloat16", "bfloat16"),
    ("float32", "float16"),
    ("float32", "bfloat16"),
]
DECODE = [Tuning(1, 1, 1), Tuning(1, 4, 1), Tuning(2, 2, 1), Tuning(4, 1, 1)]
PREFILL = [Tuning(1, 1, 4), Tuning(2, 1, 2), Tuning(1, 1, 1)]
HEAD_DIMS = [(8, 8), (33, 17), (64, 64), (80, 80), (96, 96), (112, 112), (128, 128), (192, 128), (256, 256)]
WIDE_DIMS = [(512, 512), (576, 512), (40, 576)]


def features(dims: Dims, seed: int) -> dict[str, dict[str, Any]]:
    """Options by name, for one size."""
    random = np.random.default_rng(seed)
    full = (dims.batch, dims.query_heads, dims.query_length, dims.kv_length)
    dropped = random.random(full) < 0.3
    lengths = random.integers(1, dims.kv_length + 1, dims.batch)
    return {
        "plain": {},
        "not causal": {"causal": False},
        "window": {"window_size": 7},
        "two-sided window": {"window_size": (9, 4), "causal": False},
        "right window": {"window_size": (-1, 3), "causal": False},
        "softcap": {"softcap": 3.0},
        "alibi": {"alibi_slopes": random.random(dims.query_heads).astype(np.float32)},
        "sinks": {"sinks": random.standard_normal(dims.query_heads).astype(np.float32)},
        "mask": {"mask": random.standard_normal(full).astype(np.float32), "causal": False},
        "half mask": {"mask": random.standard_normal(full[2:]).astype(np.float16)},
        "bool mask": {"mask": ~dropped},
        "key mask": {"mask": ~dropped[0, 0, 0], "causal": False},
        "empty rows": {"mask": np.zeros(full, bool)},
        "lengths": {"kv_lengths": lengths},
        "ring": {"ring_start": 5},
        "rings and lengths": {
            "ring_start": random.integers(0, dims.kv_length, dims.batch),
            "kv_lengths": lengths,
        },
        "scale": {"scale": 0.3},
        "all": {
            "softcap": 5.0,
            "alibi_slopes": random.random(dims.query_heads).astype(np.float32),
            "window_size": (20, 2),
            "sinks": random.standard_normal(dims.query_heads).astype(np.float32),
            "mask": ~dropped,
            "causal": False,
            "ring_start": 11,
            "kv_lengths": lengths,
        },
    }


NAMES = list(features(Dims(), 0))


@pytest.mark.parametrize("head_dim,value_dim", HEAD_DIMS)
@pytest.mark.parametrize("dtype,kv_dtype", DTYPES)
def test_decode_sizes(head_dim: int, value_dim: int, dtype: str, kv_dtype: str) -> None:
    """Every head size and pair of types, each with another cut of the threadgroup and other splits."""
    number = HEAD_DIMS.index((head_dim, value_dim)) + DTYPES.index((dtype, kv_dtype))
    tuning, splits = DECODE[number % 4], (1, 2, 5)[number % 3]
    dims = Dims(4, 2, 1 + number % 3, 41, head_dim, value_dim)
    check(*make_qkv(dims, dtype, kv_dtype, number), tuning=tuning, splits=splits, seed=number)


@pytest.mark.parametrize("head_dim,value_dim", HEAD_DIMS)
@pytest.mark.parametrize("dtype,kv_dtype", DTYPES)
def test_prefill_sizes(head_dim: int, value_dim: int, dtype: str, kv_dtype: str) -> None:
    """The same for the prefill kernel, whose last tile and last step are not full."""
    number = HEAD_DIMS.index((head_dim, value_dim)) + DTYPES.index((dtype, kv_dtype))
    dims = Dims(2, 1, 21, 37, head_dim, value_dim)
    check(*make_qkv(dims, dtype, kv_dtype, number), tuning=PREFILL[number % 3], splits=None, seed=number)


@pytest.mark.parametrize("head_dim,value_dim", WIDE_DIMS)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_wide_heads(head_dim: int, value_dim: int, dtype: str) -> None:
    """Heads whose dims several simdgroups share."""
    for number, (tuning, splits) in enumerate(
        [(Tuning(1, 2, 1), 2), (Tuning(2, 1, 1), 1), (Tuning(1, 1, 4), None)]
    ):
        dims = Dims(2, 1, 1 if splits else 18, 35, head_dim, value_dim)
        check(*make_qkv(dims, dtype, seed=number), tuning=tuning, splits=splits, seed=number)


@pytest.mark.parametrize(
    "head_dim,value_dim,tuning",
    [(256, 256, Tuning(2, 1, 2)), (512, 512, Tuning(1, 1, 4)), (576, 512, Tuning(1, 1, 4))],
)
def test_long_products_stay_exact(head_dim: int, value_dim: int, tuning: Tuning) -> None:
    """Scores of high magnitude: products summed in one run of head_dim terms break the accuracy rule."""
    for seed in (0, 1):
        dims = Dims(4, 1, 40, 300, head_dim, value_dim)
        check(*make_qkv(dims, seed=seed), tuning=tuning, splits=None, seed=seed, scale=0.3)


@pytest.mark.parametrize(
    "tuning,splits", [(Tuning(2, 1, 2), None), (Tuning(1, 1, 4), None), (Tuning(4, 1, 1), 1)]
)
def test_long_sums_stay_exact(tuning: Tuning, splits: int | None) -> None:
    """Thousands of equal weights: values summed in one run of kv_length terms break the accuracy rule."""
    q, k, v = make_qkv(Dims(1, 1, 17, 6000, 64, 64))
    check(0.05 * q, k, v + 3, tuning=tuning, splits=splits, seed=1)


def test_infinite_values_stay_infinite() -> None:
    """The remainders of float32 sums must not turn infinity into NaN."""
    q, k, v = make_qkv(Dims(2, 1, 17, 90, 64, 64))
    v[0, 0, 3, 5] = np.inf
    result = attend(q, k, v, tuning=Tuning(2, 1, 2), splits=None, causal=False)
    assert np.isposinf(result.out[..., 5]).all()
    assert np.isfinite(np.delete(result.out, 5, axis=3)).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("splits", [1, 3, None])
def test_features(name: str, splits: int | None) -> None:
    """Every option alone and all together, in decode and in prefill, on three schedules."""
    dims = Dims(4, 2, 3 if splits else 19, 43, 24, 40, batch=2)
    options = features(dims, 1)[name]
    tunings = PREFILL if splits is None else DECODE
    for seed in (0, 1, 2):
        dtype = ("float32", "float16", "bfloat16")[seed]
        tuning = tunings[(seed + NAMES.index(name)) % len(tunings)]
        check(
            *make_qkv(dims, dtype, seed=seed),
            tuning=tuning,
            splits=splits,
            seed=seed,
            context=name,
            **options,
        )


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(
    "tuning,splits",
    [(Tuning(1, 2, 1), 2), (Tuning(2, 2, 1), 1), (Tuning(4, 1, 1), 3), (Tuning(2, 1, 2), None)],
)
def test_instrumented(tuning: Tuning, splits: int | None, seed: int) -> None:
    """No race, no access out of bounds, nothing read before it is written; some rows need a second pass."""
    dims = Dims(6, 1, 3 if splits else 9, 39, 72, 136)
    options = features(dims, seed)["all" if seed else "plain"]
    check(
        *make_qkv(dims, "float16", seed=seed),
        tuning=tuning,
        splits=splits,
        mode="instrumented",
        seed=seed,
        **options,
    )


def test_more_rows_than_a_pass_holds() -> None:
    """40 rows in passes of 8 and of 32."""
    for tuning in (Tuning(1, 2, 1), Tuning(4, 1, 1)):
        check(*make_qkv(Dims(10, 1, 4, 33, 32, 32)), tuning=tuning, splits=2, seed=4)


def test_output_types() -> None:
    """The output's type does not depend on the query's."""
    for out_dtype in ("float32", "float16"):
        for splits in (1, 2, None):
            check(
                *make_qkv(Dims(), "float32", "float16"),
                tuning=Tuning(1, 1, 1),
                splits=splits,
                out_dtype=np.dtype(out_dtype),
            )


def test_narrow_loads_give_the_same() -> None:
    """Rows that cannot be read 16 bytes at a time take another path to the same bits."""
    q, k, v = make_qkv(Dims(4, 2, 2, 45, 64, 96), "float16")
    wide = attend(q, k, v, tuning=Tuning(1, 2, 1), splits=2)
    for which in (0, 1, 2):
        narrow = attend(q, k, v, tuning=Tuning(1, 2, 1), splits=2, wide=which)
        assert np.array_equal(narrow.out, wide.out)


def test_rows_past_the_length_are_never_read() -> None:
    """NaN at and past kv_length changes nothing."""
    q, k, v = make_qkv(Dims(4, 2, 2, 45, 64, 64, batch=2), "float16")
    lengths = np.array([45, 20], np.int32)
    k[1, :, 20:] = v[1, :, 20:] = np.nan
    for tuning, splits in ((Tuning(1, 2, 1), 2), (Tuning(2, 1, 2), None)):
        check(q, k, v, tuning=tuning, splits=splits, kv_lengths=lengths, seed=1)


def test_more_rows_than_keys() -> None:
    """Rows before the first key see nothing: zeros and -inf."""
    for tuning, splits in ((Tuning(1, 2, 1), 3), (Tuning(2, 1, 2), None)):
        result = check(*make_qkv(Dims(2, 1, 12, 5, 32, 32)), tuning=tuning, splits=splits)
        assert np.isneginf(result.lse[:, :, :7]).all()
        assert (result.out[:, :, :7] == 0).all()


def test_too_little_threadgroup_memory_is_noticed() -> None:
    """The instrumentation knows the scratch memory's end: this test would fail if it did not look."""

    class Short(Tuning):
        def threadgroup_bytes(self, head_dim: int, value_dim: int) -> int:
            return super().threadgroup_bytes(head_dim, value_dim) - 16

    with pytest.raises(SimtError, match="out of bounds"):
        attend(*make_qkv(Dims()), tuning=Short(1, 1, 1), mode="instrumented")


def test_merging_partial_results() -> None:
    """store_partial and the reduction join attention over disjoint keys."""
    from attention_launch import run_merge

    q, k, v = make_qkv(Dims(2, 1, 3, 50, 40, 48), "float32")
    parts = [
        attend(q, k[:, :, a:b], v[:, :, a:b], tuning=Tuning(1, 1, 1), causal=False)
        for a, b in ((0, 20), (20, 21), (21, 50))
    ]
    parts[1].lse[0, 1, 2] = -np.inf
    parts[1].out[0, 1, 2] = np.nan
    expected, lse = reference.merge_attention(
        [np.nan_to_num(part.out) for part in parts], [part.lse for part in parts], return_lse=True
    )
    for seed, mode in ((1, "plain"), (2, "instrumented")):
        out, merged = run_merge(
            [part.out for part in parts], [part.lse for part in parts], mode=mode, seed=seed
        )
        assert np.allclose(out, expected, atol=1e-6, rtol=0)
        assert np.allclose(merged, lse, atol=1e-6, rtol=0)
