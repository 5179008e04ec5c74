"""The CPU kernels of every instruction set that the machine has."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import metalhead as mh

HERE = Path(__file__).parent
EMULATED = ("avx512_bf16_emulated", "amx_bf16_emulated")
LEVELS = ("x86-64-v2", "avx2", "avx512", "avx512_bf16", "amx_bf16", "neon", *EMULATED)
AVAILABLE = mh.Device("cpu").info()["instruction_sets"].split(", ")


def run_forced(level, script):
    environment = os.environ | {"METALHEAD_CPU_ISA": level}
    return subprocess.run(
        [sys.executable, *script],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        cwd=HERE,
        timeout=600,
    )


def test_the_levels_are_known_ones():
    assert AVAILABLE
    assert set(AVAILABLE) <= set(LEVELS)


def test_nobody_gets_an_emulation_unasked():
    assert "emulated" not in AVAILABLE[0]


@pytest.mark.parametrize("level", AVAILABLE)
def test_accuracy(level):
    done = run_forced(level, ["compact_suite.py"])
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == level


@pytest.mark.parametrize("level", ["sse9", *(level for level in LEVELS if level not in AVAILABLE)])
def test_levels_that_are_not_there(level):
    """An error that names the variable and what there is, and no illegal instruction."""
    done = run_forced(level, ["-c", "import metalhead as mh; mh.info()"])
    assert done.returncode == 1
    assert "METALHEAD_CPU_ISA" in done.stderr
    assert AVAILABLE[0] in done.stderr
