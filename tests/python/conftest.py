"""Runs every test body that asks for a device on each available one, and sizes the work to it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

import metalhead as mh
from cases import NATIVE, SIMULATED, SMALL, Budget

settings.register_profile(
    "ci", derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)
settings.register_profile("explore", settings.get_profile("ci"), derandomize=False, print_blob=True)
settings.load_profile(os.environ.get("METALHEAD_HYPOTHESIS_PROFILE", "ci"))


def is_simulated(device: str) -> bool:
    """Whether a device is an emulation that only small work suits."""
    return bool(mh.info()["devices"][device].get("simulated"))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a run choose its devices and ask for more than usual."""
    parser.addoption("--device", action="append", help="run on this device only (may be repeated)")
    parser.addoption("--run-heavy", action="store_true", help="run heavy tests on simulated devices too")
    parser.addoption("--small", action="store_true", help="give devices little work, as sanitizers need it")
    parser.addoption("--run-slow", action="store_true", help="run tests that take minutes or gigabytes")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give every test that asks for a device all of them."""
    if "device" in metafunc.fixturenames:
        chosen = metafunc.config.getoption("--device") or list(mh.devices())
        metafunc.parametrize("device", chosen, scope="session")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave slow tests out unless asked for, and heavy ones where work is to be small."""

    def wanted(item: pytest.Item) -> bool:
        if item.get_closest_marker("slow") and not config.getoption("--run-slow"):
            return False
        if not item.get_closest_marker("heavy") or config.getoption("--run-heavy"):
            return True
        device = item.callspec.params.get("device") if hasattr(item, "callspec") else None
        return not config.getoption("--small") and (device is None or not is_simulated(device))

    config.hook.pytest_deselected(items=[item for item in items if not wanted(item)])
    items[:] = [item for item in items if wanted(item)]


@pytest.fixture(scope="session")
def budget(device: str, request: pytest.FixtureRequest) -> Budget:
    """How much work to give the device."""
    if request.config.getoption("--small"):
        return SMALL
    return SIMULATED if is_simulated(device) else NATIVE


@pytest.fixture
def as_default(device: str) -> Iterator[str]:
    """Make the device the default one for a test."""
    before = mh.default_device()
    mh.set_default_device(device)
    yield device
    mh.set_default_device(before)
