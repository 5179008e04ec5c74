"""One implementation in a process of its own, which prepares and times items as the driver asks.

Run as ``python -m benchmarks.worker NAME``: a line of JSON in, a line of JSON out. BENCH_THREADS
says how many threads it may use.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from typing import Any

from .cases import Case
from .timing import Item, sample


def checked(case: Case, item: Item, result: Any) -> float | None:
    """Error of a result against the reference; raises if it is wrong rather than less exact."""
    if item.out is None:
        return None
    from . import checks

    if item.accurate is not None:
        item.accurate(result)
    if case.op in ("encode", "unpack"):
        return float(item.out(result))
    error = checks.error(case, item.out(result))
    # A result that its own rule accepts may be far off in 2 bits; that is the format's, not the kernel's.
    if item.accurate is None and not error < checks.WRONG:
        raise AssertionError(f"wrong result: relative error {error:.3g}")
    return error


def prepare(backend: Any, request: dict[str, Any], items: dict[int, Item]) -> dict[str, Any]:
    """Make an item, run it once, and check what came out."""
    case = Case(**request["case"])
    item = backend.prepare(case, request["variant"], request["cold_bytes"])
    start = time.perf_counter()
    result = item.calls[0]()
    once = time.perf_counter() - start
    error = checked(case, item, result)
    item.accurate = item.out = None  # they hold what the check needed, as much as the caches themselves
    items[request["id"]] = item
    return {"error": error, "once": once, "slots": len(item.calls), "work": item.work}


def main(name: str) -> int:
    """Answer requests until the input ends."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not mix with the replies
    from .peers import load

    backend: Any = None
    items: dict[int, Item] = {}
    for line in sys.stdin:
        request = json.loads(line)
        reply: dict[str, Any]
        try:
            if request["do"] == "start":
                backend = load(name)(int(os.environ["BENCH_THREADS"]))
                reply = {"version": backend.version}
            elif request["do"] == "prepare":
                reply = prepare(backend, request, items)
            elif request["do"] == "sample":
                item = items[request["id"]]
                median, calls = sample(item, request["seconds"], request["least"])
                reply = {"seconds": median, "calls": calls}
            else:
                items.clear()
                backend.release()
                gc.collect()
                reply = {}
        except Exception as problem:
            text = " ".join(str(problem).split())
            reply = {"failed": f"{type(problem).__name__}: {text}"[:400]}
        print(json.dumps(reply), file=replies, flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
