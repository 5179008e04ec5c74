"""Measure every cache kind on every text and draw bits per byte against bytes per token."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from progress import Progress
from quality import KINDS, TEXTS, Row, bytes_per_token, exact_bits, load_texts, measure_all, overall, table
from tinylm import TinyLM

DOCS = Path(__file__).parents[2] / "docs"
NEAR = 0.02
PACKED = tuple(label for label, kinds in KINDS.items() if "tq" in "".join(kinds))


def measure_into(path: Path, texts: Sequence[str], seeds: int, searches: Sequence[int]) -> dict[str, Any]:
    """Measure what `path` does not hold yet, and write it after every kind."""
    model, chosen = TinyLM.load(), load_texts(texts)
    sizes = {text.name: text.scored for text in chosen}
    measured: dict[str, Any] = {"texts": sizes, "sign_seeds": seeds, "exact": {}, "caches": []}
    if path.exists():
        found = json.loads(path.read_text())
        if (found.get("texts"), found.get("sign_seeds")) == (sizes, seeds):
            measured = found
    for text in chosen:
        if text.name not in measured["exact"]:
            with Progress(f"scoring {text.name}", text.scored) as progress:
                bits, _ = exact_bits(model, text, lambda done, total: progress.show(done))
            measured["exact"][text.name] = bits
    for search in searches:
        for label in KINDS if search == searches[0] else PACKED:
            if any((row["label"], row["search"]) == (label, search) for row in measured["caches"]):
                continue
            with Progress(f"{label}, search {search}", 1.0) as progress:
                (row,) = measure_all(model, [label], chosen, seeds, search, progress.show)
            measured["caches"].append(row._asdict() | {"average": row.average()})
            path.write_text(json.dumps(measured, indent=1) + "\n")
    for search in searches:
        rows = rows_of(measured, search)
        print(f"search {search}\n{table(rows, measured['exact'], bytes_per_token(model.new_caches(1)))}\n")
    return measured


def rows_of(measured: dict[str, Any], search: int) -> list[Row]:
    """The rows of one number of search steps."""
    rows = [Row(*(row[name] for name in Row._fields)) for row in measured["caches"]]
    return [row for row in rows if row.search == search]


def draw(measured: dict[str, Any], path: Path) -> None:
    """Write the PNG: all kinds, and beside them those near to no cache; whiskers span the sign seeds."""
    try:
        import matplotlib
    except ImportError:
        raise SystemExit("quality_plot: drawing needs matplotlib: pip install matplotlib") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    exact = overall(measured["exact"], measured["texts"])
    figure, panels = pyplot.subplots(1, 2, figsize=(11, 4.5), dpi=130, layout="constrained")
    for axes, reach in zip(panels, (math.inf, NEAR), strict=True):
        draw_panel(axes, measured, exact, reach)
    panels[0].set_ylabel("bits per byte, mean of all bytes of the texts")
    panels[0].legend()
    panels[0].set_title("all kinds")
    panels[1].set_title(f"within {NEAR} of no cache")
    figure.supxlabel("cache bytes per token, all layers (logarithmic)", fontsize="medium")
    figure.savefig(path)


def draw_panel(axes: Any, measured: dict[str, Any], exact: float, reach: float) -> None:
    """Draw the kinds within `reach` bits per byte of `exact`."""
    axes.axhline(exact, color="0.6", linewidth=1, label="no cache, float32")
    searches = sorted({row["search"] for row in measured["caches"]})
    for search, colour in zip(searches, ("tab:blue", "tab:orange", "tab:green"), strict=False):
        rows = [row for row in rows_of(measured, search) if row.average() - exact < reach]
        means = [row.average() for row in rows]
        spread = [
            [mean - min(row.seed_averages()) for row, mean in zip(rows, means, strict=True)],
            [max(row.seed_averages()) - mean for row, mean in zip(rows, means, strict=True)],
        ]
        sizes = [row.bytes_per_token for row in rows]
        style = {"fmt": "o", "markersize": 4, "capsize": 3, "color": colour}
        axes.errorbar(sizes, means, spread, label=f"search {search}", **style)
        if search == searches[0]:
            name_points(axes, [row for row in rows if reach < math.inf or row.average() - exact > NEAR])
    axes.set_xscale("log", base=2)
    ticks = [1536 * 2**power for power in range(5)]
    axes.set_xticks(ticks, [f"{tick / 1024:g} KiB" for tick in ticks])
    axes.set_xlim(1400, 34000)
    axes.grid(alpha=0.3)


def name_points(axes: Any, rows: Sequence[Row]) -> None:
    """Write the kinds beside their points, those at one place together."""
    places: dict[tuple[float, float], list[str]] = {}
    for row in rows:
        places.setdefault((row.bytes_per_token, round(row.average(), 4)), []).append(row.label)
    for place, labels in places.items():
        text = ", ".join(labels)
        axes.annotate(text, place, (5, 3), textcoords="offset points", fontsize=8, rotation=20)


def main() -> int:
    """Measure, write ``cache_quality.json``, draw ``cache_quality.png``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", nargs="+", default=list(TEXTS), choices=TEXTS)
    parser.add_argument("--sign-seeds", type=int, default=3, help="averaged over (3)")
    parser.add_argument("--search", type=int, nargs="+", default=[1, 5], choices=(1, 5, 17))
    parser.add_argument("--out", type=Path, default=DOCS, help="folder of the two files (docs)")
    parser.add_argument("--draw-only", action="store_true", help="draw from the JSON that is there")
    options = parser.parse_args()
    data = options.out / "cache_quality.json"
    try:
        if not options.draw_only:
            options.out.mkdir(parents=True, exist_ok=True)
            measure_into(data, options.texts, options.sign_seeds, options.search)
        draw(json.loads(data.read_text()), options.out / "cache_quality.png")
    except KeyboardInterrupt:
        print("\nquality_plot: interrupted", file=sys.stderr)
        return 130
    print(f"wrote {data} and {options.out / 'cache_quality.png'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
