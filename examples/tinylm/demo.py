"""The demo: generate text through metalhead, check the model against stored results, compare cache kinds."""

from __future__ import annotations

import argparse
import codecs
import itertools
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from quality import Text
    from tinylm import TinyLM

PROMPT = """:mod:`ringbuffer` --- A queue of fixed size
===========================================

.. module:: ringbuffer
   :synopsis: A queue that drops its oldest items.

The :mod:`ringbuffer` module implements a queue of fixed size.  It is useful in
threaded programming when only the most recent items must be kept.

.. class:: RingBuffer(maxsize)

   """
TOLERANCE = 1e-4
DEFAULT_KINDS = ("float16", "tq8", "k6v4", "tq4", "k4v3", "tq3", "tq2")
QUICK_KINDS = ("tq8", "tq4", "tq2")
INTERRUPTED = 130
DENSE = ("float32", "float16", "bfloat16")
PACKED = ("tq2", "tq3", "tq4", "tq5", "tq6", "tq8")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--prompt", default=PROMPT, help="text to continue")
    parser.add_argument("--bytes", type=int, help="bytes to generate (500)")
    parser.add_argument("--temperature", type=float, default=0.6, help="0 takes the likeliest byte (0.6)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the drawn bytes (0)")
    parser.add_argument("--k-cache", default="float32", choices=DENSE + PACKED, help="kind of the keys")
    parser.add_argument("--v-cache", default="float32", choices=DENSE + PACKED, help="kind of the values")
    parser.add_argument("--search", type=int, default=1, choices=(1, 5, 17), help="scales tried when packing")
    parser.add_argument("--device", help="cpu or metal; the default device unless given")
    parser.add_argument("--texts", nargs="*", help="texts to check: short, medium, long (all)")
    parser.add_argument("--kinds", nargs="*", help=f"caches to compare ({' '.join(DEFAULT_KINDS)})")
    parser.add_argument("--sign-seeds", type=int, help="packed caches are averaged over so many seeds (2)")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--full", action="store_true", help="compare every cache, on every text, three seeds")
    size.add_argument("--quick", action="store_true", help="few bytes, short text, three caches, one seed")
    options = parser.parse_args(arguments)
    if not options.prompt:
        parser.error("--prompt must hold at least one character")
    if options.bytes is None:
        options.bytes = 60 if options.quick else 500
    if options.bytes < 0 or options.temperature < 0 or options.seed < 0:
        parser.error("--bytes, --temperature and --seed must not be negative")
    if options.sign_seeds is not None and options.sign_seeds < 1:
        parser.error(f"--sign-seeds must be at least 1, got {options.sign_seeds}")
    return options


def check_names(options: argparse.Namespace) -> None:
    """Fill in which texts and kinds run; an unknown one ends the program."""
    from quality import KINDS, TEXTS

    if options.texts is None:
        options.texts = ["short"] if options.quick else list(TEXTS)
    if options.kinds is None:
        options.kinds = list(KINDS if options.full else QUICK_KINDS if options.quick else DEFAULT_KINDS)
        chosen = [label for label, kinds in KINDS.items() if kinds == (options.k_cache, options.v_cache)]
        if chosen and chosen[0] not in (*options.kinds, "float32"):
            options.kinds.append(chosen[0])
    if options.sign_seeds is None:
        options.sign_seeds = 3 if options.full else 1 if options.quick else 2
    for given, known in ((options.texts, TEXTS), (options.kinds, KINDS)):
        unknown = sorted(set(given) - set(known))
        if unknown:
            raise SystemExit(f"demo: unknown {', '.join(unknown)}; there are {', '.join(known)}")


