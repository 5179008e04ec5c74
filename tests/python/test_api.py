"""The public surface: signatures, stubs, docstrings and their examples."""

import doctest
import importlib
import inspect
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import metalhead as mh

PACKAGE = Path(mh.__file__).parent
FEATURES = (
    "*, scale=None, causal=True, window_size=None, softcap=0.0, mask=None, alibi_slopes=None, sinks=None, "
)
TAIL = "kv_lengths=None, ring_start=0, out=None, return_lse=False, device=None"
SIGNATURES = {
    "sdpa": f"(q, k, v, {FEATURES}{TAIL})",
    "sdpa_sliding": f"(q, k, v, *, window_size, scale=None, softcap=0.0, sinks=None, {TAIL})",
    "flash_attn_vec": f"(q, k, v, {FEATURES}{TAIL}, splits=None)",
    "merge_attention": "(outs, lses, *, out=None, return_lse=False)",
    "empty": "(shape, dtype='float32', device=None)",
    "zeros": "(shape, dtype='float32', device=None)",
    "asarray": "(x, dtype=None, device=None, copy=None)",
    "info": "()",
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures(name):
    signature = inspect.signature(getattr(mh, name))
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    assert str(inspect.Signature(bare)) == SIGNATURES[name]


def test_everything_public_is_exported_and_described():
    assert sorted(mh.__all__) == sorted(set(mh.__all__))
    for name in mh.__all__:
        thing = getattr(mh, name)
        if callable(thing) and not issubclass(thing if isinstance(thing, type) else object, Exception):
            assert (thing.__doc__ or "").strip(), f"{name} has no docstring"
    assert set(SIGNATURES) <= set(mh.__all__)


@pytest.mark.parametrize("name", ["sdpa", "merge_attention"])
def test_docstrings_have_all_sections(name):
    text = getattr(mh, name).__doc__
    for section in ("Parameters", "Returns", "Raises", "Examples", ">>>"):
        assert section in text, f"{name}: {section}"


@pytest.mark.parametrize("name", ["sdpa_sliding", "flash_attn_vec", "empty", "zeros", "asarray", "info"])
def test_docstrings_have_an_example(name):
    assert ">>>" in getattr(mh, name).__doc__


def test_errors_are_of_their_families():
    assert issubclass(mh.DeviceError, RuntimeError)
    assert issubclass(mh.KernelError, RuntimeError)
    assert not issubclass(mh.DeviceError, mh.KernelError)


def modules():
    found = [f"metalhead.{module.name}" for module in pkgutil.iter_modules([str(PACKAGE)])]
    return [
        "metalhead",
        *(name for name in found if not name.endswith(("_core", "__main__", "integrations"))),
    ]


@pytest.mark.parametrize("name", modules())
def test_examples_in_docstrings(name):
    failed, _ = doctest.testmod(importlib.import_module(name))
    assert failed == 0


def test_the_package_is_typed():
    assert (PACKAGE / "py.typed").exists()


def test_the_stub_is_what_the_extension_says(tmp_path):
    pytest.importorskip("nanobind")
    made = tmp_path / "_core.pyi"
    command = [sys.executable, "-m", "nanobind.stubgen", "-q", "-m", "metalhead._core", "-o", str(made)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert made.read_text() == (PACKAGE / "_core.pyi").read_text(), "run: " + " ".join(command[1:])


def test_importing_is_light():
    """No thread is started and no optional package is loaded by the import alone."""
    script = (
        "import sys, threading, metalhead\n"
        "print(sorted({'torch', 'mlx', 'jax', 'matplotlib', 'safetensors', 'hypothesis'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
