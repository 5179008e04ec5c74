"""The one rule of accuracy, and the comparisons that apply it."""

from __future__ import annotations

from typing import Any

import numpy as np

AXES = ("batch", "head", "row", "column")
RELATIVE_FLOOR = 1e-6


def assert_attention_close(actual: Any, expected64: Any, plain32: Any, context: str = "") -> None:
    """Fail unless the error is at most twice that of plain float32 rounded to the output type, plus 1e-6.

    Errors are relative to the largest output magnitude; arrays are ``[batch, heads, rows, columns]``.
    """
    expected = np.asarray(expected64, np.float64)
    _assert_close(actual, expected, plain32, np.abs(expected).max(initial=0), f"{context} out")


def assert_lse_close(actual: Any, expected64: Any, plain32: Any, context: str = "") -> None:
    """The same rule for log-sum-exps ``[batch, heads, rows]``, which must be -inf exactly where expected.

    The absolute error of a logarithm is the relative error of its sum, so 1 is the least magnitude.
    """
    expected = np.asarray(expected64, np.float64)
    empty = np.isneginf(expected)
    assert np.array_equal(np.isneginf(np.asarray(actual, np.float64)), empty), (
        f"{context} lse: -inf at other rows"
    )
    clear = [np.where(empty, 0, np.asarray(x, np.float64)) for x in (actual, expected, plain32)]
    _assert_close(*clear, max(1.0, np.abs(clear[1]).max(initial=0)), f"{context} lse")


def _assert_close(actual: Any, expected: Any, plain32: Any, magnitude: float, context: str) -> None:
    actual = np.asarray(actual)
    assert actual.shape == expected.shape, f"{context}: shape {actual.shape}, expected {expected.shape}"
    if actual.size == 0:
        return
    error = np.abs(actual.astype(np.float64) - expected)
    plain_error = np.abs(np.asarray(plain32).astype(np.float64) - expected).max()
    allowed = 2 * plain_error + RELATIVE_FLOOR * magnitude
    if (error <= allowed).all():
        return
    worst = np.unravel_index(np.argmax(np.where(np.isnan(error), np.inf, error)), error.shape)
    axes = AXES[4 - error.ndim :] if context.endswith("out") else AXES[3 - error.ndim : 3]
    place = ", ".join(f"{axis} {index}" for axis, index in zip(axes, worst, strict=True))
    raise AssertionError(
        f"{context} at {place}: got {actual[worst]}, expected {expected[worst]:.9g}; "
        f"error {error[worst]:.3g}, allowed {allowed:.3g} (plain float32 {plain_error:.3g}, "
        f"largest magnitude {magnitude:.3g}); {(~(error <= allowed)).sum()} of {error.size} values are off"
    )
