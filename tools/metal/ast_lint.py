"""Rules of MSL that clang's C++ front end does not know, checked on its syntax tree."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

Node = dict[str, Any]
FUNCTIONS = ("FunctionDecl", "CXXMethodDecl", "CXXConstructorDecl", "CXXConversionDecl")
VARIABLES = ("VarDecl", "ParmVarDecl", "FieldDecl")
# Clang prints the macro's name where the qualifier came from one.
ADDRESS_SPACE = re.compile(r"\b(device|threadgroup|constant)\b|address_space")
SCOPES = ("TranslationUnitDecl", "NamespaceDecl", "LinkageSpecDecl")


@dataclass
class Walk:
    """Where the walk stands: the last location printed, the node's place, and the enclosing declarations."""

    file: str = ""
    line: int = 0
    place: str = ""
    parents: list[str] = field(default_factory=list)
    function: str | None = None
    implicit: bool = False


class AstLint:
    """Walks clang's JSON syntax tree of one rewritten shader and collects findings as ``file:line: text``."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.findings: list[str] = []
        self.walk = Walk()
        self.calls: dict[str, set[str]] = {}
        self.first_declaration: dict[str, str] = {}
        self.names: dict[str, str] = {}
        self.places: dict[str, str] = {}

    def run(self, tree: Node) -> list[str]:
        """Return all findings in source order, each once."""
        self._visit(tree)
        self._find_recursion()
        return list(dict.fromkeys(self.findings))

    def _say(self, text: str) -> None:
        self.findings.append(f"{self.walk.place}: {text}")

    def _move(self, location: Node | None) -> int | None:
        """Follow a location: clang prints file and line only where they change."""
        location = location or {}
        location = location.get("expansionLoc", location)
        if "presumedFile" in location or "file" in location:
            self.walk.file = str(location.get("presumedFile") or location["file"])
        if "line" in location:
            self.walk.line = int(location.get("presumedLine") or location["line"])
        offset = location.get("offset")
        return int(offset) if offset is not None else None

    def _visit(self, node: Node) -> None:
        if "kind" not in node:
            return
        name_at = self._move(node.get("loc"))
        begin = self._move((node.get("range") or {}).get("begin"))
        place = f"{self.walk.file}:{self.walk.line}"
        self._move((node.get("range") or {}).get("end"))
        self.walk.place = place
        kind, outer = node["kind"], self.walk.function
        if kind in FUNCTIONS:
            earlier = str(node.get("previousDecl") or node["id"])
            first = self.first_declaration.get(earlier, earlier)
            self.first_declaration[node["id"]] = self.walk.function = first
            self.names[first] = node.get("name", "")
            self.places[first] = place
        inside = self.walk.implicit
        self.walk.implicit = inside or bool(
            node.get("isImplicit")
        )  # the copies and moves that every struct has
        if not self.walk.implicit:
            self._check(node, kind, begin, name_at)
        self.walk.parents.append(kind)
        for child in node.get("inner", []):
            self._visit(child)
        self.walk.parents.pop()
        self.walk.implicit = inside
        self.walk.function = outer

    def _check(self, node: Node, kind: str, begin: int | None, name_at: int | None) -> None:
        types = node.get("type") or {}
        spelled = types.get("qualType", "")
        plain = types.get("desugaredQualType", spelled)
        if kind == "LambdaExpr":
            self._say("lambda expression")
        if kind in VARIABLES:
            self._check_variable(node, kind, spelled, plain, begin, name_at)
        elif kind in FUNCTIONS:
            self._check_result(node, spelled, begin, name_at)
        elif node.get("castKind"):
            self._check_cast(node, plain)
        if re.search(r"(?<!long )\bdouble\b", plain) and kind not in FUNCTIONS:  # 1.0h passes a long double
            self._say("double precision, which Metal does not have")
        if kind == "DeclRefExpr" and self.walk.function:
            target = node.get("referencedDecl") or {}
            if target.get("kind") in FUNCTIONS:
                called = self.first_declaration.get(target["id"], target["id"])
                self.calls.setdefault(self.walk.function, set()).add(called)

    def _spells_thread(self, begin: int | None, name_at: int | None) -> bool:
        if begin is None or name_at is None:
            return False
        before = re.split(r"[(,;{}<>]", self.source[max(0, begin - 24) : begin])[-1]
        return re.search(r"\bthread\b", before + self.source[begin:name_at]) is not None

    @staticmethod
    def _is_indirect(plain: str) -> bool:
        """Whether the type is a pointer or reference; a product in an array's length does not make it one."""
        return re.search(r"[*&]", re.sub(r"\[[^]]*\]", "", plain)) is not None

    def _check_variable(
        self, node: Node, kind: str, spelled: str, plain: str, begin: int | None, name_at: int | None
    ) -> None:
        name = node.get("name", "")
        spaced = ADDRESS_SPACE.search(f"{spelled} {plain}") is not None
        if "(*)(" in spelled or "(*)(" in plain:
            self._say(f"function pointer '{name}'")
        elif self._is_indirect(plain) and not spaced and not self._spells_thread(begin, name_at):
            declared = self.source[begin:name_at] if begin is not None else ""
            if not re.search(r"\bauto\b", declared) or re.search(r"[*&]", declared):
                self._say(f"pointer or reference '{name}' without an address space ({spelled})")
        if kind != "VarDecl" or spaced:
            return
        scope = next(
            (parent for parent in reversed(self.walk.parents) if not parent.endswith("TemplateDecl")), ""
        )
        if scope in SCOPES or scope.startswith(("CXXRecord", "ClassTemplate")):
            self._say(f"program-scope variable '{name}' outside the constant address space")
        elif node.get("storageClass") == "static":
            self._say(f"static local variable '{name}'")

    def _check_result(self, node: Node, spelled: str, begin: int | None, name_at: int | None) -> None:
        result = spelled.split("(")[0]
        bare = re.search(r"[*&]", result) and not ADDRESS_SPACE.search(result)
        if bare and not self._spells_thread(begin, name_at):
            name = node.get("name")
            self._say(f"function '{name}' returns a pointer or reference without an address space")

    def _check_cast(self, node: Node, target: str) -> None:
        if node["castKind"] == "AddressSpaceConversion":
            self._say(f"cast changes the address space to '{target}'")
        inner = (node.get("inner") or [{}])[0].get("type") or {}
        source = inner.get("desugaredQualType", inner.get("qualType", ""))
        of_vectors = "ext_vector_type" in target and "ext_vector_type" in source
        if node["castKind"] == "BitCast" and of_vectors and not re.search(r"[*&]", target):
            self._say("cast between vectors reinterprets bits here: write T(x), or as_type for the bits")
        if node["castKind"] == "LValueToRValue" and re.search(r"\bu?long\b.*ext_vector_type\(4\)", target):
            self._say("32-byte vector access: no GPU load is that wide, use two halves")

    def _find_recursion(self) -> None:
        state: dict[str, int] = {}

        def descend(function: str) -> None:
            state[function] = 1
            for called in sorted(self.calls.get(function, ())):
                if state.get(called) == 1:
                    place = self.places.get(called, "")
                    self.findings.append(f"{place}: recursion through '{self.names.get(called, '?')}'")
                elif called not in state:
                    descend(called)
            state[function] = 2

        for function in sorted(self.calls):
            if function not in state:
                descend(function)
