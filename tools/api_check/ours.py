"""Reads our side from clang: what the look-alike headers declare, and what the backend sends."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .apple import Signature, plain_type
from .wheels import ROOT

FLAGS = (
    "-std=c++20", "-Isim", "-isystem", "sim/objc/include", "-I.", "-Icpp", "-Imetal", "-fsyntax-only",
    "-fobjc-runtime=gnustep-2.0", "-fobjc-arc", "-fblocks", "-fexceptions",
    "-fconstant-string-class=NSConstantString", "-Xclang", "-ast-dump", "-fno-color-diagnostics",
)  # fmt: skip
FILTER = ["-Xclang", "-ast-dump-filter", "-Xclang", "metalhead"]
LINE = re.compile(r"^(?P<indent>[|` -]*)(?P<kind>\w+):? (?P<rest>.*)$")
CONTAINER = re.compile(r"(?:line|col|[\w./]+):[\d:]+ (\w+)$")
METHOD = re.compile(r" ([-+]) (\S+) '([^']*)'")
QUOTED = re.compile(r"'([^']*)'")
MESSAGE = re.compile(r"selector=(\S+)(?: class='([^']+)')?")


@dataclass
class Declarations:
    """Methods and parents of the look-alike's classes and protocols, and its enum values."""

    methods: dict[str, dict[str, Signature]] = field(default_factory=dict)
    parents: dict[str, list[str]] = field(default_factory=dict)
    enum_values: dict[str, int] = field(default_factory=dict)

    def has(self, name: str, selector: str) -> bool:
        """Tell whether the class or protocol, or one it inherits from, declares the selector."""
        return selector in self.methods.get(name, {}) or any(
            self.has(parent, selector) for parent in self.parents.get(name, [])
        )


@dataclass(frozen=True)
class Message:
    """A message send: the receiver's class or protocol, and the selector."""

    file: str
    receiver: str
    selector: str


def dump(source: str, text: str | None = None) -> Iterator[str]:
    """Yield the lines of clang's text dump of ``text``, or of a file's declarations in namespace metalhead.

    The text dump it is, because the JSON one of Objective-C methods is malformed.
    """
    compiler = shutil.which("clang++-19")
    if compiler is None:
        raise FileNotFoundError("clang++-19 not found: install the packages of sim/packages.txt")
    command = [compiler, *FLAGS, *([*FILTER, source] if text is None else ["-xobjective-c++", "-"])]
    result = subprocess.run(command, input=text, capture_output=True, text=True, cwd=ROOT, check=False)
    if result.returncode != 0:
        raise RuntimeError(f"{source} does not compile:\n{result.stderr[-2000:]}")
    yield from result.stdout.splitlines()


def first_type(text: str) -> str:
    """Return the first quoted type in short form."""
    match = QUOTED.search(text)
    return plain_type(match[1]) if match else ""


def read_declarations() -> Declarations:
    """Return what the look-alike's Metal.h and Foundation.h declare."""
    found = Declarations()
    container, selector, constant = "", "", ""
    for line in dump("Metal.h", "#import <Metal/Metal.h>\n"):
        match = LINE.match(line)
        if match is None:
            continue
        kind, rest = match["kind"], match["rest"]
        if kind in ("ObjCProtocolDecl", "ObjCInterfaceDecl"):
            name = CONTAINER.search(rest)
            container = name[1] if name else ""
            found.methods.setdefault(container, {})
        elif kind == "super" or (kind == "ObjCProtocol" and container):
            found.parents.setdefault(container, []).extend(QUOTED.findall(rest)[:1])
        elif kind == "ObjCMethodDecl" and (method := METHOD.search(rest)):
            selector = method[2]
            found.methods[container][selector] = Signature(plain_type(method[3]), ())
        elif kind == "ParmVarDecl" and container and selector in found.methods.get(container, {}):
            before = found.methods[container][selector]
            if len(before.arguments) < selector.count(":"):
                arguments = (*before.arguments, first_type(rest))
                found.methods[container][selector] = Signature(before.result, arguments)
        elif kind == "EnumConstantDecl" and (name := re.search(r"(\w+) '", rest)):
            constant = name[1]
        elif kind == "value" and constant:
            found.enum_values[constant] = int(rest.rsplit(" ", 1)[1])
            constant = ""
    return found


def receiver_name(text: str) -> str:
    """Return the class or protocol of a receiver's type, ``id`` if it has none."""
    match = re.search(r"\b((?:MTL|NS)\w+)", text)
    return match[1] if match else "id"


def read_messages(source: Path) -> set[Message]:
    """Return the message sends of one .mm file; headers hold none, save the few lines of objc_text.h."""
    messages = set()
    waiting: str | None = None
    for line in dump(str(source.relative_to(ROOT))):
        if waiting is not None:
            messages.add(Message(source.name, receiver_name(first_type(line)), waiting))
            waiting = None
        if "ObjCMessageExpr" not in line or (match := MESSAGE.search(line)) is None:
            continue
        if match[2]:
            messages.add(Message(source.name, receiver_name(match[2]), match[1]))
        else:
            waiting = match[1]
    return messages
