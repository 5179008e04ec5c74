"""The example model through metalhead: stored results, prefill and decoding, generation, the demo."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "tinylm"
PROMPT = b"def parse(text):\n    "


@pytest.fixture(scope="module", autouse=True)
def example_on_path() -> Iterator[None]:
    sys.path.insert(0, str(EXAMPLE))
    yield
    sys.path.remove(str(EXAMPLE))


@pytest.fixture(scope="module")
def model() -> Any:
    from tinylm import TinyLM

    return TinyLM.load()


@pytest.fixture(scope="module")
def tokens() -> np.ndarray[Any, Any]:
    with np.load(EXAMPLE / "reference.npz") as stored:
        return stored["short.tokens"][:2]


@pytest.mark.heavy
def test_short_texts_score_as_stored(model: Any) -> None:
    from quality import exact_bits, load_texts

    (text,) = load_texts(["short"])
    bits, logits = exact_bits(model, text)
    assert model.parameters == 16_711_680
    assert abs(bits / text.bits_per_byte - 1) < 1e-4
    np.testing.assert_allclose(logits, text.last_logits, atol=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["medium", "long"])
def test_longer_texts_score_as_stored(model: Any, name: str) -> None:
    from quality import exact_bits, load_texts

    (text,) = load_texts([name])
    bits, logits = exact_bits(model, text)
    assert abs(bits / text.bits_per_byte - 1) < 1e-4
    np.testing.assert_allclose(logits, text.last_logits, atol=2e-2)


@pytest.mark.heavy
def test_prefill_in_blocks_equals_whole(model: Any, tokens: np.ndarray[Any, Any]) -> None:
    from tinylm import Prefill

    whole = model.forward(tokens, Prefill(model, 2, 513))
    parts = Prefill(model, 2, 513)
    logits = [model.forward(tokens[:, a:b], parts) for a, b in ((0, 1), (1, 260), (260, 500), (500, 513))]
    assert parts.length == 513
    np.testing.assert_allclose(np.concatenate(logits, axis=1), whole, atol=1e-3)


@pytest.mark.parametrize("rows", [1, 7, 16, pytest.param(100, marks=pytest.mark.heavy)])
def test_decoding_through_caches_equals_prefill(model: Any, tokens: np.ndarray[Any, Any], rows: int) -> None:
    from tinylm import Prefill

    start, end = 300, 300 + max(rows, 20)
    whole = model.forward(tokens[:, :end], Prefill(model, 2, end))
    caches = model.new_caches(end, batch=2, rows=rows)
    model.forward(tokens[:, :start], Prefill(model, 2, start, caches))
    assert caches.length == start
    logits = [model.forward(tokens[:, i : min(i + rows, end)], caches) for i in range(start, end, rows)]
    np.testing.assert_allclose(np.concatenate(logits, axis=1), whole[:, start:], atol=1e-3)


def test_sliding_layers_hold_a_window_only(model: Any) -> None:
    caches = model.new_caches(4096, rows=10)
    capacities = [cache.config.capacity for cache in caches.layers]
    assert capacities == [265, 265, 4096, 265, 265, 4096]
    assert caches.nbytes == 4 * (4 * 265 * 2 * 2 * 256 + 2 * 4096 * 2 * 512)


def test_generation_is_deterministic_and_seeded(model: Any) -> None:
    from tinylm import generate

    def text(**options: Any) -> bytes:
        return bytes(generate(model, PROMPT, 12, model.new_caches(64), **options))

    greedy = text()
    assert greedy == text() and len(greedy) == 12
    drawn = text(temperature=1.0, seed=1)
    assert drawn == text(temperature=1.0, seed=1)
    assert drawn != text(temperature=1.0, seed=2)


def test_greedy_generation_takes_the_likeliest_byte(model: Any) -> None:
    from tinylm import Prefill, generate

    made = bytes(generate(model, PROMPT, 6, model.new_caches(64)))
    text = np.frombuffer(PROMPT + made, np.uint8)[None]
    logits = model.forward(text, Prefill(model, 1, text.shape[1]))
    assert logits[0, len(PROMPT) - 1 : -1].argmax(axis=-1).tolist() == list(made)


def test_generation_needs_a_prompt(model: Any) -> None:
    from tinylm import generate

    with pytest.raises(ValueError, match="generate: prompt must hold at least one byte"):
        next(generate(model, b"", 1, model.new_caches(8)))


@pytest.mark.heavy
def test_packed_caches_cost_little_and_2_bits_more(model: Any) -> None:
    from quality import KINDS, load_texts, measure

    texts = [text._replace(tokens=text.tokens[:2]) for text in load_texts(["short"])]
    kinds = ("float32", "tq8", "tq4", "tq2")
    bits = {kind: measure(model, kind, KINDS[kind], texts, seeds=1) for kind in kinds}
    means = {kind: row.average() for kind, row in bits.items()}
    assert bits["float32"].bytes_per_token == 24576 and bits["tq4"].bytes_per_token == 3112
    assert abs(means["tq8"] - means["float32"]) < 2e-3
    assert abs(means["tq4"] - means["float32"]) < 2e-2
    assert 2e-2 < means["tq2"] - means["float32"] < 0.5


@pytest.mark.heavy
def test_measured_float32_cache_equals_no_cache(model: Any) -> None:
    from quality import KINDS, exact_bits, load_texts, measure

    texts = load_texts(["short"])
    row = measure(model, "float32", KINDS["float32"], texts, seeds=3)
    bits, _ = exact_bits(model, texts[0])
    assert len(row.bits_per_byte["short"]) == 1
    assert math.isclose(row.average(), bits, rel_tol=1e-6)


def demo(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(EXAMPLE / "demo.py"), *arguments],
        capture_output=True,
        text=True,
        timeout=600,
        **options,
    )


@pytest.mark.heavy
def test_demo_generates_checks_and_compares() -> None:
    done = demo("--quick", "--bytes", "12", "--prompt", "import os\n", "--kinds", "tq4")
    assert done.returncode == 0, done.stderr
    assert "import os\n" in done.stdout and "tokens per second" in done.stdout
    assert "short   2048       1.587042  1.587042" in done.stdout
    assert "\ntq4 " in done.stdout and "3112" in done.stdout
    assert done.stdout.endswith("demo: passed, short agree with the stored results within 0.0001\n")


def test_demo_takes_packed_caches() -> None:
    done = demo("--bytes", "4", "--texts", "--k-cache", "tq6", "--v-cache", "tq4", "--search", "5")
    assert done.returncode == 0, done.stderr
    assert "cache tq6 keys, tq4 values: " in done.stdout


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--k-cache", "tq7"], "invalid choice: 'tq7'"),
        (["--texts", "huge"], "demo: unknown huge; there are short, medium, long"),
        (["--kinds", "tq7"], "demo: unknown tq7"),
        (["--prompt", ""], "--prompt must hold at least one character"),
        (["--bytes", "-1"], "must not be negative"),
        (["--device", "abacus"], "abacus"),
    ],
)
def test_demo_says_what_is_wrong(arguments: list[str], text: str) -> None:
    done = demo(*arguments)
    assert done.returncode not in (0, 130)
    assert text in done.stderr and "Traceback" not in done.stderr


@pytest.mark.heavy
def test_demo_fails_when_a_text_does_not_agree(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    import demo as program
    import quality

    (text,) = quality.load_texts(["short"])
    texts = [text._replace(bits_per_byte=text.bits_per_byte * 1.001)]
    monkeypatch.setattr(quality, "load_texts", lambda names: texts)
    assert program.main(["--bytes", "0", "--texts", "short"]) == 1
    assert "demo: FAILED" in capsys.readouterr().out


def test_interrupt_ends_the_demo_cleanly() -> None:
    # A test run in the background ignores the signal, and children would inherit that.
    process = subprocess.Popen(
        [sys.executable, str(EXAMPLE / "demo.py"), "--bytes", "1000000", "--temperature", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        assert process.stdout is not None
        os.read(process.stdout.fileno(), 1)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130
    assert errors.decode() == "\ndemo: interrupted\n"


def test_progress_is_silent_on_short_work_and_draws_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    import progress

    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for stream in (io.StringIO(), Terminal()):
        with progress.Progress("work", 10, stream) as bar:
            now[0] += 1
            bar.show(9)
        assert stream.getvalue() == ""
    with progress.Progress("work", 10, terminal := Terminal()) as bar:
        now[0] += 3
        bar.show(5)
    assert terminal.getvalue() == f"\rwork [{'#' * 15}{'.' * 15}]  50% 3 s, 3 s left\033[K\r\033[K"
    with progress.Progress("work", 10, plain := io.StringIO()) as bar:
        for done in range(11):
            now[0] += 5
            bar.show(done)
    assert plain.getvalue().count("\n") == 3 and "\r" not in plain.getvalue()