def stream(model: TinyLM, options: argparse.Namespace) -> None:
    """Print the prompt and what the model makes of it, byte by byte, then the speed."""
    from progress import Progress
    from tinylm import generate

    prompt = options.prompt.encode(errors="surrogateescape")
    caches = model.new_caches(
        len(prompt) + options.bytes, options.k_cache, options.v_cache, search=options.search
    )
    with Progress("reading the prompt", len(prompt)) as progress:
        produced = generate(
            model,
            prompt,
            options.bytes,
            caches,
            temperature=options.temperature,
            seed=options.seed,
            progress=lambda done, total: progress.show(done),
        )
        started = time.perf_counter()
        head = list(itertools.islice(produced, 1))
        first = time.perf_counter()
    print(options.prompt, end="", flush=True)
    # A byte may be a part of a character; controls other than newline and tab would confuse a terminal.
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    count = 0
    for byte in itertools.chain(head, produced):
        count += 1
        text = decoder.decode(bytes([byte]))
        print("".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text), end="", flush=True)
    print("\n")
    if count > 1:
        speed = (count - 1) / (time.perf_counter() - first)
        print(f"{speed:.0f} tokens per second, prompt of {len(prompt)} in {first - started:.2f} s; ", end="")
    print(
        f"cache {options.k_cache} keys, {options.v_cache} values: {caches.nbytes / 1e6:.2f} MB "
        f"for {len(prompt) + options.bytes} tokens"
    )


def check(model: TinyLM, texts: Sequence[Text]) -> dict[str, float] | None:
    """Print bits per byte beside the stored values; None if one differs by more than the tolerance."""
    from progress import Progress
    from quality import aligned, exact_bits

    lines = [["text", "bytes", "bits per byte", "stored", "relative difference", "seconds"]]
    exact, agree = {}, True
    for text in texts:
        started = time.perf_counter()
        with Progress(f"scoring {text.name}", text.scored) as progress:
            bits, _ = exact_bits(model, text, lambda done, total: progress.show(done))
        difference = abs(bits / text.bits_per_byte - 1)
        # Written so that NaN fails.
        agree = agree and difference <= TOLERANCE
        exact[text.name] = bits
        numbers = [f"{bits:.6f}", f"{text.bits_per_byte:.6f}", f"{difference:.1e}"]
        seconds = f"{time.perf_counter() - started:.1f}"
        lines.append([text.name, str(text.scored), *numbers, seconds])
    print(aligned(lines))
    return exact if agree else None


def compare(
    model: TinyLM, options: argparse.Namespace, texts: Sequence[Text], exact: dict[str, float]
) -> None:
    """Print what the cache kinds cost and save."""
    from progress import Progress
    from quality import bytes_per_token, measure_all, table

    with Progress("comparing caches", 1.0) as progress:
        rows = measure_all(
            model, options.kinds, texts, options.sign_seeds, search=options.search, progress=progress.show
        )
    print(table(rows, exact, bytes_per_token(model.new_caches(1))))


def run(options: argparse.Namespace) -> int:
    """Do everything; the exit status."""
    import metalhead as mh

    check_names(options)
    if options.device is not None:
        try:
            mh.set_default_device(options.device)
        except (ValueError, mh.DeviceError) as error:
            raise SystemExit(f"demo: {error}") from None
    from quality import load_texts
    from tinylm import TinyLM

    model = TinyLM.load()
    device = mh.default_device().name
    print(f"tinylm, {model.parameters / 1e6:.1f} million parameters, attention on device {device}\n")
    if options.bytes:
        stream(model, options)
    if not options.texts:
        return 0
    texts = load_texts(options.texts)
    print("\nThe whole texts without a cache, beside the stored float64 results:\n", flush=True)
    exact = check(model, texts)
    if exact is None:
        print(f"\ndemo: FAILED, a text differs from its stored result by more than {TOLERANCE:g}")
        return 1
    compared = [text for text in texts if options.full or text.name != "long"]
    if options.kinds and compared:
        print("\nThe same texts with every key and value read from a cache, in bits per byte:\n", flush=True)
        compare(model, options, compared, exact)
    print(f"\ndemo: passed, {', '.join(exact)} agree with the stored results within {TOLERANCE:g}")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; Ctrl-C ends it with one line and status 130."""
    try:
        options = parse(arguments)
        sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
        return run(options)
    except KeyboardInterrupt:
        print("\ndemo: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return 1


if __name__ == "__main__":
    sys.exit(main())
