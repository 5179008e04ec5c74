"""The machine's limits, measured beside everything else: streaming reads and arithmetic in registers."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import numpy as np

from ..cases import Case
from ..timing import Item
from . import Backend

LIBRARY = Path(__file__).parents[2] / "build" / "bench" / "liblimits.so"
LEAST_READ = 16 << 20
BUFFER = 512 << 20
PEAKS = {"fma": 0, "bf16-dot": 1, "int8-dot": 2}
STEPS = 400_000
STREAMS = (1, 2, 8, 16)


def _library() -> Any:
    if not LIBRARY.exists():
        raise ImportError("limits are not built: run make bench or make bench-quick")
    library = ctypes.CDLL(str(LIBRARY))
    library.bench_read.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_int]
    library.bench_peak.argtypes = library.bench_peak_work.argtypes = [
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_int64,
    ]
    library.bench_read_work.argtypes = [ctypes.c_int, ctypes.c_uint64]
    library.bench_read_work.restype = ctypes.c_uint64
    for name in ("bench_read", "bench_peak", "bench_peak_work"):
        getattr(library, name).restype = ctypes.c_double
    return library


class Implementation(Backend):
    """Variants: read (about as many bytes as the case's float16 K and V), fma, bf16-dot, int8-dot."""

    def __init__(self, threads: int) -> None:
        super().__init__(threads)
        self._library = _library()
        self._buffer: Any = None

    def prepare(self, case: Case, variant: str, cold_bytes: int) -> Item:
        """See `Backend.prepare`; ``Item.work`` is bytes or operations of one call."""
        if variant in PEAKS:
            kind = PEAKS[variant]
            work = self._library.bench_peak_work(kind, self.threads, STEPS)
            if work == 0:
                raise NotImplementedError(f"this processor has no {variant} product")
            return Item(
                [lambda: self._library.bench_peak(kind, self.threads, STEPS)], returns_seconds=True, work=work
            )
        if self._buffer is None:
            # NumPy asks for huge pages; ones make the pages real.
            self._buffer = np.ones(BUFFER + 8192, np.uint8)
        size = min(BUFFER, max(LEAST_READ, case.bytes("f16"))) & ~4095
        begin = -(-self._buffer.ctypes.data // 64) * 64
        places = [begin + i * size for i in range(max(1, BUFFER // size))]

        def read(place: int, streams: int) -> float:
            return float(self._library.bench_read(self.threads, place, size, streams))

        # Processors differ in how many streams a thread are fastest.
        trials = {streams: min(read(places[0], streams) for _ in range(5)) for streams in STREAMS}
        best = min(trials, key=lambda streams: trials[streams])
        calls = [lambda place=place: read(place, best) for place in places]
        return Item(
            calls, returns_seconds=True, work=float(self._library.bench_read_work(self.threads, size))
        )
