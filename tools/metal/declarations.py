"""Finds the declarations of a shader that clang cannot take as they stand, with their token ranges."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field

from .errors import ShaderError
from .reflection import MAX_BUFFERS, POSITIONS, Argument, Constant, Kernel
from .tokens import Code, Token, is_code, split_commas


@dataclass
class KernelSite:
    """A kernel definition: its reflection and the tokens to drop or to rewrite."""

    kernel: Kernel
    qualified: str
    dropped: list[tuple[int, int]]
    body: tuple[int, int]


@dataclass
class ConstantSite:
    """A function constant, or a program-scope constant computed from function constants."""

    name: str
    type: str
    first: int
    last: int
    expression: tuple[int, int] | None
    constant: Constant | None


@dataclass
class Declarations:
    """All sites of one translation unit."""

    kernels: list[KernelSite] = field(default_factory=list)
    constants: list[ConstantSite] = field(default_factory=list)
    instantiations: list[tuple[int, int]] = field(default_factory=list)


def find_attributes(code: Code, first: int, last: int) -> list[tuple[int, int, list[tuple[str, list[int]]]]]:
    """Return each ``[[...]]`` in [first, last) as (first, last, [(name, argument tokens)])."""
    found = []
    at = first
    while at < last:
        if code.text(at) == "[" and code.text(code.next(at)) == "[":
            end = code.closing(at)
            inner = code.next(at)
            attributes = []
            for part in split_commas(code, inner + 1, code.closing(inner)):
                has_arguments = len(part) > 1 and code.text(part[1]) == "("
                attributes.append((code.text(part[0]), part[2:-1] if has_arguments else []))
            found.append((at, end + 1, attributes))
            at = end
        at += 1
    return found


def integer(code: Code, indices: list[int], what: str, place: Token) -> int:
    """Evaluate an integer constant expression of literals, + - * and parentheses."""
    words = [code.enumerators.get(code.text(at), code.text(at)) for at in indices]
    text = "".join(words).rstrip("uUlL")
    try:
        if not set(text) <= set("0123456789+-*() xXabcdefABCDEF"):
            raise ValueError(text)
        value = eval(compile(ast.parse(text, mode="eval"), "", "eval"), {"__builtins__": {}})  # digits only
    except (ValueError, SyntaxError, NameError, TypeError):
        raise ShaderError(f"{place.place}: {what} must be an integer literal, got '{text}'") from None
    return int(value)


class Scanner:
    """Walks the namespace scope of one translation unit."""

    def __init__(self, code: Code) -> None:
        self.code = code
        self.found = Declarations()
        self.namespaces: list[str] = []
        self.constant_names: set[str] = set()

    def scan(self) -> Declarations:
        """Return all declarations; raise ShaderError where one is malformed."""
        at = self.code.next(-1)
        while at < len(self.code):
            text = self.code.text(at)
            if text == "namespace":
                at = self._open_namespace(at)
            elif text == "}":
                if not self.namespaces:
                    raise ShaderError(f"{self.code.tokens[at].place}: unbalanced '}}'")
                self.namespaces.pop()
                at = self.code.next(at)
            elif text == ";":
                at = self.code.next(at)
            else:
                last, body = self._chunk(at)
                self._classify(at, last, body)
                at = self.code.next(last)
        return self.found

    def _open_namespace(self, at: int) -> int:
        name = self.code.next(at)
        if self.code.text(name) == "{":
            self.namespaces.append("")
            return self.code.next(name)
        end = name
        while self.code.text(end) not in ("{", ";", ""):
            end = self.code.next(end)
        if self.code.text(end) == "{":
            self.namespaces.append(self.code.join(self.code.significant(name, end)))
        return self.code.next(end)

    def _chunk(self, first: int) -> tuple[int, int | None]:
        """Return the last token of the declaration at ``first`` and its function body's brace, if any."""
        code, at, assigned = self.code, first, False
        start = first
        if code.text(first) == "template" and code.text(code.next(first)) == "<":
            at = start = code.next(code.closing_angle(code.next(first)))
        is_type = code.text(start) in ("struct", "class", "union", "enum", "typedef", "using")
        while at < len(code):
            text = code.text(at)
            if text == ";":
                return at, None
            if text == "{":
                end = code.closing(at)
                if not is_type and not assigned:
                    return end, at
                at = end
            elif text in ("(", "["):
                at = code.closing(at)
            assigned = assigned or text == "="
            at = code.next(at)
        raise ShaderError(f"{code.tokens[first].place}: declaration without an end")

    def _classify(self, first: int, last: int, body: int | None) -> None:
        code = self.code
        head = code.significant(first, last if body is None else body)
        texts = [code.text(at) for at in head]
        attributes = find_attributes(code, first, last if body is None else body)
        names = [name for _, _, listed in attributes for name, _ in listed]
        is_kernel = "kernel" in texts
        if texts[0] == "enum":
            self._enumerators(first, last)
        if texts[0] == "template" and texts[1:2] != ["<"]:
            if is_kernel or "host_name" in names:
                self._instantiation(first, last, attributes)
        elif is_kernel and body is not None:
            self._kernel(first, last, body)
        elif is_kernel:
            raise ShaderError(f"{code.tokens[first].place}: a kernel needs a body")
        elif "constant" in texts and body is None:
            self._constant(first, last, head, attributes)

    def _enumerators(self, first: int, last: int) -> None:
        """Remember `name = literal` of an enumeration: attributes may name them."""
        for at in self.code.significant(first, last):
            if self.code.text(at) == "=":
                self.code.enumerators[self.code.text(self.code.previous(at))] = self.code.text(
                    self.code.next(at)
                )

    def _host_name(self, listed: list[tuple[str, list[int]]]) -> str | None:
        for name, arguments in listed:
            if name == "host_name":
                if not arguments or any(self.code.tokens[at].kind != "string" for at in arguments):
                    raise ShaderError("host_name needs a string literal")
                return "".join(self.code.text(at)[1:-1] for at in arguments)
        return None

    def _instantiation(
        self, first: int, last: int, attributes: list[tuple[int, int, list[tuple[str, list[int]]]]]
    ) -> None:
        code = self.code
        place = code.tokens[first]
        host_name = next((name for _, _, listed in attributes if (name := self._host_name(listed))), None)
        if host_name is None:
            raise ShaderError(f"{place.place}: an explicit kernel instantiation needs [[host_name(...)]]")
        spans = [(begin, end) for begin, end, _ in attributes]
        tokens = [
            at
            for at in code.significant(first, last)
            if code.text(at) not in ("template", "kernel") and not any(a <= at < b for a, b in spans)
        ]
        if code.text(tokens[0]) == "decltype":
            target = [at for at in tokens[2:] if at < code.closing(tokens[1])]
        else:
            target = [at for at in tokens[1:] if at < next((t for t in tokens if code.text(t) == "("), last)]
        angle = next((at for at in target if code.text(at) == "<"), last)
        base = code.join([at for at in target if at < angle])
        site = next((s for s in self.found.kernels if s.kernel.name == base.split("::")[-1]), None)
        if site is None:
            raise ShaderError(f"{place.place}: [[host_name]] names unknown kernel '{base}'")
        self._add_host_name(site.kernel, host_name, self._qualify(code.join(target)), place)
        self.found.instantiations.append((first, last))

    def _qualify(self, name: str) -> str:
        return "::".join([part for part in self.namespaces if part] + [name])

    def _add_host_name(self, kernel: Kernel, host_name: str, target: str, place: Token) -> None:
        if any(host_name in site.kernel.host_names for site in self.found.kernels):
            raise ShaderError(f"{place.place}: kernel '{host_name}' is declared twice")
        kernel.host_names[host_name] = target

    def _kernel(self, first: int, last: int, body: int) -> None:
        code = self.code
        place = code.tokens[first]
        parameters: list[str] = []
        start = first
        if code.text(first) == "template":
            angle = code.next(first)
            end = code.closing_angle(angle)
            for part in split_commas(code, angle + 1, end):
                texts = [code.text(at) for at in part]
                cut = texts.index("=") if "=" in texts else len(texts)
                parameters.append(texts[cut - 1])
            start = code.next(end)
        attributes = find_attributes(code, start, body)
        opening = next(
            (at for at in code.significant(start, body)
             if code.text(at) == "(" and not any(b <= at < e for b, e, _ in attributes)), body,
        )  # fmt: skip
        name_at = code.previous(opening)
        head = [
            at for at in code.significant(start, name_at) if not any(b <= at < e for b, e, _ in attributes)
        ]
        dropped = [(begin, end) for begin, end, _ in attributes]
        dropped += [(at, at + 1) for at in head if code.text(at) == "kernel"]
        returned = [code.text(at) for at in head if code.text(at) not in ("kernel", "inline", "static")]
        name = code.text(name_at)
        if returned != ["void"]:
            raise ShaderError(f"{code.tokens[name_at].place}: kernel '{name}' must return void")
        leading = [pair for begin, _, listed in attributes if begin < opening for pair in listed]
        limit = next((args for key, args in leading if key == "max_total_threads_per_threadgroup"), [])
        kernel = Kernel(
            name, place.file, code.tokens[name_at].line, parameters, self._arguments(opening, name),
            integer(code, limit, "max_total_threads_per_threadgroup", place)
            if limit and all(code.tokens[at].kind != "identifier" for at in limit) else 0, [],
        )  # fmt: skip
        site = KernelSite(kernel, self._qualify(name), dropped, (body, last))
        self.found.kernels.append(site)
        if not parameters:
            self._add_host_name(kernel, self._host_name(leading) or name, site.qualified, place)

    def _arguments(self, opening: int, kernel: str) -> list[Argument]:
        code = self.code
        arguments = [
            self._argument(part, kernel) for part in split_commas(code, opening + 1, code.closing(opening))
        ]
        taken: set[tuple[str, int]] = set()
        for argument in arguments:
            slot = (argument.kind, argument.index)
            if argument.kind != "position" and slot in taken and argument.condition is None:
                raise ShaderError(
                    f"{code.tokens[opening].place}: kernel '{kernel}' binds {argument.kind}"
                    f" {argument.index} twice"
                )
            taken.add(slot)
        return arguments

    def _argument(self, part: list[int], kernel: str) -> Argument:
        code = self.code
        place = code.tokens[part[0]]
        found = find_attributes(code, part[0], part[-1] + 1)
        cut = found[0][0] if found else part[-1] + 1
        declared = [at for at in part if at < cut]
        name, type_text = code.text(declared[-1]), code.join(declared[:-1])
        listed = {key: values for _, _, pairs in found for key, values in pairs}
        texts = {code.text(at) for at in declared}
        condition = code.join(listed["function_constant"]) if "function_constant" in listed else None
        is_reference = bool(texts & {"*", "&"})
        if not listed:
            raise ShaderError(f"{place.place}: argument '{name}' of kernel '{kernel}' has no attribute")
        for attribute, values in listed.items():
            if attribute == "buffer":
                index = integer(code, values, "a buffer index", place)
                if not 0 <= index < MAX_BUFFERS:
                    raise ShaderError(f"{place.place}: buffer index {index} is outside 0..{MAX_BUFFERS - 1}")
                if not is_reference or not texts & {"device", "constant"}:
                    raise ShaderError(
                        f"{place.place}: buffer '{name}' must be a device or constant pointer or reference"
                    )
                read_only = "constant" in texts or "const" in texts
                access = "read" if read_only else "read_write"
                return Argument(name, type_text, "buffer", index, access, condition, attribute)
            if attribute == "threadgroup":
                index = integer(code, values, "a threadgroup index", place)
                if not is_reference or "threadgroup" not in texts:
                    raise ShaderError(
                        f"{place.place}: threadgroup argument '{name}' must be a threadgroup pointer"
                    )
                return Argument(name, type_text, "threadgroup", index, "read_write", condition, attribute)
            if attribute in POSITIONS:
                return Argument(name, type_text, "position", -1, "read", None, attribute)
        raise ShaderError(f"{place.place}: unknown attribute '{', '.join(listed)}' of argument '{name}'")

    def _constant(
        self,
        first: int,
        last: int,
        head: list[int],
        attributes: list[tuple[int, int, list[tuple[str, list[int]]]]],
    ) -> None:
        code = self.code
        place = code.tokens[first]
        for begin, _, listed in attributes:
            for key, values in listed:
                if key == "function_constant":
                    declared = [
                        at
                        for at in head
                        if at < begin and code.text(at) not in ("constant", "const", "static")
                    ]
                    name, type_text = code.text(declared[-1]), code.join(declared[:-1])
                    index = integer(code, values, "a function constant index", place)
                    if any(s.constant and s.constant.index == index for s in self.found.constants):
                        raise ShaderError(f"{place.place}: function constant {index} is declared twice")
                    constant = Constant(index, name, type_text, False)
                    self.found.constants.append(ConstantSite(name, type_text, first, last, None, constant))
                    self.constant_names.add(name)
                    return
        texts = [code.text(at) for at in head]
        if "=" in texts and self.constant_names & set(texts):
            equals = head[texts.index("=")]
            declared = [
                at
                for at in head
                if at < equals and code.text(at) not in ("constant", "const", "static", "constexpr")
            ]
            name, type_text = code.text(declared[-1]), code.join(declared[:-1])
            self.found.constants.append(ConstantSite(name, type_text, first, last, (equals + 1, last), None))
            self.constant_names.add(name)


def scan_declarations(tokens: list[Token]) -> tuple[Code, Declarations]:
    """Return the code and the declarations in it."""
    code = Code(tokens)
    if not any(is_code(token) for token in tokens):
        return code, Declarations()
    return code, Scanner(code).scan()
