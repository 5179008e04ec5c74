"""The KV cache against a list model, with operations in random order."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import metalhead as mh
from kv_cache_model import DTYPES, Forgotten, ListModel, assert_attends_like, query_dtype, random_tokens

KINDS = [
    ("float32", "float32"),
    ("float16", "float16"),
    ("bfloat16", "bfloat16"),
    ("tq4", "tq4"),
    ("tq8", "tq3"),
    ("tq5", "tq6"),
    ("tq2", "tq4"),
    ("float16", "tq4"),
    ("tq4", "float16"),
]
SEEDS = st.integers(0, 2**32 - 1)


@st.composite
def configurations(draw: Any) -> dict[str, Any]:
    k, v = draw(st.sampled_from(KINDS))
    capacity = draw(st.integers(1, 40))
    kept = st.integers(0, min(6, capacity)) if "tq" in k + v else st.just(0)
    return {
        "batch": draw(st.integers(1, 3)),
        "kv_heads": draw(st.integers(1, 2)),
        "head_dim": 32,
        "value_dim": draw(st.sampled_from([None, 64])),
        "capacity": capacity,
        "k": k,
        "v": v,
        "sliding_window": draw(st.none() | st.integers(1, capacity)),
        "keep_first": draw(kept),
        "keep_last": draw(kept),
        "seed": draw(st.sampled_from([0, 7, None])),
    }


class CacheMachine(RuleBasedStateMachine):
    """Each rule does one thing to the cache and to the model."""

    @initialize(configuration=configurations())
    def make(self, configuration: dict[str, Any]) -> None:
        self.cache = mh.KVCache(**configuration)
        self.model = ListModel(self.cache.config)
        self.nbytes = self.cache.nbytes

    def room(self) -> int:
        config = self.cache.config
        if config.sliding_window is not None:
            return 2 * config.capacity + 1
        return int(config.capacity - max(self.model.lengths))

    @rule(n=st.integers(0, 100), seed=SEEDS)
    def append(self, n: int, seed: int) -> None:
        k, v = random_tokens(self.cache.config, n, seed)
        if n > self.room() and self.cache.config.sliding_window is None:
            with pytest.raises(ValueError, match="do not fit"):
                self.cache.append(k, v)
            return
        self.cache.append(k, v)
        self.model.append(k, v, [n] * self.cache.config.batch)

    @rule(data=st.data(), seed=SEEDS)
    def append_some(self, data: st.DataObject, seed: int) -> None:
        n = data.draw(st.integers(0, min(10, self.room())))
        counts = data.draw(st.lists(st.integers(0, n), min_size=(b := self.cache.config.batch), max_size=b))
        k, v = random_tokens(self.cache.config, n, seed)
        for sequence, count in enumerate(counts):
            k[sequence, :, count:], v[sequence, :, count:] = np.nan, np.inf
        self.cache.append(k, v, lengths=counts)
        self.model.append(k, v, counts)

    @precondition(lambda self: self.room() > 0)
    @rule(data=st.data(), seed=SEEDS, bad=st.sampled_from([np.nan, np.inf, -np.inf, 1e30]))
    def append_not_finite(self, data: st.DataObject, seed: int, bad: float) -> None:
        config = self.cache.config
        n = data.draw(st.integers(1, self.room()))
        tokens = random_tokens(config, n, seed)
        which = data.draw(st.integers(0, 1))
        if bad == 1e30 and (config.k, config.v)[which] in ("float32", "bfloat16"):
            bad = np.nan
        tokens[which][data.draw(st.integers(0, config.batch - 1)), -1, n - 1, 0] = bad
        with pytest.raises(ValueError):
            self.cache.append(*tokens)

    @rule(data=st.data())
    def truncate(self, data: st.DataObject) -> None:
        length = data.draw(st.integers(0, self.cache.length))
        try:
            self.model.truncate(length)
        except Forgotten:
            with pytest.raises(ValueError, match="overwritten"):
                self.cache.truncate(length)
        else:
            self.cache.truncate(length)

    @rule(data=st.data())
    def reorder(self, data: st.DataObject) -> None:
        batch = self.cache.config.batch
        indices = data.draw(st.lists(st.integers(0, batch - 1), min_size=batch, max_size=batch))
        self.cache.reorder(indices)
        self.model.reorder(indices)

    @rule()
    def save_and_load(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "cache.safetensors"
            self.cache.save(path)
            loaded = mh.KVCache.load(path)
        assert loaded.config == self.cache.config
        self.cache = loaded

    @rule()
    def reset(self) -> None:
        self.cache.reset()
        self.model = ListModel(self.cache.config)

    @precondition(lambda self: min(self.model.lengths) > 0)
    @rule(data=st.data(), seed=SEEDS)
    def attend(self, data: st.DataObject, seed: int) -> None:
        config, random = self.cache.config, np.random.default_rng(seed)
        rows = data.draw(st.integers(1, min(40, self.cache.length)))
        heads = config.kv_heads * data.draw(st.integers(1, 2))
        q = random.standard_normal((config.batch, heads, rows, config.head_dim)).astype(
            DTYPES[query_dtype(config)]
        )
        keywords: dict[str, Any] = {}
        for name, value in {
            "scale": st.just(0.3),
            "causal": st.just(False),
            "softcap": st.just(2.0),
            "alibi_slopes": st.just(random.uniform(0, 0.5, heads).astype(np.float32)),
            "sinks": st.just(random.standard_normal(heads).astype(np.float32)),
            "mask": st.sampled_from(["boolean", "additive", "column"]),
            "window_size": st.sampled_from([3, (2, 1), (-1, 2), (0, -1), (5, 0)]),
        }.items():
            if data.draw(st.booleans()) and not (name == "window_size" and config.sliding_window):
                keywords[name] = data.draw(value)
        if "mask" in keywords:
            keywords["mask"] = self.make_mask(keywords["mask"], random, heads, rows)
        try:
            assert_attends_like(self.cache, self.model, q, **keywords)
        except Forgotten:
            with pytest.raises(ValueError, match=r"sliding window|need capacity"):
                self.cache.attend(q, **keywords)

    def make_mask(self, kind: str, random: np.random.Generator, heads: int, rows: int) -> Any:
        batch, length = self.cache.config.batch, self.cache.length
        if kind == "boolean":
            return random.random((batch, 1, rows, length)) < 0.7
        if kind == "additive":
            return random.standard_normal((heads, 1, length)).astype(np.float32)
        return random.standard_normal((rows, 1)).astype(np.float32)

    @invariant()
    def lengths_and_bytes_agree(self) -> None:
        if not hasattr(self, "model"):
            return
        assert self.cache.lengths.tolist() == self.model.lengths
        assert self.cache.length == max(self.model.lengths)
        assert self.cache.nbytes == self.nbytes


CacheMachine.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestCacheMachine = CacheMachine.TestCase
