"""The benchmark harness: formulas, the check of results, and what the report says; nothing is timed here."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import metalhead as mh
from metalhead import reference

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
from benchmarks import chart, checks, inputs, report, table  # noqa: E402
from benchmarks.__main__ import merged  # noqa: E402
from benchmarks.cases import Case, Limits, class_of, limit_seconds, vector_bytes  # noqa: E402
from benchmarks.lines import findings_of, lines_of  # noqa: E402
from benchmarks.peers import PEERS  # noqa: E402
from benchmarks.timing import Item, sample  # noqa: E402

DECODE = Case("decode", 32, 8, 128, 4096)
SMALL = Case("decode", 4, 2, 64, 100)


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 8])
@pytest.mark.parametrize("head_dim", [64, 128, 256])
def test_packed_bytes_are_those_of_the_format(bits: int, head_dim: int) -> None:
    assert vector_bytes(f"tq{bits}", head_dim) == mh.TQFormat(bits=bits, head_dim=head_dim).bytes_per_vector


def test_bytes_of_other_kinds() -> None:
    sizes = {
        "f32": 512,
        "f16": 256,
        "bf16": 256,
        "q8_0": 136,
        "q4_0": 72,
        "int8": 128,
        "int4": 64,
        "mlx4": 80,
    }
    assert {kind: vector_bytes(kind, 128) for kind in sizes} == sizes
    with pytest.raises(ValueError, match="no such kind"):
        vector_bytes("f8", 128)


@pytest.mark.parametrize("keys, window", [(1, 0), (7, 0), (7, 3), (7, 7), (7, 100), (9, 1)])
def test_pairs_are_the_visible_ones(keys: int, window: int) -> None:
    prefill = Case("prefill", 2, 1, 64, keys, window)
    visible = reference.visible_keys(keys, keys, True, window - 1 if window else None)
    assert prefill.pairs() == visible.sum()
    assert np.array_equal(inputs.visible_mask(prefill), visible)
    assert Case("decode", 2, 1, 64, keys, window).pairs() == visible[-1].sum()


def test_bytes_and_operations_of_decode() -> None:
    assert DECODE.bytes("f16") == 2 * 8 * 4096 * 256
    assert DECODE.flops() == 2 * 2 * 32 * 4096 * 128
    assert replace(DECODE, window=1024).bytes("f32") == 2 * 8 * 1024 * 512
    encode = Case("encode", 8, 8, 128, 4096)
    assert (encode.bytes("tq4"), encode.flops()) == (8 * 4096 * (512 + 66), 0)


def test_the_limit_is_the_slower_of_memory_and_arithmetic() -> None:
    memory, arithmetic = DECODE.bytes("f32") / 10e9, DECODE.flops() / 1e9
    assert limit_seconds(DECODE, "f32", Limits(10e9, 1e15)) == (memory, "memory")
    assert limit_seconds(DECODE, "f32", Limits(1e15, 1e9)) == (arithmetic, "arithmetic")
    prefill = Case("prefill", 32, 8, 128, 64)
    limits = Limits(1e15, 1e9, bf16_dot=2e9)
    assert limit_seconds(prefill, "bf16", limits)[0] == limit_seconds(prefill, "f32", limits)[0] / 2


def test_no_two_vectors_of_the_inputs_are_equal() -> None:
    case = Case("decode", 4, 2, 64, 40_000)
    heads = [source(case, head) for source in (inputs.keys_of, inputs.values_of) for head in range(2)]
    for head in heads:
        assert len(np.unique(head[:, :4], axis=0)) == case.keys
    assert len(np.unique([head[7, 0] for head in heads])) == len(heads)
    filled = np.empty((1, 2, case.keys, 64), np.float32)
    inputs.fill(case, filled, np.empty_like(filled))
    assert np.array_equal(filled[0, 1], heads[1])


@pytest.mark.parametrize("case", [SMALL, replace(SMALL, window=30), Case("prefill", 4, 2, 64, 40, 10)])
def test_right_results_pass_the_check_and_wrong_ones_do_not(case: Case) -> None:
    shape = (1, case.kv_heads, case.keys, case.head_dim)
    k, v = np.empty(shape, np.float32), np.empty(shape, np.float32)
    inputs.fill(case, k, v)
    q = inputs.queries_of(case)
    window = {"window_size": case.window - 1} if case.window else {}
    out = reference.sdpa(q, k, v, **window)[0]
    given = (q, lambda head: k[0, head], lambda head: v[0, head])
    assert checks.error(case, out) < 1e-12
    checks.assert_accurate(case, out.astype(np.float32), *given)
    wrong = reference.sdpa(q, k[:, ::-1], v, **window)[0]
    assert checks.error(case, wrong) > checks.WRONG
    with pytest.raises(AssertionError, match="against the reference"):
        checks.assert_accurate(case, wrong, *given)
    assert not checks.error(case, np.full_like(out, np.nan)) < checks.WRONG


def test_a_sample_takes_its_items_in_turn() -> None:
    seen: list[int] = []
    item = Item([lambda i=i: seen.append(i) for i in range(3)])
    _, calls = sample(item, 0.0, 4)
    assert (seen, calls) == ([0, 1, 2, 0], 4)
    assert sample(Item([lambda: 0.25], returns_seconds=True), 0.0, 3) == (0.25, 3)


def result(implementation: str, variant: str, seconds: float | None, **more: Any) -> dict[str, Any]:
    """What the driver saves for one item of DECODE with two threads."""
    fields = {"op": "decode", "query_heads": 32, "kv_heads": 8, "head_dim": 128, "keys": 4096, "window": 0}
    timed = {"samples": []} if seconds is None else {"samples": [seconds], "seconds": seconds}
    return {
        "section": "decode", "case": fields, "threads": 2, "implementation": implementation,
        "variant": variant, "error": 1e-7, "work": 0.0, **timed, **more,
    }  # fmt: skip


def example() -> list[dict[str, Any]]:
    """A group: read 10 GB/s, so that float32 K and V take 3.36 ms."""
    return [
        result("limits", "read", 1e-3, work=1e7),
        result("limits", "fma", 1e-3, work=1e9),
        result("metalhead", "f32", 4e-3),
        result("metalhead", "f16", 3e-3),
        result("metalhead", "tq4", None, failed="AssertionError: off"),
        result("baseline", "f32", 8e-3),
        result("ggml", "f32", 9e-3),
        result("ggml", "f16", 6e-3, error=0.04),
        result("torch", "fold-f32", 7e-3),
        result("floor", "bare-kernel", 2e-7),
        result("torch", "gqa-bf16", None, failed="its process ended"),
    ]


def test_rows_compare_with_the_best_peer_of_their_class() -> None:
    f32, f16, tq4 = lines_of(example())
    assert f32.best is not None and (f32.best["implementation"], f32.ratio) == ("torch", 7 / 4)
    assert f32.share == pytest.approx(DECODE.bytes("f32") / 1e10 / 4e-3)
    assert f32.verdicts() == [("2 x f32", False)]
    assert f16.ratio == 2 and f16.met() is False and f16.bound == "memory"
    assert tq4.ratio is None and tq4.met() is None
    assert replace(f32, seconds=3e-3).met() is True


def test_the_report_names_times_errors_and_failures() -> None:
    lines = lines_of(example())
    text = report.text_group(lines)
    for part in (
        "decode (32, 8, 128) 4096 keys, 2 threads; read 10.0 GB/s",
        "torch fold-f32 7 ms",
        "2 x f32 MISSED",
        "ggml f16 6 ms (error 4e-02)",
        "tq4 failed: AssertionError: off",
        "torch gqa-bf16 failed: its process ended",
        "baseline/ours",
        "bounds: bare-kernel 0.2 us",
    ):
        assert part in text
    assert report.summary(lines, []).startswith("0 of 2 rows")


def run_of(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Saved results."""
    machine = {
        "processor": "P", "cpus": 2, "memory_bytes": 8 << 30, "last_level_cache_bytes": 32 << 20,
        "system": "S", "date": "D", "commit": "abc", "command": "run",
    }  # fmt: skip
    load = {"before": [0.1, 0, 0], "after": [0.2, 0, 0], "highest": 0.3}
    return {"machine": machine, "load": load, "versions": {"torch": "1"}, "results": results}


