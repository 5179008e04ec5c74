"""What the smallest attention call costs beside a bare kernel, a call that does nothing, and torch.

Run by `make bench-calls`. One head, head_dim 64, 16 keys, float32. Results are checked first; every item is
measured in turn, many rounds, and the median counts.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import metalhead as mh
from metalhead import reference

CALLS = 2000


def seconds_per_call(call: Callable[[], object]) -> float:
    """Time of one call, averaged over a short run."""
    start = time.perf_counter()
    for _ in range(CALLS):
        call()
    return (time.perf_counter() - start) / CALLS


def items(floor: object) -> dict[str, Callable[[], float]]:
    """What is measured, by name: functions that return seconds per call."""
    rng = np.random.default_rng(0)
    q = rng.standard_normal((1, 1, 1, 64), dtype=np.float32)
    k, v = rng.standard_normal((2, 1, 1, 16, 64), dtype=np.float32)
    out = np.empty_like(q)
    exact = reference.sdpa(q, k, v)
    np.testing.assert_allclose(mh.flash_attn_vec(q, k, v), exact, atol=1e-6)
    measured: dict[str, Callable[[], float]] = {
        "bare kernel": lambda: floor.bare_kernel_seconds(q, k, v, out, CALLS),  # type: ignore[attr-defined]
        "no-op nanobind call": lambda: seconds_per_call(lambda: floor.no_operation(q, k, v)),  # type: ignore[attr-defined]
        "metalhead, out=": lambda: seconds_per_call(lambda: mh.flash_attn_vec(q, k, v, out=out)),
        "metalhead, new result": lambda: seconds_per_call(lambda: mh.flash_attn_vec(q, k, v)),
    }
    try:
        import torch
    except ImportError:
        return measured
    tensors = [torch.from_numpy(x) for x in (q, k, v)]
    attention = torch.nn.functional.scaled_dot_product_attention
    np.testing.assert_allclose(attention(*tensors).numpy(), exact, atol=1e-6)
    np.testing.assert_allclose(mh.flash_attn_vec(*tensors).numpy(), exact, atol=1e-6)
    measured["torch"] = lambda: seconds_per_call(lambda: attention(*tensors))
    measured["metalhead, torch tensors"] = lambda: seconds_per_call(lambda: mh.flash_attn_vec(*tensors))
    return measured


def main() -> int:
    """Measure, print a table, and write JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("floor", type=Path, help="folder of the built call_floor extension")
    parser.add_argument("--rounds", type=int, default=15, help="rounds over all items (15)")
    parser.add_argument("--json", type=Path, help="also write the medians here")
    options = parser.parse_args()
    sys.path.insert(0, str(options.floor))
    import call_floor

    measured = items(call_floor)
    samples: dict[str, list[float]] = {name: [] for name in measured}
    for _ in range(options.rounds):
        for name, measure in measured.items():
            samples[name].append(measure())
    medians = {name: statistics.median(values) * 1e6 for name, values in samples.items()}
    bare = medians["bare kernel"]
    print(f"{'one head, head_dim 64, 16 keys':32} {'microseconds':>12} {'over the bare kernel':>22}")
    for name, value in medians.items():
        print(f"{name:32} {value:12.2f} {value - bare:22.2f}")
    if options.json:
        options.json.write_text(json.dumps(medians, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
