"""Runs every test body that asks for a device on each available one, and sizes the work to it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

import metalhead as mh
from cases import NATIVE, SIMULATED, Budget

settings.register_profile(
    "ci", derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)
settings.register_profile("explore", settings.get_profile("ci"), derandomize=False, print_blob=True)
settings.load_profile(os.environ.get("METALHEAD_HYPOTHESIS_PROFILE", "ci"))


def is_simulated(device: str) -> bool:
    """Whether a device is an emulation that only small work suits."""
    return bool(mh.info()["devices"][device].get("simulated"))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a run choose its devices and ask for heavy work on simulated ones."""
    parser.addoption("--device", action="append", help="run on this device only (may be repeated)")
    parser.addoption("--heavy", action="store_true", help="run heavy tests on simulated devices too")


def pytest_configure(config: pytest.Config) -> None:
    """Name the markers of this suite."""
    config.addinivalue_line("markers", "slow: takes minutes or gigabytes of address space")
    config.addinivalue_line("markers", "heavy: too much for a simulated device")
    config.addinivalue_line("markers", "threads: several threads at once, for the thread sanitizer")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give every test that asks for a device all of them."""
    if "device" in metafunc.fixturenames:
        chosen = metafunc.config.getoption("--device") or list(mh.devices())
        metafunc.parametrize("device", chosen, scope="session")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave heavy tests out where the device is simulated."""
    if config.getoption("--heavy"):
        return

    def too_heavy(item: pytest.Item) -> bool:
        device = getattr(item, "callspec", None) and item.callspec.params.get("device")
        return bool(device) and item.get_closest_marker("heavy") is not None and is_simulated(device)

    heavy = [item for item in items if too_heavy(item)]
    if heavy:
        config.hook.pytest_deselected(items=heavy)
        items[:] = [item for item in items if item not in heavy]


@pytest.fixture(scope="session")
def budget(device: str) -> Budget:
    """How much work to give the device."""
    return SIMULATED if is_simulated(device) else NATIVE


@pytest.fixture
def as_default(device: str) -> Iterator[str]:
    """Make the device the default one for a test."""
    before = mh.default_device()
    mh.set_default_device(device)
    yield device
    mh.set_default_device(before)
