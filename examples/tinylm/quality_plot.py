"""Measure every cache kind on every text and draw bits per byte against bytes per token."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from progress import Progress
from quality import KINDS, TEXTS, Row, bytes_per_token, exact_bits, load_texts, measure_all, table
from tinylm import TinyLM

DOCS = Path(__file__).parents[2] / "docs"
PACKED = tuple(label for label, kinds in KINDS.items() if "tq" in "".join(kinds))


def run(texts: Sequence[str], seeds: int, searches: Sequence[int]) -> dict[str, Any]:
    """Everything that the plot shows, as plain data."""
    model, chosen = TinyLM.load(), load_texts(texts)
    exact = {}
    for text in chosen:
        with Progress(f"scoring {text.name}", text.scored) as progress:
            exact[text.name] = exact_bits(model, text, lambda done, total: progress.show(done))[0]
    rows: list[Row] = []
    for search in searches:
        labels = list(KINDS) if search == searches[0] else list(PACKED)
        with Progress(f"caches with search {search}", 1.0) as progress:
            rows += measure_all(model, labels, chosen, seeds, search, progress.show)
    print(table(rows, exact, bytes_per_token(model.new_caches(1))))
    return {
        "command": "python " + " ".join(["examples/tinylm/quality_plot.py", *sys.argv[1:]]),
        "texts": {text.name: text.scored for text in chosen},
        "exact": exact,
        "caches": [row._asdict() | {"average": row.average()} for row in rows],
    }


def draw(measured: dict[str, Any], path: Path) -> None:
    """The PNG: one series a number of search steps, whiskers from the best to the worst sign seed."""
    try:
        import matplotlib
    except ImportError:
        raise SystemExit("quality_plot: drawing needs matplotlib: pip install matplotlib") from None
    matplotlib.use("Agg")
    from matplotlib import pyplot

    exact = sum(measured["exact"].values()) / len(measured["exact"])
    figure, axes = pyplot.subplots(figsize=(8, 5), dpi=150, layout="constrained")
    axes.axhline(exact, color="0.6", linewidth=1, label="no cache, float32")
    searches = sorted({row["search"] for row in measured["caches"]})
    for search, colour in zip(searches, ("tab:blue", "tab:orange", "tab:green"), strict=False):
        rows = [Row(*(row[name] for name in Row._fields)) for row in measured["caches"]]
        rows = [row for row in rows if row.search == search]
        sizes = [row.bytes_per_token for row in rows]
        means = [row.average() for row in rows]
        below = [mean - min(row.seed_averages()) for row, mean in zip(rows, means, strict=True)]
        above = [max(row.seed_averages()) - mean for row, mean in zip(rows, means, strict=True)]
        label = f"search {search}" if len(searches) > 1 else "caches"
        axes.errorbar(
            sizes, means, (below, above), fmt="o", markersize=4, capsize=3, color=colour, label=label
        )
        if search == searches[0]:
            for row, mean in zip(rows, means, strict=True):
                axes.annotate(
                    row.label, (row.bytes_per_token, mean), (4, 6), textcoords="offset points", fontsize=8
                )
    axes.set_xscale("log", base=2)
    axes.set_xticks([2**k * 1536 for k in range(5)], [f"{2**k * 1.5:g} KiB" for k in range(5)])
    axes.set_xlabel("cache bytes per token, all layers (logarithmic)")
    axes.set_ylabel("bits per byte, mean of the reference texts")
    axes.set_title("tinylm: quality against cache size")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path)


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
            data.write_text(
                json.dumps(run(options.texts, options.sign_seeds, options.search), indent=1) + "\n"
            )
        draw(json.loads(data.read_text()), options.out / "cache_quality.png")
    except KeyboardInterrupt:
        print("\nquality_plot: interrupted", file=sys.stderr)
        return 130
    print(f"wrote {data} and {options.out / 'cache_quality.png'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
