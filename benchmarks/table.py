"""The table: what is measured together, and which goals each row of it has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .cases import Case
from .driver import Group

A = (32, 8, 128)
B = (16, 8, 256)
# Eight query heads for a KV head, as in models of 70 billion parameters; without goals.
WIDE = (64, 8, 128)
WINDOW = (8, 4, 256)
SECTIONS = ("calls", "decode", "window", "prefill", "codec", "scaling")
KINDS: tuple[str, ...] = ("f32", "f16", "bf16", "tq4", "tq2", "tq3", "tq6", "tq8")

Entries = tuple[tuple[str, str], ...]

LIMITS: Entries = (("limits", "read"), ("limits", "fma"))
DECODE_PEERS: Entries = (
    ("torch", "gqa-f32"), ("torch", "fold-f32"), ("torch", "gqa-bf16"), ("torch", "fold-bf16"),
    ("onnxruntime", "f32"), ("onnxruntime", "int8"), ("onnxruntime", "int4"),
    ("ggml", "f32"), ("ggml", "f16"), ("ggml", "bf16"), ("ggml", "q8_0"), ("ggml", "q4_0"),
)  # fmt: skip
SLOW_DECODE_PEERS: Entries = (("mlx", "f32"), ("mlx", "bf16"), ("mlx", "mlx4"), ("numpy", "f32"))
QUICK_DECODE_PEERS: Entries = (
    ("torch", "fold-f32"), ("torch", "fold-bf16"),
    ("onnxruntime", "f32"), ("onnxruntime", "int8"), ("onnxruntime", "int4"),
    ("ggml", "f32"), ("ggml", "f16"),
)  # fmt: skip
WINDOW_PEERS: Entries = (
    ("torch", "fold-bf16"), ("onnxruntime", "f32"), ("onnxruntime", "int8"), ("onnxruntime", "int4"),
    ("ggml", "f32"), ("ggml", "f16"), ("ggml", "q8_0"),
)  # fmt: skip
PREFILL_PEERS: Entries = (
    ("torch", "gqa-f32"), ("torch", "gqa-bf16"), ("onnxruntime", "f32"), ("ggml", "f32"), ("ggml", "f16"),
)  # fmt: skip
CALL_PEERS: Entries = (
    ("torch", "plain-f32"),
    ("onnxruntime", "f32"),
    ("ggml", "f32"),
    ("mlx", "f32"),
    ("numpy", "f32"),
)
SCALING_PEERS: Entries = (
    ("torch", "fold-bf16"), ("ggml", "f16"), ("ggml", "q8_0"),
    ("onnxruntime", "int8"), ("onnxruntime", "int4"),
)  # fmt: skip
CODEC_PEERS: Entries = (("ggml", "q4_0"), ("mlx", "mlx4"))
SCALING_KINDS = ("f16", "tq4", "tq2")
SCALING_KEYS = (1024, 4096, 16384, 65536, 262144, 524288)
CALL = Case("call", 1, 1, 64, 16)


def _ours(kinds: tuple[str, ...]) -> Entries:
    return tuple(("metalhead", kind) for kind in kinds) + tuple(("baseline", kind) for kind in kinds)


def groups(sections: tuple[str, ...] = SECTIONS, quick: bool = False) -> Iterator[Group]:
    """Everything that a run measures, in order."""
    if "calls" in sections:
        ours = _ours(("out-f32", "new-f32", "torch-f32"))
        floor = (("floor", "no-operation"), ("floor", "bare-kernel"))
        yield Group("calls", CALL, 2, ours + floor + (CALL_PEERS[:3] if quick else CALL_PEERS))
    if "decode" in sections:
        for shape in (A, B) if quick else (A, B, WIDE):
            for keys in (4096,) if quick or shape == WIDE else (4096, 65536):
                kinds = KINDS[:5] if quick else KINDS
                peers = DECODE_PEERS if keys > 4096 else DECODE_PEERS + SLOW_DECODE_PEERS
                case = Case("decode", *shape, keys)
                yield Group(
                    "decode", case, 2, LIMITS + _ours(kinds) + (QUICK_DECODE_PEERS if quick else peers)
                )
    if "window" in sections:
        for keys in (1024, 16384) if quick else (1024, 4096, 16384, 65536):
            case = Case("decode", *WINDOW, keys, 1024)
            yield Group("window", case, 2, LIMITS + _ours(("f16", "tq4")) + WINDOW_PEERS)
    if "prefill" in sections:
        yield from _prefill(quick)
    if "codec" in sections:
        for op in ("encode", "unpack"):
            for threads in (1, 2):
                packed = ("tq4",) if quick else KINDS[3:]
                quantisers = CODEC_PEERS if threads == 1 else ()
                case = Case(op, 8, 8, 128, 4096)
                yield Group("codec", case, threads, LIMITS[:1] + _ours(packed) + quantisers)
    if "scaling" in sections:
        for keys in (1024, 16384, 65536) if quick else SCALING_KEYS:
            for threads in (2, 1):
                beside = SCALING_PEERS if threads == 2 and not quick else ()
                case = Case("decode", *A, keys)
                yield Group("scaling", case, threads, LIMITS + _ours(SCALING_KINDS) + beside)


def _prefill(quick: bool) -> Iterator[Group]:
    peaks = (*LIMITS, ("limits", "bf16-dot"))
    for keys in (512, 2048) if quick else (512, 2048, 4096):
        for shape in (A,) if quick else (A, B):
            peers = PREFILL_PEERS[:4] if quick else PREFILL_PEERS
            if keys == 512 and not quick:
                peers = (*peers, ("mlx", "f32"), ("numpy", "f32"))
            ours = _ours(("f32", "bf16", "f16", "tq4"))
            yield Group("prefill", Case("prefill", *shape, keys), 2, peaks + ours + peers)
    others: Entries = (("onnxruntime", "f32"), ("ggml", "f32"))
    slow: Entries = () if quick else (("torch", "gqa-f32"), ("torch", "flex-f32"))
    case = Case("prefill", *WINDOW, 4096, 1024)
    yield Group("prefill", case, 2, LIMITS + _ours(("f32",)) + others + slow)


@dataclass(frozen=True)
class Goal:
    """What a row is for.

    `against` is a class of storage (``f32``, ``16-bit``), ``any``, a peer's name, or ``peer variant``.
    `ratio` is how many times faster than the best of these ours must be, `share` the part of the machine's
    limit, `rate` bytes a second of float32 that the codec takes in or gives out, `seconds` the most time of
    a call.
    """

    against: str = "any"
    ratio: float | None = None
    share: float | None = None
    rate: float | None = None
    seconds: float | None = None


def goal(section: str, case: Case, variant: str, threads: int) -> Goal:
    """The goal of one of our results; one without numbers where the table has none."""
    shape = (case.query_heads, case.kv_heads, case.head_dim)
    if section == "calls":
        return Goal(seconds={"out-f32": 1.5e-6, "new-f32": 2e-6, "torch-f32": 4e-6}[variant])
    if section == "decode":
        against = {"f32": "f32", "f16": "16-bit", "bf16": "16-bit"}.get(variant, "any")
        goals = {
            A: {"f32": 2.0, "f16": 2.5, "bf16": 2.5, "tq4": 4.0},
            B: {"f32": 1.4, "f16": 1.7, "tq4": 3.5},
        }
        return Goal(against, goals.get(shape, {}).get(variant))
    if section == "window":
        return Goal("16-bit" if variant == "f16" else "any", {"f16": 1.5, "tq4": 2.5}[variant])
    if section == "prefill":
        return _prefill_goal(case, variant)
    if section == "codec" and variant == "tq4" and threads == 1:
        return Goal(rate=1e9 if case.op == "encode" else 2e9)
    return Goal("16-bit" if variant == "f16" else "any")


def _prefill_goal(case: Case, variant: str) -> Goal:
    if case.window:
        return Goal("torch flex-f32", 1.6, 0.7)
    if variant == "f32":
        return Goal("f32", 1.6, 0.7) if case.keys == 512 else Goal("f32", 1.3, 0.8)
    if variant == "bf16":
        return Goal("torch gqa-bf16", 2.0 if case.keys > 512 else None)
    if variant == "f16":
        return Goal("16-bit")
    # No peer has packed prefill: at most 10 % slower than our own float16.
    return Goal("metalhead f16", 0.9)
