"""Cases, and what each must at least read and compute: the formulas behind every limit."""

from __future__ import annotations

from dataclasses import dataclass

# Bytes of the norm that a packed vector carries (float16).
NORM_BYTES = 2

# Bits of one stored coordinate, and bytes of scales for each vector (a function of head_dim).
_DENSE_BYTES = {"f32": 4, "f16": 2, "bf16": 2}
_PACKED_BITS = {"tq2": 2, "tq3": 3, "tq4": 4, "tq5": 5, "tq6": 6, "tq8": 8}
# ggml stores blocks of 32 coordinates with one float16 scale; mlx groups of 64 with two float32 numbers.
_BLOCK_BYTES = {"q8_0": (32, 34), "q4_0": (32, 18), "mlx4": (64, 40)}
# onnxruntime's scales are one for each channel of the whole cache: they do not grow with it.
_CHANNEL_BITS = {"int8": 8, "int4": 4}

CLASSES = {
    "f32": "f32",
    "f16": "16-bit",
    "bf16": "16-bit",
    "q8_0": "8-bit",
    "int8": "8-bit",
    "q4_0": "4-bit",
    "int4": "4-bit",
    "mlx4": "4-bit",
}


def vector_bytes(kind: str, head_dim: int) -> int:
    """Bytes that one stored key or value of `head_dim` coordinates takes, its scales included."""
    if kind in _DENSE_BYTES:
        return head_dim * _DENSE_BYTES[kind]
    if kind in _PACKED_BITS:
        return head_dim * _PACKED_BITS[kind] // 8 + NORM_BYTES
    if kind in _BLOCK_BYTES:
        block, size = _BLOCK_BYTES[kind]
        return head_dim // block * size
    if kind in _CHANNEL_BITS:
        return head_dim * _CHANNEL_BITS[kind] // 8
    raise ValueError(f"vector_bytes: no such kind of storage: {kind!r}")


def kind_of(variant: str) -> str:
    """The storage that a variant's name ends in: ``fold-bf16`` is bf16."""
    return variant.rpartition("-")[2]


def class_of(variant: str) -> str:
    """What a variant is compared with: f32, 16-bit, 8-bit or 4-bit; packed kinds are a class each."""
    kind = kind_of(variant)
    return CLASSES.get(kind, kind)


@dataclass(frozen=True)
class Case:
    """One shape of work.

    `op` is decode (one query row), prefill (causal, as many rows as keys), call (the smallest decode, the
    same memory every time), encode or unpack (the codec, on ``keys`` vectors of each KV head).
    `window` counts visible keys, the query's own included; 0 is no window.
    """

    op: str
    query_heads: int
    kv_heads: int
    head_dim: int
    keys: int
    window: int = 0

    @property
    def rows(self) -> int:
        """Query rows of each head."""
        return self.keys if self.op == "prefill" else 1

    @property
    def shape(self) -> str:
        """Heads and head_dim in the order of the table's first column."""
        return f"({self.query_heads}, {self.kv_heads}, {self.head_dim})"

    @property
    def name(self) -> str:
        """What identifies the case in results."""
        window = f" window {self.window}" if self.window else ""
        return f"{self.op} {self.shape}{window} {self.keys} keys"

    @property
    def visible(self) -> int:
        """Keys that the last query row sees."""
        return min(self.window, self.keys) if self.window else self.keys

    def pairs(self) -> int:
        """Visible pairs of query row and key, for each query head."""
        if self.op != "prefill":
            return self.visible
        reach = self.visible
        return reach * (reach + 1) // 2 + (self.keys - reach) * reach

    def flops(self) -> int:
        """Floating point operations of both products: a multiply and an add for QK, the same for PV."""
        if self.op in ("encode", "unpack"):
            return 0
        return 4 * self.query_heads * self.head_dim * self.pairs()

    def bytes(self, kind: str) -> int:
        """Bytes that must cross the memory bus: visible K and V once, or the codec's input and output."""
        if self.op in ("encode", "unpack"):
            vectors = self.kv_heads * self.keys
            return vectors * (vector_bytes("f32", self.head_dim) + vector_bytes(kind, self.head_dim))
        if self.op == "prefill":
            stored = 2 * self.kv_heads * self.keys * vector_bytes(kind, self.head_dim)
            item = 4 if kind not in ("f16", "bf16") else 2
            return stored + 2 * self.query_heads * self.keys * self.head_dim * item
        return 2 * self.kv_heads * self.visible * vector_bytes(kind, self.head_dim)


@dataclass(frozen=True)
class Limits:
    """What the machine can do with a number of threads, measured in the same run.

    Bytes a second of streaming reads; operations a second of float32 multiply-adds and, where the processor
    has them, bfloat16 products, of tiles where there are such, and int8 dot products (0: it has none).
    """

    read: float
    fma: float
    bf16_dot: float = 0.0
    int8_dot: float = 0.0


def limit_seconds(case: Case, kind: str, limits: Limits) -> tuple[float, str]:
    """The least time of a case, and what sets it: ``memory`` or ``arithmetic``.

    max(bytes / read rate, operations / peak): bfloat16 prefill may use bfloat16 products; everything
    else is held to the float32 peak.
    """
    peak = limits.fma
    if case.op == "prefill" and kind == "bf16":
        peak = max(peak, limits.bf16_dot)
    memory = case.bytes(kind) / limits.read
    arithmetic = case.flops() / peak
    return (memory, "memory") if memory >= arithmetic else (arithmetic, "arithmetic")
