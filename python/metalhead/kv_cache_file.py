"""The file of a saved KV cache: safetensors, with configuration, version and checksum as metadata."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from .kv_cache_rows import NDArray

FORMAT = "metalhead.kv_cache"
VERSION = "1"
DTYPE_NAMES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "uint8": "U8"}


class SavedCache(NamedTuple):
    """What a file holds: plain configuration and state, and the arrays by name."""

    config: dict[str, Any]
    state: dict[str, Any]
    arrays: dict[str, NDArray]


def write_cache_file(path: str | os.PathLike[str], saved: SavedCache) -> None:
    """Write a cache so that `path` holds either its former content or the whole new file."""
    safetensors = _safetensors("save")
    metadata = {
        "format": FORMAT,
        "version": VERSION,
        "config": json.dumps(saved.config, sort_keys=True),
        "state": json.dumps(saved.state, sort_keys=True),
    }
    metadata["sha256"] = _checksum(metadata, saved.arrays)
    target = Path(path)
    part = target.with_name(f".{target.name}.{secrets.token_hex(8)}.part")
    try:
        with open(part, "xb") as file:
            _write_safetensors(file, saved.arrays, metadata)
            file.flush()
            os.fsync(file.fileno())
        with safetensors.safe_open(part, framework="np"):
            pass
        os.replace(part, target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(part)
        raise
    _sync_folder(target.parent)


def _write_safetensors(file: BinaryIO, arrays: dict[str, NDArray], metadata: dict[str, str]) -> None:
    """Write the format by hand: equal content gives equal bytes, and no second copy is made."""
    # Wide items first keep every array aligned.
    ordered = sorted(arrays.items(), key=lambda item: (-item[1].itemsize, item[0]))
    header: dict[str, Any] = {"__metadata__": metadata}
    offset = 0
    for name, array in ordered:
        header[name] = {
            "dtype": DTYPE_NAMES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [offset, offset + array.nbytes],
        }
        offset += array.nbytes
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-len(encoded) % 8)
    file.write(len(encoded).to_bytes(8, "little"))
    file.write(encoded)
    for _, array in ordered:
        file.write(_raw(array))


def read_cache_file(path: str | os.PathLike[str]) -> SavedCache:
    """Read and verify a file of `write_cache_file`; anything else raises `ValueError`."""
    safetensors = _safetensors("load")
    with open(path, "rb"):
        pass
    try:
        with safetensors.safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise ValueError(f"load: {os.fspath(path)} is not a saved KV cache")
            if metadata.get("version") != VERSION:
                raise ValueError(
                    f"load: {os.fspath(path)} has version {metadata.get('version')}, this is {VERSION}"
                )
            arrays = {name: file.get_tensor(name) for name in sorted(file.keys())}
    except safetensors.SafetensorError as error:
        raise ValueError(f"load: {os.fspath(path)} is damaged or no safetensors file: {error}") from None
    if metadata.get("sha256") != _checksum(metadata, arrays):
        raise ValueError(f"load: {os.fspath(path)} has been altered: its checksum does not match")
    try:
        config, state = json.loads(metadata["config"]), json.loads(metadata["state"])
    except (KeyError, json.JSONDecodeError):
        raise ValueError(f"load: {os.fspath(path)} has no readable configuration") from None
    if not isinstance(config, dict) or not isinstance(state, dict):
        raise ValueError(f"load: {os.fspath(path)} has no readable configuration")
    return SavedCache(config, state, arrays)


def held_rows(array: NDArray, size: int, begins: Sequence[int], ends: Sequence[int]) -> NDArray:
    """A copy of the rows in use, axis 2, of a ring of `size` rows; zeros where a sequence holds no token."""
    used = np.zeros((*array.shape[:2], min(size, max(ends)), *array.shape[3:]), array.dtype)
    for sequence, (begin, end) in enumerate(zip(begins, ends, strict=True)):
        rows = np.arange(begin, end) % size
        used[sequence][:, rows] = array[sequence][:, rows]
    return used


def _checksum(metadata: dict[str, str], arrays: dict[str, NDArray]) -> str:
    """SHA-256 over everything that `read_cache_file` returns, with lengths so that no two contents agree."""
    digest = hashlib.sha256()
    fields = [metadata.get(key, "") for key in ("format", "version", "config", "state")]
    for name, array in sorted(arrays.items()):
        fields.append(f"{name} {array.dtype.name} {array.shape}")
    for field in fields:
        encoded = field.encode()
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
    for _, array in sorted(arrays.items()):
        digest.update(_raw(array))
    return digest.hexdigest()


def _raw(array: NDArray) -> memoryview:
    """The bytes of an array in order."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _sync_folder(folder: Path) -> None:
    """Make the new name durable where the system lets a folder be opened."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _safetensors(operation: str) -> Any:
    try:
        import safetensors
    except ImportError:
        raise ImportError(
            f"{operation}: KV cache files need the safetensors package: pip install safetensors"
        ) from None
    return safetensors
