"""The one error type of the shader tools."""

from __future__ import annotations


class ShaderError(Exception):
    """A shader that cannot be read, checked or compiled; the text names file and line."""
