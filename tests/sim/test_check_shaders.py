"""The strict check rejects every bad probe for the stated reason and accepts every good one."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tools.metal import expand
from tools.metal.check_shaders import check
from tools.metal.toolchain import ROOT

PROBES = Path(__file__).parent / "probes"
BAD = sorted(PROBES.glob("bad_*.metal"))
GOOD = sorted(PROBES.glob("good_*.metal"))


def test_there_are_enough_probes() -> None:
    assert len(BAD) >= 30
    assert len(GOOD) >= 2


@pytest.mark.parametrize("probe", BAD, ids=lambda probe: probe.stem)
def test_bad_probe_is_rejected_for_its_reason(probe: Path) -> None:
    first = probe.read_text().splitlines()[0]
    assert first.startswith("// expect: ")
    findings, _ = check(probe)
    assert any(first.removeprefix("// expect: ") in finding for finding in findings), findings


@pytest.mark.parametrize("probe", GOOD, ids=lambda probe: probe.stem)
def test_good_probe_passes(probe: Path) -> None:
    findings, reflection = check(probe)
    assert findings == []
    assert reflection is not None


def test_reflection_of_good_language() -> None:
    _, reflection = check(PROBES / "good_language.metal")
    assert reflection is not None
    table = reflection.to_json()
    assert sorted(table["kernels"]) == ["attend_bfloat_128", "attend_float_64", "attend_half_128"]
    kernel = table["kernels"]["attend_half_128"]
    buffers = {
        a["index"]: (a["name"], a["access"], a["condition"])
        for a in kernel["arguments"]
        if a["kind"] == "buffer"
    }
    assert buffers == {
        0: ("q", "read", None),
        1: ("k", "read", None),
        2: ("out", "read_write", None),
        3: ("params", "read", None),
        4: ("mask", "read", "causal"),
        5: ("counter", "read_write", None),
    }
    assert [a["index"] for a in kernel["arguments"] if a["kind"] == "threadgroup"] == [0]
    assert kernel["threadgroup_variables"] == ["tile", "codes", "extra"]
    assert kernel["max_threads_per_threadgroup"] == 256
    constants = [(c["index"], c["name"], c["type"], c["optional"]) for c in table["function_constants"]]
    assert constants == [
        (0, "causal", "bool", False),
        (1, "group_size", "uint", False),
        (2, "softcap", "float", True),
    ]


def run_cli(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tools.metal.check_shaders", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_command_line_status_and_text() -> None:
    bad = run_cli(str(BAD[0]), str(GOOD[0]))
    assert bad.returncode == 1
    assert BAD[0].name in bad.stderr
    assert "1 of 2 shaders passed" in bad.stdout
    assert run_cli(str(GOOD[0])).returncode == 0
    missing = run_cli("nowhere")
    assert missing.returncode == 2
    assert "no shader here" in missing.stderr


def test_threads_that_preprocess_at_once_share_the_headers() -> None:
    """A folder of its own for each thread would vanish while the others still read it."""
    expand._made_headers.cache_clear()
    start = threading.Barrier(8)

    def folder(_: int) -> str:
        start.wait()
        return expand.marker_headers()

    with ThreadPoolExecutor(8) as pool:
        folders = set(pool.map(folder, range(8)))
    assert len(folders) == 1
    assert (Path(folders.pop()) / "metal_stdlib").is_file()
