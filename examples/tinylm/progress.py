"""A progress line on stderr for work that takes longer than two seconds."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TextIO

SILENT_SECONDS = 2.0
SPARSE_SECONDS = 15.0
WIDTH = 30


class Progress:
    """A bar on a terminal, a line every 15 seconds elsewhere, nothing for short work.

    >>> with Progress("scoring", total=2) as progress:
    ...     progress.show(1)
    ...     progress.show(2)
    """

    def __init__(self, label: str, total: float, stream: TextIO | None = None) -> None:
        self._label, self._total = label, total
        self._stream = sys.stderr if stream is None else stream
        self._started = self._shown = time.monotonic()
        self._drawn = False

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._drawn:
            self._stream.write("\r\033[K")
            self._stream.flush()

    def show(self, done: float) -> None:
        """Report `done` of the total."""
        now = time.monotonic()
        elapsed, share = now - self._started, min(1.0, done / self._total)
        if elapsed < SILENT_SECONDS or share == 0:
            return
        left = elapsed / share - elapsed
        if self._stream.isatty():
            filled = round(WIDTH * share)
            bar = "#" * filled + "." * (WIDTH - filled)
            self._stream.write(
                f"\r{self._label} [{bar}] {share:4.0%} {elapsed:.0f} s, {left:.0f} s left\033[K"
            )
            self._drawn = True
        elif now - self._shown >= SPARSE_SECONDS:
            self._stream.write(f"{self._label}: {share:.0%} after {elapsed:.0f} s, {left:.0f} s left\n")
            self._shown = now
        self._stream.flush()
