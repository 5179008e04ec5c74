"""The public surface: signatures, stubs and docstrings."""

import copy
import inspect
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import metalhead as mh
from metalhead._core import native

PACKAGE = Path(mh.__file__).parent
ROOT = Path(__file__).parents[2]
FEATURES = (
    "*, scale=None, causal=True, window_size=None, softcap=0.0, mask=None, alibi_slopes=None, sinks=None, "
)
TAIL = "kv_lengths=None, ring_start=0, out=None, return_lse=False, device=None"
SIGNATURES = {
    "sdpa": f"(q, k, v, {FEATURES}{TAIL})",
    "sdpa_sliding": f"(q, k, v, *, window_size, scale=None, softcap=0.0, sinks=None, {TAIL})",
    "flash_attn_vec": f"(q, k, v, {FEATURES}{TAIL}, splits=None)",
    "merge_attention": "(outs, lses, *, out=None, return_lse=False)",
    "tq_attention": f"(q, k, v, {FEATURES}{TAIL}, rotated=False, splits=None)",
    "hadamard": "(x, *, seed=0, inverse=False, out=None, device=None)",
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


X = np.ones((1, 2, 8), np.float32)
MISCALLS = {
    "nothing": ((), {}),
    "two of three": ((X, X), {}),
    "too many": ((X, X, X, X), {}),
    "unknown keyword": ((X, X, X), {"casual": True}),
    "given twice": ((X, X, X), {"k": X}),
    "keyword missing": ((X,), {"v": X}),
}


@pytest.mark.parametrize("name", MISCALLS)
def test_miscalls_raise_what_python_raises(name):
    """The native functions are called as the Python functions that declare them would be."""
    arguments, keywords = MISCALLS[name]
    with pytest.raises(TypeError) as expected:
        mh.sdpa.__wrapped__(*arguments, **keywords)
    with pytest.raises(TypeError) as caught:
        mh.sdpa(*arguments, **keywords)
    assert str(caught.value) == str(expected.value)


def test_a_required_keyword():
    with pytest.raises(TypeError, match="window_size"):
        mh.sdpa_sliding(X, X, X)


def test_keywords_in_any_order_and_from_built_names():
    q = np.random.default_rng(0).standard_normal((1, 2, 8), dtype=np.float32)
    names = ["".join(letters) for letters in ("v", "q", "softcap", "causal", "k", "scale")]
    keywords = dict(zip(names, (q, X, 2.0, False, q, 0.5), strict=True))
    expected = mh.sdpa(X, q, q, scale=0.5, causal=False, softcap=2.0)
    assert np.array_equal(mh.sdpa(**keywords), expected)
    assert not np.array_equal(mh.sdpa(X, q, q), expected)


def test_native_functions_are_functions_to_python():
    for name in ("sdpa", "merge_attention", "tq_attention", "hadamard"):
        function = getattr(mh, name)
        assert inspect.isroutine(function)
        assert function.__name__ == function.__qualname__ == name
        assert inspect.getsource(function).startswith("@native")
        assert pickle.loads(pickle.dumps(function)) is function
        assert copy.deepcopy(function) is function
        assert name in repr(function)
    method = type("Owner", (), {"transform": mh.hadamard})().transform
    with pytest.raises(TypeError, match="hadamard: x must be"):
        method()


def test_a_declaration_must_be_that_of_the_core():
    def hadamard(x, *, seed=0): ...

    def unheard_of(x): ...

    with pytest.raises(TypeError, match="parameters of hadamard"):
        native(hadamard)
    with pytest.raises(ValueError, match="unheard_of"):
        native(unheard_of)


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


def test_the_package_is_typed():
    assert (PACKAGE / "py.typed").exists()


def test_the_stub_is_what_the_extension_says():
    pytest.importorskip("nanobind")
    command = [sys.executable, str(ROOT / "tools" / "make_stubs.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (PACKAGE / "_core.pyi").read_text() == (ROOT / "python" / "metalhead" / "_core.pyi").read_text()


def test_importing_is_light():
    """No thread is started and no optional package is loaded by the import alone."""
    script = (
        "import sys, threading, metalhead\n"
        "print(sorted({'torch', 'mlx', 'jax', 'matplotlib', 'safetensors', 'hypothesis'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
