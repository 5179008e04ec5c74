"""What a cache costs: bits per byte of tinylm on the reference texts, and bytes per token, for each kind."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from tinylm import FOLDER, Caches, Prefill, TinyLM, score

TEXTS = ("short", "medium", "long")
KINDS = {
    "float32": ("float32", "float32"),
    "float16": ("float16", "float16"),
    "bfloat16": ("bfloat16", "bfloat16"),
    "tq8": ("tq8", "tq8"),
    "tq6": ("tq6", "tq6"),
    "k6v4": ("tq6", "tq4"),
    "tq5": ("tq5", "tq5"),
    "k5v4": ("tq5", "tq4"),
    "tq4": ("tq4", "tq4"),
    "k4v3": ("tq4", "tq3"),
    "tq3": ("tq3", "tq3"),
    "k3v2": ("tq3", "tq2"),
    "tq2": ("tq2", "tq2"),
}
BLOCK_ROWS = 1024


class Text(NamedTuple):
    """A set of texts ``[n, T + 1]`` with the stored float64 results."""

    name: str
    tokens: npt.NDArray[np.uint8]
    bits_per_byte: float
    last_logits: npt.NDArray[np.float64]

    @property
    def scored(self) -> int:
        """Bytes that get a loss."""
        return self.tokens.shape[0] * (self.tokens.shape[1] - 1)


class Row(NamedTuple):
    """A cache kind: bytes per token, bytes scored a text, and bits per byte ``{text: [one a seed]}``."""

    label: str
    k: str
    v: str
    search: int
    bytes_per_token: float
    scored: dict[str, int]
    bits_per_byte: dict[str, list[float]]

    def mean(self, text: str) -> float:
        """Bits per byte on a text, over the seeds."""
        return sum(self.bits_per_byte[text]) / len(self.bits_per_byte[text])

    def average(self) -> float:
        """Bits per byte over all bytes of the texts and over the seeds."""
        return overall({text: self.mean(text) for text in self.bits_per_byte}, self.scored)

    def seed_averages(self) -> list[float]:
        """`average` for each seed by itself."""
        return [
            overall(dict(zip(self.bits_per_byte, values, strict=True)), self.scored)
            for values in zip(*self.bits_per_byte.values(), strict=True)
        ]


def overall(bits: dict[str, float], scored: dict[str, int]) -> float:
    """Bits per byte of several texts together: every byte counts the same."""
    return sum(bits[text] * scored[text] for text in bits) / sum(scored[text] for text in bits)


def load_texts(names: Sequence[str] = TEXTS, folder: Path = FOLDER) -> list[Text]:
    """The named sets of ``reference.npz``."""
    with np.load(folder / "reference.npz") as stored:
        return [
            Text(
                name,
                stored[f"{name}.tokens"],
                float(stored[f"{name}.nll"].mean()) / math.log(2),
                stored[f"{name}.last_logits"],
            )
            for name in names
        ]


def bytes_per_token(caches: Caches) -> float:
    """Bytes that one token takes in the caches of all layers."""
    return sum(cache.nbytes / cache.config.capacity for cache in caches.layers)


def seeds_of(k: str, v: str, seeds: int) -> range:
    """Only packed kinds depend on the sign seed."""
    return range(seeds if "tq" in k + v else 1)


def exact_bits(
    model: TinyLM, text: Text, progress: Callable[[int, int], None] | None = None
) -> tuple[float, npt.NDArray[Any]]:
    """Bits per byte through `mh.sdpa` and `mh.sdpa_sliding`, without a cache, and the last logits."""
    batch, length = text.tokens.shape
    losses, logits = score(
        model, text.tokens, Prefill(model, batch, length - 1), block_rows=BLOCK_ROWS, progress=progress
    )
    return float(losses.mean()) / math.log(2), logits


def measure(
    model: TinyLM,
    label: str,
    kinds: tuple[str, str],
    texts: Sequence[Text],
    seeds: int,
    search: int = 1,
    progress: Callable[[int], None] | None = None,
) -> Row:
    """Score texts through real caches: every position attends to what the cache made of its keys and values.

    `progress` gets the number of bytes scored so far.
    """
    k, v = kinds
    bits: dict[str, list[float]] = {text.name: [] for text in texts}
    size, scored = 0.0, 0
    for seed in seeds_of(k, v, seeds):
        for text in texts:
            batch, length = text.tokens.shape
            rows = min(BLOCK_ROWS, length - 1)
            caches = model.new_caches(length - 1, k, v, rows=rows, batch=batch, seed=seed, search=search)
            size = bytes_per_token(caches) / batch

            def show(done: int, total: int, before: int = scored) -> None:
                if progress is not None:
                    progress(before + done)

            losses, _ = score(model, text.tokens, caches, block_rows=rows, progress=show)
            bits[text.name].append(float(losses.mean()) / math.log(2))
            scored += text.scored
    return Row(label, k, v, search, size, {text.name: text.scored for text in texts}, bits)


def measure_all(
    model: TinyLM,
    labels: Sequence[str],
    texts: Sequence[Text],
    seeds: int,
    search: int = 1,
    progress: Callable[[float], None] | None = None,
) -> list[Row]:
    """`measure` for every label of `KINDS`; `progress` gets the share of the work that is done."""
    total = sum(text.scored * len(seeds_of(*KINDS[label], seeds)) for label in labels for text in texts)
    rows, before = [], 0
    for label in labels:

        def show(done: int, before: int = before) -> None:
            if progress is not None:
                progress((before + done) / total)

        rows.append(measure(model, label, KINDS[label], texts, seeds, search, show))
        before += sum(text.scored for text in texts) * len(seeds_of(*KINDS[label], seeds))
    return rows


def table(rows: Sequence[Row], exact: dict[str, float], exact_bytes: float) -> str:
    """The comparison as text, a line a kind.

    `exact` are bits per byte without a cache, `exact_bytes` the bytes per token of float32; the difference is
    the mean over all bytes and seeds, its range is over the seeds.
    """
    texts = list(rows[0].bits_per_byte)
    baseline = overall({text: exact[text] for text in texts}, rows[0].scored)
    head = ["cache", "bytes per token", "of float32", *texts, "difference", "of the seeds"]
    lines = [head, ["exact", f"{exact_bytes:.0f}", "", *(f"{exact[text]:.4f}" for text in texts), "", ""]]
    for row in rows:
        spread = [value - baseline for value in row.seed_averages()]
        lines.append(
            [
                row.label,
                f"{row.bytes_per_token:.0f}",
                f"{row.bytes_per_token / exact_bytes:.1%}",
                *(f"{row.mean(text):.4f}" for text in texts),
                f"{row.average() - baseline:+.4f}",
                f"{min(spread):+.4f} .. {max(spread):+.4f}" if len(spread) > 1 else "",
            ]
        )
    return aligned(lines)


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Columns of equal width, the first one to the left, a rule under the head."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    texts = [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    return "\n".join([texts[0], "-" * len(texts[0]), *texts[1:]])
