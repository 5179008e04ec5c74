"""Makes the repository's tools, the reference and the accuracy rule importable from these tests."""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "python"), str(Path(__file__).resolve().parent)]
if importlib.util.find_spec("metalhead") is None:
    # The oracle is plain Python: it needs no built extension.
    package = types.ModuleType("metalhead")
    package.__path__ = [str(ROOT / "python" / "metalhead")]  # type: ignore[attr-defined]
    sys.modules["metalhead"] = package


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: takes more than half a minute")
