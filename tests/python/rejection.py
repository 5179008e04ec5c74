"""The step that holds a rejected call to what errors promise."""

import re
from typing import Any

import pytest

import metalhead as mh


def says(text: str, part: Any) -> bool:
    """Whether the text holds the part, and not merely inside a longer number."""
    return re.search(rf"(?<!\d){re.escape(str(part))}(?!\d)", text) is not None


def assert_rejected(error, operation, arguments, parts, device, **keywords):
    """The call raises `error`, names itself and all `parts`, and leaves the pool of the device as it was."""
    pool = mh.Device(device).pool_stats()
    with pytest.raises(error) as caught:
        operation(*arguments, device=device, **keywords)
    text = str(caught.value)
    assert text.startswith(f"{operation.__name__}: "), text
    missing = [part for part in parts if not says(text, part)]
    assert not missing, f"{missing} is not in: {text}"
    assert mh.Device(device).pool_stats() == pool
