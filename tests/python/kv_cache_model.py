"""A KV cache as plain Python lists: what every test compares the real one with."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

import metalhead as mh
from metalhead import reference

NDArray = npt.NDArray[Any]

DTYPES: dict[str, Any] = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
TOLERANCES = {"float32": 5e-6, "float16": 2e-3, "bfloat16": 2e-2}


class Forgotten(Exception):
    """The model can not answer: a token that a row sees is gone."""


class ListModel:
    """Every token ever appended, as given; which of them a real cache still holds, and in what precision."""

    def __init__(self, config: Any) -> None:
        self.config = config
        self.tokens: list[list[tuple[NDArray, NDArray]]] = [[] for _ in range(config.batch)]
        self.starts = [0] * config.batch
        self.recents = [0] * config.batch

    @property
    def lengths(self) -> list[int]:
        return [len(tokens) for tokens in self.tokens]

    def append(self, k: NDArray, v: NDArray, counts: list[int]) -> None:
        for b, count in enumerate(counts):
            self.tokens[b] += [(k[b, :, i], v[b, :, i]) for i in range(count)]
            end = len(self.tokens[b])
            self.starts[b] = max(self.starts[b], end - self.config.capacity)
            self.recents[b] = max(self.recents[b], end - self.config.keep_last)

    def truncate(self, length: int) -> None:
        """Raises `Forgotten` where a ring has overwritten what the next token sees."""
        window = self.config.sliding_window
        for b, tokens in enumerate(self.tokens):
            if length < len(tokens) and window and self.starts[b] > max(0, length - (window - 1)):
                raise Forgotten
        for b, tokens in enumerate(self.tokens):
            del tokens[length:]
            self.recents[b] = min(self.recents[b], len(tokens))

    def reorder(self, indices: list[int]) -> None:
        self.tokens = [list(self.tokens[i]) for i in indices]
        self.starts = [self.starts[i] for i in indices]
        self.recents = [self.recents[i] for i in indices]

    def decoded(self, b: int, which: int) -> NDArray:
        """K (0) or V (1) of the tokens that are held, ``[kv_heads, held, dim]`` float64."""
        config = self.config
        kind = (config.k, config.v)[which]
        x = np.stack([token[which] for token in self.tokens[b][self.starts[b] :]], axis=1)
        if kind in DTYPES:
            rows = x.astype(DTYPES[kind]).astype(np.float64)
        else:
            tq_format = mh.TQFormat(
                bits=int(kind[2:]), head_dim=x.shape[2], seed=config.seed, search=config.search
            )
            rows = np.asarray(mh.tq_decode(mh.tq_encode(x.astype(np.float32), tq_format))).astype(np.float64)
        positions = self.starts[b] + np.arange(x.shape[1])
        if config.keep_first or config.keep_last:
            kept = (positions < config.keep_first) | (positions >= self.recents[b])
            rows[:, kept] = x[:, kept].astype(np.float16)
        return rows

    def attend(self, q: NDArray, **keywords: Any) -> tuple[NDArray, NDArray]:
        """Out and lse in float64; raises `Forgotten` where a row sees a token that is not held."""
        window, rows = self.config.sliding_window, q.shape[2]
        if window:
            if self.config.capacity < window + rows - 1:
                raise Forgotten
            if any(
                start > max(0, n - rows - (window - 1))
                for start, n in zip(self.starts, self.lengths, strict=True)
            ):
                raise Forgotten
            keywords["window_size"] = (window - 1, 0 if keywords.get("causal", True) else -1)
        mask = keywords.pop("mask", None)
        outs, lses = [], []
        for b in range(self.config.batch):
            if mask is not None:
                full = np.broadcast_to(mask, (self.config.batch, *q.shape[1:3], max(self.lengths)))
                keywords["mask"] = full[b : b + 1, ..., self.starts[b] : self.lengths[b]]
            out, lse = reference.sdpa(
                q[b : b + 1].astype(np.float64),
                self.decoded(b, 0)[None],
                self.decoded(b, 1)[None],
                return_lse=True,
                **keywords,
            )
            outs.append(out)
            lses.append(lse)
        return np.concatenate(outs), np.concatenate(lses)


def random_tokens(config: Any, n: int, seed: int) -> tuple[NDArray, NDArray]:
    """K and V of n tokens, float32."""
    random = np.random.default_rng(seed)
    shape = (config.batch, config.kv_heads, n)
    return (
        random.standard_normal((*shape, config.head_dim), dtype=np.float32),
        random.standard_normal((*shape, config.value_dim), dtype=np.float32),
    )


def query_dtype(config: Any) -> str:
    """A dtype of q that the kinds of a cache allow."""
    return config.k if config.k in DTYPES and config.v in DTYPES else "float32"


def assert_attends_like(cache: Any, model: ListModel, q: NDArray, **keywords: Any) -> None:
    """Compare output and log-sum-exp with float64 attention over the decoded tokens of the model."""
    want, want_lse = model.attend(q, **keywords)
    out, lse = cache.attend(q, return_lse=True, **keywords)
    assert out.dtype == q.dtype and out.shape == want.shape
    tolerance = TOLERANCES[q.dtype.name]
    np.testing.assert_allclose(
        out.astype(np.float64), want, rtol=0, atol=tolerance * max(1.0, np.abs(want).max())
    )
    np.testing.assert_allclose(lse, want_lse, rtol=2e-5, atol=2e-5)
