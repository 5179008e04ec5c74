"""The sources that a build without a Metal toolchain embeds stand alone and pass the strict check."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tools.metal.check_shaders import check
from tools.metal.toolchain import ROOT

sys.path.append(str(ROOT / "cpp" / "devices" / "metal"))
from flatten_shaders import flatten

SHADERS = sorted((ROOT / "metal").glob("*.metal"))


@pytest.mark.parametrize("shader", SHADERS, ids=lambda shader: shader.stem)
def test_flattened_shader(shader: Path, tmp_path: Path) -> None:
    text = flatten(shader, [ROOT / "metal"])
    assert '#include "' not in text
    alone = tmp_path / shader.name
    alone.write_text(text)
    findings, reflection = check(alone)
    assert findings == []
    assert reflection is not None
    expected = check(shader)[1]
    assert expected is not None
    assert sorted(reflection.to_json()["kernels"]) == sorted(expected.to_json()["kernels"])
