"""tinylm: a small byte-level language model, NumPy for the matrices and metalhead for all attention."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

import metalhead as mh

FOLDER = Path(__file__).parent
FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[Any]


class Layer(NamedTuple):
    """One block's weights, matrices as ``[out, in]`` float32, and the shape of its attention."""

    sliding: bool
    head_dim: int
    kv_heads: int
    qkv: FloatArray
    output: FloatArray
    gate_up: FloatArray
    down: FloatArray
    query_gain: FloatArray
    key_gain: FloatArray
    gains: tuple[FloatArray, FloatArray, FloatArray, FloatArray]


class Attention(Protocol):
    """What a forward pass needs: take in the new tokens' K and V, return attention of their q."""

    length: int

    def attend(self, layer: int, q: FloatArray, k: FloatArray, v: FloatArray) -> FloatArray:
        """``[batch, heads, n, head_dim]`` each; the result has q's shape."""


class TinyLM:
    """A Gemma-style decoder over bytes: sliding layers with RoPE, global layers without positions."""

    def __init__(self, config: dict[str, Any], weights: dict[str, npt.NDArray[Any]]) -> None:
        self.heads: int = config["n_heads"]
        self.width: int = config["d_model"]
        self.hidden: int = config["d_ff"]
        self.window: int = config["window"]
        self.eps = np.float32(config["eps"])
        self.theta: float = config["rope_theta"]

        def matrix(name: str) -> FloatArray:
            scale: FloatArray = weights[f"{name}.weight.scale"]
            return weights[f"{name}.weight"].astype(np.float32) * scale

        def layer(index: int, kind: str) -> Layer:
            name = f"blocks.{index}"
            shape = config["sliding" if kind == "S" else "global"]
            return Layer(
                kind == "S",
                shape["head_dim"],
                shape["n_kv_heads"],
                np.concatenate([matrix(f"{name}.{part}") for part in "qkv"]),
                matrix(f"{name}.o"),
                np.concatenate([matrix(f"{name}.gate"), matrix(f"{name}.up")]),
                matrix(f"{name}.down"),
                weights[f"{name}.qn.g"],
                weights[f"{name}.kn.g"],
                tuple(weights[f"{name}.n{i}.g"] for i in (1, 2, 3, 4)),
            )

        self.embedding = matrix("emb")
        self.layers = [layer(index, kind) for index, kind in enumerate(config["pattern"])]
        self.final_gain: FloatArray = weights["nf.g"]

    @classmethod
    def load(cls, folder: Path = FOLDER) -> TinyLM:
        """Read ``config.json`` and the int8 weights ``tinylm-*.npz``."""
        weights = {}
        for path in sorted(folder.glob("tinylm-*.npz")):
            with np.load(path) as part:
                weights.update({name: part[name] for name in part.files})
        return cls(json.loads((folder / "config.json").read_text()), weights)

    @property
    def parameters(self) -> int:
        """Number of weights in the matrices."""
        blocks = sum(
            w.size for layer in self.layers for w in (layer.qkv, layer.output, layer.gate_up, layer.down)
        )
        return blocks + self.embedding.size

    def forward(self, tokens: IntArray, attention: Attention) -> FloatArray:
        """Logits ``[batch, n, 256]`` of the next byte after each of the new `tokens` ``[batch, n]``."""
        batch, n = tokens.shape
        x = self.embedding[tokens.reshape(-1)] * np.float32(np.sqrt(self.width))
        turns = self._turns(attention.length, n)
        for index, layer in enumerate(self.layers):
            q, k, v = self._project(layer, self._norm(x, layer.gains[0]), batch, turns)
            attended = attention.attend(index, q, k, v).transpose(0, 2, 1, 3).reshape(batch * n, -1)
            x += self._norm(attended @ layer.output.T, layer.gains[1])
            x += self._norm(self._mlp(layer, self._norm(x, layer.gains[2])), layer.gains[3])
        attention.length += n
        return (self._norm(x, self.final_gain) @ self.embedding.T).reshape(batch, n, -1)

    def new_caches(self, capacity: int, k: str = "float32", v: str = "float32", **options: Any) -> Caches:
        """A cache a layer for texts of up to `capacity` bytes; sliding layers get a ring.

        `options`: batch, seed, search; `rows`, the most tokens of one forward pass (1 unless given).
        """
        rows = options.pop("rows", 1)
        return Caches(
            [
                mh.KVCache(
                    kv_heads=layer.kv_heads,
                    head_dim=layer.head_dim,
                    capacity=self.window + rows - 1 if layer.sliding else capacity,
                    sliding_window=self.window if layer.sliding else None,
                    k=k,
                    v=v,
                    **options,
                )
                for layer in self.layers
            ]
        )

    def _norm(self, x: FloatArray, gain: FloatArray) -> FloatArray:
        """Root-mean-square norm over the last axis."""
        square = np.einsum("...i,...i->...", x, x)[..., None] / np.float32(x.shape[-1])
        return x * (1 / np.sqrt(square + self.eps)) * gain

    def _project(
        self, layer: Layer, x: FloatArray, batch: int, turns: tuple[FloatArray, FloatArray]
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Normalised and, in sliding layers, rotated q, k and v as views ``[batch, heads, n, head_dim]``."""
        heads = (x @ layer.qkv.T).reshape(batch, -1, self.heads + 2 * layer.kv_heads, layer.head_dim)
        q, k, v = np.split(heads, [self.heads, self.heads + layer.kv_heads], axis=2)
        q, k = self._norm(q, layer.query_gain), self._norm(k, layer.key_gain)
        if layer.sliding:
            q, k = _rotate(q, *turns), _rotate(k, *turns)
        return q.transpose(0, 2, 1, 3), k.transpose(0, 2, 1, 3), v.transpose(0, 2, 1, 3)

    def _turns(self, start: int, n: int) -> tuple[FloatArray, FloatArray]:
        """Cosine and sine ``[n, 1, head_dim / 2]`` of the rotary angles of `n` positions from `start`."""
        head_dim = next(layer.head_dim for layer in self.layers if layer.sliding)
        frequencies = self.theta ** (-np.arange(0, head_dim, 2) / head_dim)
        angles = np.arange(start, start + n)[:, None, None] * frequencies
        return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)

    def _mlp(self, layer: Layer, x: FloatArray) -> FloatArray:
        """The gated unit, GELU by its tanh approximation."""
        both = x @ layer.gate_up.T
        gate, up = both[:, : self.hidden], both[:, self.hidden :]
        inner = gate * gate
        inner *= np.float32(0.044715)
        inner += 1
        inner *= gate
        inner *= np.float32(np.sqrt(2 / np.pi))
        np.tanh(inner, out=inner)
        inner += 1
        inner *= gate
        inner *= up
        inner *= np.float32(0.5)
        return inner @ layer.down.T


def _rotate(x: FloatArray, cosine: FloatArray, sine: FloatArray) -> FloatArray:
    """Rotary embedding of ``[batch, n, heads, head_dim]``, first half paired with second."""
    first, second = np.split(x, 2, axis=-1)
    return np.concatenate([first * cosine - second * sine, second * cosine + first * sine], axis=-1)


class Prefill:
    """Exact attention over a text that arrives in blocks: `mh.sdpa`, and `mh.sdpa_sliding` where sliding.

    With `caches`, every token also goes there, so that decoding can go on from them.
    """

    def __init__(self, model: TinyLM, batch: int, capacity: int, caches: Caches | None = None) -> None:
        self.length = 0
        self._model, self._caches = model, caches
        self._keys, self._values = (
            [np.empty((batch, x.kv_heads, capacity, x.head_dim), np.float32) for x in model.layers]
            for _ in range(2)
        )

    def attend(self, layer: int, q: FloatArray, k: FloatArray, v: FloatArray) -> FloatArray:
        end = self.length + k.shape[2]
        keys, values = self._keys[layer], self._values[layer]
        keys[:, :, self.length : end], values[:, :, self.length : end] = k, v
        if self._caches is not None:
            self._caches.append(layer, k, v)
        if not self._model.layers[layer].sliding:
            return mh.sdpa(q, keys[:, :, :end], values[:, :, :end], scale=1.0)
        # The model's window counts the query's own key, a kernel's window is the distance to the oldest one.
        distance = self._model.window - 1
        seen = slice(max(0, self.length - distance), end)
        return mh.sdpa_sliding(q, keys[:, :, seen], values[:, :, seen], window_size=distance, scale=1.0)


class Caches:
    """Attention through one `mh.KVCache` a layer: decoding, and scoring what a packed cache costs."""

    def __init__(self, layers: list[mh.KVCache]) -> None:
        self.layers = layers
        self.length = 0

    @property
    def nbytes(self) -> int:
        """Bytes of all caches."""
        return sum(cache.nbytes for cache in self.layers)

    def append(self, layer: int, k: FloatArray, v: FloatArray) -> None:
        """Store tokens of a layer without attending; the last layer moves `length` on."""
        self.layers[layer].append(k, v)
        self.length = self.layers[-1].length

    def attend(self, layer: int, q: FloatArray, k: FloatArray, v: FloatArray) -> FloatArray:
        self.layers[layer].append(k, v)
        return self.layers[layer].attend(q, scale=1.0)


def generate(
    model: TinyLM,
    prompt: bytes,
    count: int,
    caches: Caches,
    *,
    temperature: float = 0.0,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[int]:
    """Up to `count` bytes after `prompt`, one at a time; byte 0, the end of a document, ends it.

    Temperature 0 takes the likeliest byte; above it bytes are drawn, the same ones for the same seed.
    """
    tokens = np.frombuffer(prompt, np.uint8)[None]
    if not tokens.size:
        raise ValueError("generate: prompt must hold at least one byte")
    prefill = Prefill(model, 1, tokens.shape[1], caches)
    for block in blocks(tokens.shape[1], 1024):
        logits = model.forward(tokens[:, block], prefill)
        if progress is not None:
            progress(block.stop, tokens.shape[1])
    random = np.random.default_rng(seed)
    for step in range(count):
        byte = _choose(logits[0, -1], temperature, random)
        if byte == 0:
            return
        yield byte
        if step + 1 < count:
            logits = model.forward(np.array([[byte]]), caches)


def score(
    model: TinyLM,
    tokens: IntArray,
    attention: Attention,
    *,
    block_rows: int = 1024,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[npt.NDArray[np.float64], FloatArray]:
    """Natural-log loss ``[batch, n]`` of every next byte of `tokens` ``[batch, n + 1]``, and last logits."""
    batch, n = tokens.shape[0], tokens.shape[1] - 1
    losses = np.empty((batch, n))
    for block in blocks(n, block_rows):
        logits = model.forward(tokens[:, block], attention)
        targets = tokens[:, block.start + 1 : block.stop + 1].astype(np.int64)
        top = logits.max(axis=-1, keepdims=True)
        total = np.exp((logits - top).astype(np.float64)).sum(axis=-1)
        chosen = np.take_along_axis(logits, targets[..., None], axis=-1)
        losses[:, block] = np.log(total) - (chosen - top)[..., 0]
        if progress is not None:
            progress(batch * block.stop, batch * n)
    return losses, logits[:, -1]


def blocks(n: int, rows: int) -> Iterator[slice]:
    """Slices of up to `rows` that cover ``range(n)``."""
    for start in range(0, n, rows):
        yield slice(start, min(n, start + rows))


def _choose(logits: FloatArray, temperature: float, random: np.random.Generator) -> int:
    if temperature <= 0:
        return int(logits.argmax())
    weights = np.exp((logits - logits.max()).astype(np.float64) / temperature)
    return int(random.choice(weights.size, p=weights / weights.sum()))
