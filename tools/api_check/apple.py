"""Reads Apple's side: methods with their types from metal-cpp, enum values from PyObjC's metadata."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

SELECTOR = re.compile(r'_(?:MTL|NS)_PRIVATE_DEF_SEL\(\s*(\w+)\s*,\s*"([^"]+)"\s*\)')
METHOD = re.compile(
    r"_(?:MTL|NS)_INLINE\s+([^;{}]*?)\b(MTL|NS)::(\w+)::(\w+)\(([^{}]*?)\)\s*(?:const\s*)?\{([^}]*)\}"
)
SELECTOR_USE = re.compile(r"_(?:MTL|NS)_PRIVATE_SEL\((\w+)\)")
CLASS = re.compile(r"class (\w+) : public NS::\w+<\w+(?:, ([\w:]+))?")
QUALIFIER = re.compile(
    r"_N\w+|NS_RETURNS_INNER_POINTER|__strong|__autoreleasing|__unsafe_unretained|\b(?:const|class|struct)\b"
)
ENUM_VALUE = re.compile(r"\b(MTL\w+)@(-?\d+)")


@dataclass(frozen=True)
class Signature:
    """Result type and argument types of a method, in the short form of ``plain_type``."""

    result: str
    arguments: tuple[str, ...]


@dataclass
class Api:
    """Methods by class and selector, and each class's parent."""

    methods: dict[str, dict[str, list[Signature]]] = field(default_factory=dict)
    parents: dict[str, str] = field(default_factory=dict)

    def find(self, class_name: str, selector: str) -> list[Signature]:
        """Return the signatures that metal-cpp has for the selector in the class or its parents."""
        current: str | None = class_name
        while current is not None:
            found = self.methods.get(current, {}).get(selector)
            if found:
                return found
            current = self.parents.get(current)
        return []


def plain_type(text: str) -> str:
    """Return a type without qualifiers, so that ``const MTL::Buffer*`` and ``id<MTLBuffer>`` are one."""
    text = QUALIFIER.sub(" ", text)
    text = re.sub(r"\bid<(\w+)>", r"\1*", text)
    text = re.sub(r"(NSArray)<.*>", r"\1", text)
    text = re.sub(r"\b(MTL|NS)::", r"\1", text)
    text = re.sub(r"(?<!\w)(String|UInteger)\b", r"NS\1", text)
    return re.sub(r"\s+", "", text)


def argument_types(text: str) -> tuple[str, ...]:
    """Return the types of a C++ parameter list, names and defaults dropped."""
    types = []
    for part in filter(None, (piece.strip() for piece in re.split(r",(?![^()]*\))", text))):
        declaration = re.sub(r"\(\^\w+\)", "(^)", part.split("=")[0].strip())
        declaration = re.sub(r"\w+\[\]$", "*", declaration)
        types.append(plain_type(re.sub(r"([\s*&])\w+$", r"\1", declaration)))
    return tuple(types)


def read_metal_cpp(headers: Iterable[Path]) -> Api:
    """Return every method that metal-cpp's inline bodies send."""
    texts = [path.read_text() for path in headers]
    selectors = {name: text for source in texts for name, text in SELECTOR.findall(source)}
    api = Api()
    for source in texts:
        for result, space, class_name, _, arguments, body in METHOD.findall(source):
            for used in SELECTOR_USE.findall(body):
                signature = Signature(plain_type(result), argument_types(arguments))
                selector = selectors.get(used, used)
                api.methods.setdefault(space + class_name, {}).setdefault(selector, []).append(signature)
        for class_name, parent in CLASS.findall(source):
            if parent:
                name = plain_type(parent)
                api.parents["MTL" + class_name] = name if name.startswith(("MTL", "NS")) else "MTL" + name
    return api


def read_enum_values(metadata: Path) -> dict[str, int]:
    """Return the value of every Metal constant that PyObjC knows."""
    return {name: int(value) for name, value in ENUM_VALUE.findall(metadata.read_text())}
