"""Saved KV caches: what comes back, and what a damaged, foreign or half-written file does."""

from __future__ import annotations

import builtins
import json
import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import metalhead as mh
from kv_cache_model import ListModel, assert_attends_like, random_tokens
from metalhead import kv_cache_file

safetensors_numpy = pytest.importorskip("safetensors.numpy")

KINDS = [("float32", "float16"), ("bfloat16", "bfloat16"), ("tq4", "tq3"), ("tq8", "float16")]


def filled(tokens: int = 9, **options: Any) -> mh.KVCache:
    settings = {"batch": 2, "kv_heads": 2, "head_dim": 32, "capacity": 12, "k": "tq4", "v": "tq4"}
    cache = mh.KVCache(**(settings | options))
    cache.append(*random_tokens(cache.config, tokens, 0))
    return cache


@pytest.mark.parametrize(("k", "v"), KINDS)
@pytest.mark.parametrize("options", [{}, {"sliding_window": 5}, {"value_dim": 64, "seed": None}])
def test_loaded_cache_goes_on_as_the_saved_one(
    tmp_path: Path, k: str, v: str, options: dict[str, Any]
) -> None:
    cache = filled(k=k, v=v, **options)
    cache.append(*random_tokens(cache.config, 3, 1), lengths=[3, 1])
    cache.save(tmp_path / "cache")
    loaded = mh.KVCache.load(str(tmp_path / "cache"))
    assert loaded.config == cache.config and loaded.nbytes == cache.nbytes
    assert loaded.lengths.tolist() == cache.lengths.tolist() == [12, 10]
    loaded.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "cache").read_bytes()
    if "sliding_window" in options:
        more = random_tokens(cache.config, 7, 2)
        cache.append(*more)
        loaded.append(*more)
        loaded.save(tmp_path / "again")
        cache.save(tmp_path / "cache")
        assert (tmp_path / "again").read_bytes() == (tmp_path / "cache").read_bytes()


def test_kept_tokens_and_wrap_come_back(tmp_path: Path) -> None:
    cache = filled(keep_first=2, keep_last=3, sliding_window=6, tokens=0)
    model = ListModel(cache.config)
    for seed, n in enumerate((9, 8, 5)):
        tokens = random_tokens(cache.config, n, seed)
        cache.append(*tokens)
        model.append(*tokens, [n, n])
    cache.save(tmp_path / "cache")
    loaded = mh.KVCache.load(tmp_path / "cache")
    q = np.random.default_rng(5).standard_normal((2, 2, 4, 32), dtype=np.float32)
    assert_attends_like(loaded, model, q)


def test_empty_cache_comes_back(tmp_path: Path) -> None:
    filled(tokens=0).save(tmp_path / "cache")
    assert mh.KVCache.load(tmp_path / "cache").length == 0


def test_file_holds_tokens_only_not_what_lay_in_memory(tmp_path: Path) -> None:
    cache, other = filled(tokens=0), filled(tokens=0)
    k, v = random_tokens(cache.config, 9, 0)
    cache.append(k[:, :, :6], v[:, :, :6])
    other.append(k, v)
    other.truncate(6)
    for name, one in (("a", cache), ("b", other)):
        one.append(*random_tokens(one.config, 2, 3), lengths=[2, 0])
        one.save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    arrays = safetensors_numpy.load_file(tmp_path / "a")
    assert arrays["k.codes"].shape == (2, 2, 8, 16) and not arrays["k.codes"][1, :, 6:].any()


def test_file_is_as_readable_as_any_other(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    filled().save(tmp_path / "cache")
    assert stat.S_IMODE(os.stat(tmp_path / "cache").st_mode) == stat.S_IMODE(
        os.stat(tmp_path / "plain").st_mode
    )


def test_every_truncation_is_noticed(tmp_path: Path) -> None:
    filled().save(tmp_path / "cache")
    whole = (tmp_path / "cache").read_bytes()
    for size in [*range(0, len(whole), 41), len(whole) - 1]:
        (tmp_path / "cache").write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"load: .*cache"):
            mh.KVCache.load(tmp_path / "cache")


def test_every_altered_byte_is_noticed(tmp_path: Path) -> None:
    filled().save(tmp_path / "cache")
    whole = (tmp_path / "cache").read_bytes()
    for position in [*range(16), *range(16, len(whole), 13), len(whole) - 1]:
        altered = bytearray(whole)
        altered[position] ^= 0x11
        (tmp_path / "cache").write_bytes(altered)
        with pytest.raises(ValueError, match=r"load: .*cache"):
            mh.KVCache.load(tmp_path / "cache")


@pytest.mark.parametrize("content", [b"", b"hello", b"\0" * 5000, b"\xff" * 5000, b"PK\3\4" * 100])
def test_foreign_bytes_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "cache").write_bytes(content)
    with pytest.raises(ValueError, match="is damaged or no safetensors file"):
        mh.KVCache.load(tmp_path / "cache")


