"""Splits preprocessed shader text into tokens that know their file and line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

PATTERN = re.compile(
    r"""(?P<directive>^[ \t]*\#[^\n]*)
      | (?P<space>\s+)
      | (?P<string>"(?:[^"\\\n]|\\.)*")
      | (?P<character>'(?:[^'\\\n]|\\.)*')
      | (?P<identifier>[A-Za-z_]\w*)
      | (?P<number>\.?\d(?:[eEpP][+-]|[\w.])*)
      | (?P<punctuation>::|->|.)""",
    re.VERBOSE | re.MULTILINE,
)
LINE_MARKER = re.compile(r'#\s*(?:line\s+)?(\d+)\s+"([^"]*)"')
OPENERS = {"(": ")", "[": "]", "{": "}"}


@dataclass(frozen=True, slots=True)
class Token:
    """One token of shader text; ``kind`` is a group name of PATTERN."""

    kind: str
    text: str
    file: str
    line: int

    @property
    def place(self) -> str:
        """The token's position as ``file:line``."""
        return f"{self.file}:{self.line}"


def tokenize(text: str) -> list[Token]:
    """Return all tokens, spaces included: their texts joined give ``text`` again."""
    tokens: list[Token] = []
    file, line = "", 1
    for match in PATTERN.finditer(text):
        kind = match.lastgroup or "punctuation"
        tokens.append(Token(kind, match.group(), file, line))
        if kind == "directive" and (marker := LINE_MARKER.match(match.group().strip())):
            file, line = marker.group(2), int(marker.group(1)) - 1  # the newline after the marker counts one
        line += match.group().count("\n")
    return tokens


def is_code(token: Token) -> bool:
    """Return whether a token is neither space nor a directive."""
    return token.kind not in ("space", "directive")


class Code:
    """Tokens with navigation over the significant ones, by index into the full list."""

    def __init__(self, tokens: list[Token]) -> None:
        self.tokens = tokens
        self.enumerators: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self.tokens)

    def text(self, index: int) -> str:
        """Return the text at an index, or an empty string past either end."""
        return self.tokens[index].text if 0 <= index < len(self.tokens) else ""

    def next(self, index: int) -> int:
        """Return the index of the next significant token, or the length."""
        index += 1
        while index < len(self.tokens) and not is_code(self.tokens[index]):
            index += 1
        return index

    def previous(self, index: int) -> int:
        """Return the index of the previous significant token, or -1."""
        index -= 1
        while index >= 0 and not is_code(self.tokens[index]):
            index -= 1
        return index

    def closing(self, index: int) -> int:
        """Return the index of the bracket that closes the one at ``index``, or the length."""
        depth = 0
        for at in range(index, len(self.tokens)):
            token = self.tokens[at]
            if token.kind == "punctuation":
                depth += (token.text in OPENERS) - (token.text in ")]}")
                if depth == 0:
                    return at
        return len(self.tokens)

    def closing_angle(self, index: int) -> int:
        """Return the index of the ``>`` that closes the ``<`` at ``index``, or -1 for a comparison."""
        depth, at = 0, index
        while at < len(self.tokens):
            text = self.tokens[at].text
            if text in OPENERS:
                at = self.closing(at)
            elif text in (";", "}", ")", "]"):
                return -1
            elif text in ("<", ">"):
                depth += 1 if text == "<" else -1
                if depth == 0:
                    return at
            at += 1
        return -1

    def significant(self, first: int, last: int) -> list[int]:
        """Return the indices of the significant tokens in [first, last)."""
        return [at for at in range(first, last) if is_code(self.tokens[at])]

    def join(self, indices: Sequence[int]) -> str:
        """Return the texts at the indices as one readable line."""
        text = " ".join(self.tokens[at].text for at in indices)
        text = re.sub(r"\s*(::|->|\.|\(|\[|<)\s*", r"\1", text)
        return re.sub(r"\s+([,;)\]>&*])", r"\1", text)


def split_commas(code: Code, first: int, last: int) -> list[list[int]]:
    """Split the significant tokens of [first, last) at commas outside all brackets."""
    parts: list[list[int]] = [[]]
    at, angle = first, 0
    while at < last:
        token = code.tokens[at]
        if token.text in OPENERS:
            end = code.closing(at) + 1
            parts[-1] += code.significant(at, end)
            at = end
            continue
        if token.text == "<" or (token.text == ">" and angle > 0):
            angle += 1 if token.text == "<" else -1
        if token.text == "," and angle == 0:
            parts.append([])
        elif is_code(token):
            parts[-1].append(at)
        at += 1
    return [part for part in parts if part]
