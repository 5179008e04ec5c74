"""Devices: which there are, what they say of themselves, and their memory pools."""

import os
import subprocess
import sys

import numpy as np
import pytest

import metalhead as mh
from cases import Dims, make_qkv


def test_the_cpu_is_always_there():
    assert "cpu" in mh.devices()
    assert len(set(mh.devices())) == len(mh.devices())
    assert mh.default_device().name in mh.devices()


def test_default_device(device):
    before = mh.default_device()
    try:
        mh.set_default_device(device)
        assert mh.default_device() == mh.Device(device)
        assert mh.zeros(2).device == mh.Device(device)
        mh.set_default_device(mh.Device("cpu"))
        assert mh.default_device().name == "cpu"
    finally:
        mh.set_default_device(before)


@pytest.mark.parametrize("name", ["nope", "", "CPU ", "cuda:0"])
def test_unknown_devices(name):
    for act in (mh.Device, mh.set_default_device, lambda name: mh.empty((1,), "float32", device=name)):
        with pytest.raises(mh.DeviceError) as caught:
            act(name)
        assert "cpu" in str(caught.value), "the error says which devices there are"
        assert name in str(caught.value)
    assert mh.default_device().name in mh.devices()


@pytest.mark.parametrize("name", [3, 1.5, [], b"cpu"])
def test_names_that_are_no_text(name):
    with pytest.raises(TypeError):
        mh.Device(name)
    with pytest.raises(TypeError):
        mh.set_default_device(name)


def test_a_device_is_itself(device):
    dev = mh.Device(device)
    assert dev.name == device
    assert dev == mh.Device(device)
    assert hash(dev) == hash(mh.Device(device))
    assert device in repr(dev)
    q, k, v = make_qkv(Dims())
    assert np.array_equal(mh.sdpa(q, k, v, device=dev), mh.sdpa(q, k, v, device=device))


def test_info():
    info = mh.info()
    assert info["version"] == mh.__version__
    assert set(info["devices"]) == set(mh.devices())
    cpu = info["devices"]["cpu"]
    assert int(cpu["threads"]) >= 1
    assert cpu["instruction_set"] in cpu["instruction_sets"].split(", ")
    for name in mh.devices():
        assert mh.Device(name).info() == info["devices"][name]


def test_the_command_line_prints_the_info():
    done = subprocess.run([sys.executable, "-m", "metalhead"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "cpu" in done.stdout


def test_synchronize_and_warm_up(device):
    dev = mh.Device(device)
    dev.warm_up()
    a = mh.asarray(np.ones((1, 1, 2, 8), np.float32), device=device)
    result = mh.sdpa(a, a, a)
    dev.synchronize()
    assert np.allclose(result.numpy(), 1)


def test_the_pool_counts_what_arrays_hold(device):
    dev = mh.Device(device)
    dev.synchronize()
    before = dev.pool_stats()
    a = mh.empty((1000, 1000), "float32", device=device)
    held = dev.pool_stats()
    assert held["bytes_in_use"] - before["bytes_in_use"] >= 4_000_000
    assert held["peak_bytes_in_use"] >= held["bytes_in_use"]
    view = a[:1]
    del a
    assert dev.pool_stats()["bytes_in_use"] == held["bytes_in_use"], "a view holds the memory"
    del view
    dev.synchronize()
    after = dev.pool_stats()
    assert after["bytes_in_use"] == before["bytes_in_use"]


def test_the_pool_reuses_memory(device):
    dev = mh.Device(device)
    for _ in range(3):
        mh.empty((333_333,), "float32", device=device)
        dev.synchronize()
    before = dev.pool_stats()
    for _ in range(5):
        mh.empty((333_333,), "float32", device=device)
        dev.synchronize()
    after = dev.pool_stats()
    assert after["allocations"] == before["allocations"]
    assert after["reuses"] == before["reuses"] + 5


def test_calls_leave_nothing_in_use(device):
    dev = mh.Device(device)
    q, k, v = make_qkv(Dims(query_heads=4, kv_length=200))
    mh.flash_attn_vec(q, k, v, splits=5, device=device)
    dev.synchronize()
    before = dev.pool_stats()["bytes_in_use"]
    for _ in range(5):
        mh.flash_attn_vec(q, k, v, splits=5, device=device)
    dev.synchronize()
    assert dev.pool_stats()["bytes_in_use"] == before


def run_with(variable, value):
    script = "import metalhead as mh; print(mh.default_device().name, mh.info()['devices']['cpu']['threads'])"
    environment = os.environ | {variable: value}
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, env=environment
    )


def test_threads_from_the_environment():
    done = run_with("METALHEAD_NUM_THREADS", "3")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[1] == "3"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("METALHEAD_NUM_THREADS", "0"),
        ("METALHEAD_NUM_THREADS", "many"),
        ("METALHEAD_DEVICE", "nope"),
        ("METALHEAD_CPU_ISA", ""),
        ("METALHEAD_POOL_LIMIT_MB", "-1"),
    ],
)
def test_settings_that_make_no_sense(variable, value):
    done = run_with(variable, value)
    assert done.returncode == 1, "an error of Python, no crash"
    assert variable in done.stderr or value in done.stderr
    assert "Error" in done.stderr