def test_the_document_takes_the_table_between_its_markers() -> None:
    table_text = report.markdown(run_of(example()))
    assert "Commit `abc`, command `run`" in table_text and "| f32 | 4 ms |" in table_text
    document = f"a\n{report.BEGIN}\nstale\n{report.END}\nb"
    new = report.replace_table(document, table_text)
    assert new.startswith("a\n") and new.endswith("\nb") and "stale" not in new
    assert report.replace_table(new, table_text) == new
    with pytest.raises(ValueError, match="markers"):
        report.replace_table("no markers", table_text)
    report.replace_table((ROOT / "docs" / "performance.md").read_text(), table_text)


def scaled(keys: int, threads: int, seconds: float) -> list[dict[str, Any]]:
    """A group of the scaling section."""
    results = [result("limits", "read", 1e-3, work=threads * 1e7), result("metalhead", "f16", seconds)]
    for entry in results:
        entry |= {"section": "scaling", "threads": threads, "case": entry["case"] | {"keys": keys}}
    return results


def test_findings_see_cliffs_and_idle_threads() -> None:
    good = scaled(16384, 2, 1e-3) + scaled(65536, 2, 4e-3) + scaled(65536, 1, 7.6e-3)
    assert [f.met for f in findings_of(lines_of(good))] == [True, True]
    cliff = scaled(16384, 2, 1e-3) + scaled(65536, 2, 6e-3) + scaled(65536, 1, 7.6e-3)
    assert [f.met for f in findings_of(lines_of(cliff))] == [False, False]
    series = chart.series(good)
    assert series["metalhead f16"] == {16384: 1.0, 65536: 4.0}
    assert series["limit f16"][65536] == pytest.approx(65536 * 4096 / 2e7)


def test_peaks_are_the_best_of_the_run_and_reads_those_of_the_group() -> None:
    other = [result("limits", "fma", 0.5e-3, work=1e9), result("limits", "read", 2e-3, work=1e7)]
    for entry in other:
        entry["case"] = entry["case"] | {"keys": 8192}
    (line, *_) = lines_of(example() + other)
    assert line.limits == Limits(1e10, 2e12)


def test_a_second_run_replaces_the_groups_that_it_measures() -> None:
    old = scaled(1024, 2, 1e-3) + scaled(4096, 2, 2e-3)
    new = merged(old, scaled(1024, 2, 3e-3))
    assert [x.seconds for x in lines_of(new)] == [3e-3, 2e-3]


@pytest.mark.parametrize("quick", [False, True])
def test_every_row_of_the_table_has_a_goal_it_can_be_judged_by(quick: bool) -> None:
    """A goal against a peer that no group measures would never be judged."""
    for group in table.groups(quick=quick):
        names = {f"{name} {variant}" for name, variant in group.entries}
        classes = {class_of(variant) for name, variant in group.entries if name in PEERS}
        for name, variant in group.entries:
            if name == "metalhead":
                aim = table.goal(group.section, group.case, variant, group.threads)
                known = aim.against == "any" or aim.against in names or aim.against in classes
                assert known or aim.ratio is None or (quick and aim.against == "torch flex-f32")
