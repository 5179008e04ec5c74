"""One chart: decode time against the number of keys, ours and the peers', and the memory limit as a line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .cases import Case
from .lines import Result, groups_of, limits_of, peaks_of
from .table import SCALING_KINDS

STYLES = {"f16": ("C0", "float16"), "tq4": ("C3", "TurboQuant, 4 bits"), "tq2": ("C2", "TurboQuant, 2 bits")}


def series(results: list[Result]) -> dict[str, dict[int, float]]:
    """Milliseconds by keys: ``metalhead KIND``, peers by name, and ``limit KIND``, two threads."""
    found: dict[str, dict[int, float]] = {}
    peaks = peaks_of(results)
    for section, case, threads, group in groups_of(results):
        if section != "scaling" or threads != 2:
            continue
        for result in group:
            if "seconds" in result and result["implementation"] not in ("limits", "baseline"):
                name = f"{result['implementation']} {result['variant']}"
                found.setdefault(name, {})[case.keys] = result["seconds"] * 1e3
        limits = limits_of(group, peaks.get(threads, {}))
        if limits is not None:
            for kind in SCALING_KINDS:
                found.setdefault(f"limit {kind}", {})[case.keys] = case.bytes(kind) / limits.read * 1e3
    return found


def draw(run: dict[str, Any], path: Path) -> None:
    """Write the PNG; needs matplotlib."""
    try:
        import matplotlib
    except ImportError:
        raise SystemExit("benchmarks: drawing needs matplotlib: pip install matplotlib") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    data = series(run["results"])
    if not data:
        raise SystemExit("benchmarks: these results hold no scaling rows to draw")
    figure, axes = pyplot.subplots(figsize=(8.5, 5.5), dpi=130, layout="constrained")
    for name, points in data.items():
        keys = sorted(points)
        times = [points[k] for k in keys]
        owner, _, kind = name.partition(" ")
        if owner == "metalhead":
            axes.plot(
                keys, times, "o-", color=STYLES[kind][0], linewidth=2, label=f"metalhead, {STYLES[kind][1]}"
            )
        elif owner == "limit":
            label = "reading the bytes alone" if kind == SCALING_KINDS[0] else None
            axes.plot(keys, times, ":", color=STYLES[kind][0], linewidth=1.2, label=label)
        else:
            axes.plot(keys, times, "x--", linewidth=1, markersize=5, alpha=0.8, label=name)
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    every = sorted({keys for points in data.values() for keys in points})
    axes.set_xticks(every, [f"{keys // 1024}k" for keys in every])
    axes.set_xlabel("keys")
    axes.set_ylabel("milliseconds for one token")
    machine = run["machine"]
    shape = next(Case(**r["case"]).shape for r in run["results"] if r["section"] == "scaling")
    axes.set_title(
        f"Decode, (query heads, KV heads, head_dim) = {shape}, two threads, cold caches\n"
        f"{machine['processor']}; commit {machine['commit']}",
        fontsize=9,
    )
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(path)
