"""Where and of what a run was: processor, load, commit, versions."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def describe() -> dict[str, Any]:
    """Facts that a result is worth nothing without."""
    return {
        "processor": _processor(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "last_level_cache_bytes": _last_level_cache(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.machine()}",
        "huge_pages": _text("/sys/kernel/mm/transparent_hugepage/enabled"),
        "python": platform.python_version(),
        "commit": commit(),
        "command": "python -m benchmarks " + shlex.join(sys.argv[1:]),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def commit() -> str:
    """The commit's short name, with ``+`` if files differ from it."""
    name = _git("rev-parse", "--short=10", "HEAD")
    return name + ("+" if name and _git("status", "--porcelain", "--untracked-files=no") else "")


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _text(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _processor() -> str:
    for line in _text("/proc/cpuinfo").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _last_level_cache() -> int:
    sizes = []
    for path in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        text = _text(str(path))
        sizes.append(int(text[:-1]) * {"K": 1 << 10, "M": 1 << 20}.get(text[-1], 1))
    return max(sizes, default=0)


def load() -> list[float]:
    """Load averages of 1, 5 and 15 minutes."""
    return [round(x, 2) for x in os.getloadavg()]


def available_bytes() -> int:
    """Memory that can be had without swapping; 1 TiB where the system does not say."""
    for line in _text("/proc/meminfo").splitlines():
        if line.startswith("MemAvailable"):
            return int(line.split()[1]) * 1024
    return 1 << 40


class Others:
    """CPUs' worth of work that processes other than this one and those given did since this was made."""

    def __init__(self, own: Iterable[int] = ()) -> None:
        self._own = [os.getpid(), *own]
        self._start, self._before = time.perf_counter(), self._foreign_ticks()

    def _foreign_ticks(self) -> int:
        fields = [int(x) for x in _text("/proc/stat").partition("\n")[0].split()[1:9]]
        busy = sum(fields) - sum(fields[3:5])
        for pid in self._own:
            times = _text(f"/proc/{pid}/stat").rpartition(")")[2].split()[11:13]
            busy -= sum(int(ticks) for ticks in times)
        return busy

    def share(self) -> float:
        """The share so far; 0 where the system does not say."""
        seconds = time.perf_counter() - self._start
        used = (self._foreign_ticks() - self._before) / os.sysconf("SC_CLK_TCK")
        return round(max(0.0, used / seconds), 2)


def others_share(seconds: float = 0.3) -> float:
    """CPUs' worth of work that others do while this process sleeps."""
    others = Others()
    time.sleep(seconds)
    return others.share()
