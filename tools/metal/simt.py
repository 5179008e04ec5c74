"""Runs Metal kernels from Python on the SIMT runtime: compile, bind NumPy arrays, dispatch, read counters.

>>> library = ShaderLibrary(["tests/sim/shaders/vector_add.metal"])           # doctest: +SKIP
>>> library.run("vector_add_float", constants={"doubled": True, "shifted": False},
...             buffers=[a, b, out, n], threadgroup_bytes=[256], grid=2, threads=64)  # doctest: +SKIP
"""

from __future__ import annotations

import ctypes
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .build import Mode, build_library
from .errors import ShaderError
from .toolchain import ROOT

Shape = int | Sequence[int]
Buffer = np.ndarray | np.generic | bytes | bytearray | None
MAX_BUFFERS = 31
STRUCT_CODES = {
    "bool": "?", "char": "b", "uchar": "B", "short": "h", "ushort": "H", "int": "i", "uint": "I", "long": "q",
    "ulong": "Q", "int32_t": "i", "uint32_t": "I", "uint16_t": "H", "int16_t": "h", "uint8_t": "B",
    "half": "e", "float": "f",
}  # fmt: skip


class SimtError(Exception):
    """A dispatch that failed: rejected, divergent, out of bounds, racing; the text names the place."""


@dataclass(frozen=True)
class Traffic:
    """Bytes moved through one binding; see metalhead::simt::Traffic."""

    name: str
    index: int
    lane_load_bytes: int
    load_bytes: int
    store_bytes: int
    unique_load_bytes: int
    unique_store_bytes: int
    simdgroup_loads: int
    simdgroup_stores: int


@dataclass(frozen=True)
class Counters:
    """What one dispatch did; ``traffic`` is filled in mode ``instrumented`` alone."""

    threadgroups: int
    threads: int
    simdgroup_operations: int
    matrix_multiplies: int
    threadgroup_barriers: int
    simdgroup_barriers: int
    atomic_operations: int
    threadgroup_bytes: int
    traffic: list[Traffic] = field(default_factory=list)

    def of(self, name: str) -> Traffic:
        """Return the traffic of the binding or threadgroup variable of that name, or raise KeyError."""
        for traffic in self.traffic:
            if traffic.name == name:
                return traffic
        raise KeyError(name)


class ApiConstant(ctypes.Structure):
    """SimtApiConstant of sim/simt/c_api.h."""

    _fields_ = [("index", ctypes.c_int32), ("bytes", ctypes.c_uint32), ("value", ctypes.c_char_p)]


class ApiDispatch(ctypes.Structure):
    """SimtApiDispatch of sim/simt/c_api.h."""

    _fields_ = [
        ("kernel", ctypes.c_char_p),
        ("constants", ctypes.POINTER(ApiConstant)),
        ("constant_count", ctypes.c_uint32),
        ("buffers", ctypes.c_void_p * MAX_BUFFERS),
        ("buffer_bytes", ctypes.c_uint64 * MAX_BUFFERS),
        ("threadgroup_bytes", ctypes.c_uint64 * MAX_BUFFERS),
        ("threadgroups", ctypes.c_uint32 * 3),
        ("threads", ctypes.c_uint32 * 3),
        ("seed", ctypes.c_uint64),
    ]


def size3(value: Shape, what: str) -> tuple[int, int, int]:
    """Return one to three counts as three."""
    counts = [int(value)] if isinstance(value, (int, np.integer)) else [int(count) for count in value]
    if not 1 <= len(counts) <= 3 or any(count < 0 for count in counts):
        raise ValueError(f"{what} must be one to three counts, got {value!r}")
    x, y, z = [*counts, 1, 1][:3]
    return x, y, z


@dataclass
class Call:
    """One dispatch in plain data, so that it can also travel to another process."""

    kernel: str
    constants: dict[int, bytes]
    buffers: dict[int, np.ndarray]
    threadgroup_bytes: dict[int, int]
    grid: tuple[int, int, int]
    threads: tuple[int, int, int]
    seed: int


class LoadedLibrary:
    """A compiled shader library in this process."""

    def __init__(self, path: Path) -> None:
        self.library = ctypes.CDLL(str(path))
        for name in ("simt_api_run", "simt_api_kernels"):
            getattr(self.library, name).restype = ctypes.c_void_p
        self.library.simt_api_free.argtypes = [ctypes.c_void_p]

    def _take(self, pointer: int) -> Any:
        text = ctypes.string_at(pointer).decode()
        self.library.simt_api_free(pointer)
        return json.loads(text)

    def kernels(self) -> dict[str, dict[str, Any]]:
        """Return the description of every kernel by host name."""
        described = self._take(self.library.simt_api_kernels())
        if isinstance(described, dict):
            raise ShaderError(described["error"])
        return {kernel["name"]: kernel for kernel in described}

    def run(self, call: Call) -> dict[str, Any]:
        """Run one dispatch; buffers are read and written in place."""
        dispatch = ApiDispatch(kernel=call.kernel.encode(), seed=call.seed)
        constants = (ApiConstant * max(1, len(call.constants)))()
        for slot, (index, value) in zip(constants, call.constants.items(), strict=False):
            slot.index, slot.bytes, slot.value = index, len(value), value
        dispatch.constants, dispatch.constant_count = constants, len(call.constants)
        for index, array in call.buffers.items():
            dispatch.buffers[index], dispatch.buffer_bytes[index] = array.ctypes.data, array.nbytes
        for index, count in call.threadgroup_bytes.items():
            dispatch.threadgroup_bytes[index] = count
        dispatch.threadgroups[:], dispatch.threads[:] = call.grid, call.threads
        outcome: dict[str, Any] = self._take(self.library.simt_api_run(ctypes.byref(dispatch)))
        return outcome