def test_foreign_safetensors_are_refused(tmp_path: Path) -> None:
    for metadata in (None, {"format": "pt"}):
        safetensors_numpy.save_file({"k.codes": np.zeros(3)}, tmp_path / "model", metadata)
        with pytest.raises(ValueError, match="is not a saved KV cache"):
            mh.KVCache.load(tmp_path / "model")


def rewrite(path: Path, **changes: Any) -> None:
    """Change fields of a saved file and give it a matching checksum, as a program of another hand would."""
    saved = kv_cache_file.read_cache_file(path)
    kv_cache_file.write_cache_file(path, saved._replace(**changes))


@pytest.mark.parametrize(
    ("part", "changes"),
    [
        ("config", {"capacity": 3}),
        ("config", {"k": "tq9"}),
        ("config", {"batch": "2"}),
        ("config", {"head_dim": 64}),
        ("config", {"colour": 1}),
        ("state", {"lengths": [9, 10]}),
        ("state", {"lengths": [9]}),
        ("state", {"lengths": [9, 0.5]}),
        ("state", {"starts": [-1, 0]}),
        ("state", {"starts": [1, 1]}),
        ("state", {"recents": [10, 10]}),
        ("state", {"recents": None}),
    ],
)
def test_contradictions_are_refused(tmp_path: Path, part: str, changes: dict[str, Any]) -> None:
    path = tmp_path / "cache"
    filled().save(path)
    saved = kv_cache_file.read_cache_file(path)
    rewrite(path, **{part: getattr(saved, part) | changes})
    with pytest.raises(ValueError, match=r"load: .*cache does not describe a cache: "):
        mh.KVCache.load(path)


def test_missing_or_retyped_arrays_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "cache"
    filled().save(path)
    arrays = kv_cache_file.read_cache_file(path).arrays
    for changed in (
        {name: array for name, array in arrays.items() if name != "v.norms"},
        arrays | {"extra": np.zeros(1, np.float32)},
        arrays | {"k.norms": arrays["k.norms"].astype(np.float32)},
        arrays | {"k.codes": np.ascontiguousarray(arrays["k.codes"][:, :, 1:])},
    ):
        rewrite(path, arrays=changed)
        with pytest.raises(ValueError, match=r"load: .*cache does not describe a cache: "):
            mh.KVCache.load(path)


def test_newer_version_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kv_cache_file, "VERSION", "2")
    filled().save(tmp_path / "cache")
    monkeypatch.undo()
    with pytest.raises(ValueError, match="has version 2, this is 1"):
        mh.KVCache.load(tmp_path / "cache")


def test_configuration_that_is_no_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled().save(tmp_path / "cache")
    for config in ([1], None, "x"):
        rewrite(tmp_path / "cache", config=config)
        with pytest.raises(ValueError, match="has no readable configuration"):
            mh.KVCache.load(tmp_path / "cache")
        filled().save(tmp_path / "cache")


def test_missing_file_and_folder_are_the_systems_errors(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        mh.KVCache.load(tmp_path / "none")
    with pytest.raises(OSError):
        filled().save(tmp_path / "no folder" / "cache")


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_failed_save_leaves_the_former_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    filled().save(tmp_path / "cache")
    before = (tmp_path / "cache").read_bytes()

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(kv_cache_file.os, step, fail)
    with pytest.raises(OSError, match="No space left"):
        filled(tokens=3).save(tmp_path / "cache")
    monkeypatch.undo()
    assert (tmp_path / "cache").read_bytes() == before
    assert os.listdir(tmp_path) == ["cache"]


def test_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(file: Any, arrays: Any, metadata: Any) -> None:
        file.write(b"half")
        raise MemoryError

    monkeypatch.setattr(kv_cache_file, "_write_safetensors", fail)
    with pytest.raises(MemoryError):
        filled().save(tmp_path / "cache")
    assert os.listdir(tmp_path) == []


def test_without_safetensors_the_error_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, imported = filled(), builtins.__import__

    def without(name: str, *arguments: Any, **keywords: Any) -> Any:
        if name.partition(".")[0] == "safetensors":
            raise ImportError(name)
        return imported(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"save: .*pip install safetensors"):
        cache.save(tmp_path / "cache")
    with pytest.raises(ImportError, match=r"load: .*pip install safetensors"):
        mh.KVCache.load(tmp_path / "cache")
    assert os.listdir(tmp_path) == []


def test_configuration_is_readable_in_the_file(tmp_path: Path) -> None:
    filled(seed=7).save(tmp_path / "cache")
    raw = (tmp_path / "cache").read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    config = json.loads(header["__metadata__"]["config"])
    assert (config["k"], config["seed"], config["head_dim"]) == ("tq4", 7, 32)
    assert header["__metadata__"]["version"] == "1"
