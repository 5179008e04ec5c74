"""How one implementation's calls are timed inside its process."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

# Calls shorter than this are timed in batches, so that reading the clock does not count.
BATCH_SECONDS = 100e-6

# The process's CPU time leaves out what others took from it; it means something for one thread only.
CPU_TIME = bool(os.environ.get("BENCH_CPU_TIME"))
CLOCK = time.process_time if CPU_TIME else time.perf_counter


@dataclass
class Item:
    """Something to time: calls that do the same work on different memory, so that no cache holds it.

    `out` turns what a call returned into ``[query_heads, rows, head_dim]`` (None: nothing to check);
    `accurate` raises if the result breaks the implementation's own rule; `returns_seconds` says that a call
    measures itself and returns its time; `work` is what a limit's call does, in bytes or operations.
    """

    calls: Sequence[Callable[[], Any]]
    out: Callable[[Any], Any] | None = None
    accurate: Callable[[Any], None] | None = None
    returns_seconds: bool = False
    work: float = 0.0
    next: int = 0
    batch: int = 0

    def seconds(self) -> float:
        """Time of the next call or batch of calls, for one of them."""
        call = self.calls[self.next]
        self.next = (self.next + 1) % len(self.calls)
        if self.returns_seconds:
            return _own_seconds(call)
        if self.batch == 0:
            self.batch = self._batch(call)
        start = CLOCK()
        if self.batch == 1:
            call()
        else:
            for _ in range(self.batch):
                call()
        return (CLOCK() - start) / self.batch

    def _batch(self, call: Callable[[], Any]) -> int:
        """How many calls make a batch; always one where memory alternates, for a batch would find it warm."""
        if len(self.calls) > 1:
            return 1
        start = time.perf_counter()
        call()
        once = time.perf_counter() - start
        return max(1, min(5000, round(BATCH_SECONDS * 10 / max(once, 1e-7)))) if once < BATCH_SECONDS else 1


def _own_seconds(call: Callable[[], Any]) -> float:
    """What a call says that it took, and no more than the CPU time of all of it if that is what counts."""
    start = CLOCK()
    seconds = float(call())
    return min(seconds, CLOCK() - start) if CPU_TIME else seconds


def sample(item: Item, seconds: float, least: int) -> tuple[float, int]:
    """Median time of one call over at least `seconds` and `least` calls, and how many were timed."""
    times: list[float] = []
    start = time.perf_counter()
    while len(times) < least or time.perf_counter() - start < seconds:
        times.append(item.seconds())
    return statistics.median(times), len(times)