class ShaderLibrary:
    """The kernels of some .metal files, ready to run.

    ``mode``: ``plain`` is fast; ``instrumented`` checks races, bounds and uninitialised threadgroup memory
    and counts bytes; ``asan`` runs AddressSanitizer and UndefinedBehaviorSanitizer in a child process.
    Raises ShaderError with the compiler's text where a shader does not compile.
    """

    def __init__(
        self,
        shaders: Sequence[str | Path],
        mode: Mode = "plain",
        include_dirs: Sequence[str | Path] = (),
        defines: Sequence[str] = (),
    ) -> None:
        paths = [path if path.is_absolute() else ROOT / path for path in map(Path, shaders)]
        self.mode = mode
        self.path = build_library(paths, mode, [Path(folder) for folder in include_dirs], defines)
        self._loaded: Any = None
        if mode == "asan":
            from .simt_worker import WorkerLibrary

            self._loaded = WorkerLibrary(self.path)
        else:
            self._loaded = LoadedLibrary(self.path)
        self.kernels: dict[str, dict[str, Any]] = self._loaded.kernels()

    def run(
        self,
        kernel: str,
        constants: Mapping[str | int, Any] | None = None,
        buffers: Sequence[Buffer] | Mapping[int, Buffer] = (),
        threadgroup_bytes: Sequence[int] | Mapping[int, int] = (),
        grid: Shape = 1,
        threads: Shape = 32,
        seed: int = 0,
    ) -> Counters:
        """Run one dispatch of ``grid`` threadgroups and return its counters.

        Buffers stand at their index; arrays that the kernel writes change in place, so they must be
        contiguous and writable; None leaves an index unbound. Constants go by name or index. Seed 0 is the
        natural order of threads and threadgroups, any other value a shuffled one. Raises SimtError where the
        dispatch fails, and ValueError or KeyError for arguments that cannot be bound.
        """
        if kernel not in self.kernels:
            raise KeyError(f"no kernel '{kernel}'; known: {', '.join(sorted(self.kernels))}")
        info = self.kernels[kernel]
        listed = buffers if isinstance(buffers, Mapping) else dict(enumerate(buffers))
        lengths = (
            threadgroup_bytes
            if isinstance(threadgroup_bytes, Mapping)
            else dict(enumerate(threadgroup_bytes))
        )
        call = Call(
            kernel,
            dict(self._constant(info, key, value) for key, value in (constants or {}).items()),
            {index: self._buffer(info, index, value) for index, value in listed.items() if value is not None},
            dict(lengths),
            size3(grid, "grid"),
            size3(threads, "threads"),
            seed,
        )
        outcome = self._loaded.run(call)
        if outcome["error"]:
            raise SimtError(outcome["error"])
        traffic = [Traffic(**entry) for entry in outcome["counters"].pop("traffic")]
        return Counters(**outcome["counters"], traffic=traffic)

    @staticmethod
    def _constant(info: dict[str, Any], key: str | int, value: Any) -> tuple[int, bytes]:
        for constant in info["constants"]:
            if key in (constant["name"], constant["index"]):
                if constant["type"] not in STRUCT_CODES:
                    raise ValueError(
                        f"function constant {key}: type {constant['type']} cannot be set from Python"
                    )
                return int(constant["index"]), struct.pack("<" + STRUCT_CODES[constant["type"]], value)
        raise KeyError(f"kernel '{info['name']}' has no function constant {key!r}")

    @staticmethod
    def _buffer(info: dict[str, Any], index: int, value: Any) -> np.ndarray:
        argument = next((argument for argument in info["buffers"] if argument["index"] == index), None)
        if argument is None:
            raise KeyError(f"kernel '{info['name']}' has no buffer {index}")
        array = np.frombuffer(value, np.uint8) if isinstance(value, (bytes, bytearray)) else np.asarray(value)
        writes = argument["access"] == "read_write"
        if writes and (
            not isinstance(value, np.ndarray) or not array.flags.writeable or not array.flags.c_contiguous
        ):
            raise ValueError(
                f"buffer {index} (`{argument['name']}`) is written: it must be a contiguous writable array"
            )
        align = max(1, int(argument["element_align"]))
        if not array.flags.c_contiguous or (not writes and array.ctypes.data % align != 0):
            room = np.empty(array.nbytes + align, np.uint8)
            start = -room.ctypes.data % align
            copied = room[start : start + array.nbytes]
            copied[:] = np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8)
            return copied
        return array
