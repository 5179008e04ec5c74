"""Turns MSL into C++ for clang, line for line: with address spaces to check it, without to run it."""

from __future__ import annotations

from .declarations import ConstantSite, KernelSite, find_attributes, scan_declarations
from .errors import ShaderError
from .expand import INCLUDE_MARK
from .reflection import Reflection
from .tokens import LINE_MARKER, Code, Token, is_code, split_commas, tokenize

ELEMENTS = (
    "bool",
    "char",
    "uchar",
    "short",
    "ushort",
    "int",
    "uint",
    "long",
    "ulong",
    "half",
    "bfloat",
    "float",
)
VECTORS = {f"{element}{count}" for element in ELEMENTS for count in (2, 3, 4)}
STATEMENT_WORDS = {"return", "case", "else", "do", "in", "and", "or", "not", "goto", "throw"}


class Rewriter:
    """Replaces tokens of one translation unit; spaces stay, so that lines keep their numbers."""

    def __init__(self, text: str, strict: bool) -> None:
        self.strict = strict
        self.code, self.found = scan_declarations(tokenize(text))
        self.texts = [token.text for token in self.code.tokens]
        self.constants = {site.name: site for site in self.found.constants}
        self.constructible = VECTORS | self._aliases()

    def run(self) -> str:
        """Return the C++ text; raise ShaderError for what MSL or this project forbids."""
        self._directives()
        for site in self.found.kernels:
            self._kernel(site)
        for first, last in self.found.instantiations:
            self._instantiation(first, last)
        self._constant_uses()
        for constant in self.found.constants:
            self._constant(constant)
        self._constructors()
        self._stray_threadgroup_variables()
        return "".join(self.texts)

    def _blank(self, first: int, last: int) -> None:
        for at in range(first, last):
            if is_code(self.code.tokens[at]):
                self.texts[at] = ""

    def _aliases(self) -> set[str]:
        """Names that may stand for a vector type: type aliases and template type parameters."""
        code, names = self.code, set()
        for at in code.significant(0, len(code)):
            word, following = code.text(at), code.next(at)
            aliased = word == "using" and code.text(code.next(following)) == "="
            if aliased or (word in ("typename", "class") and code.text(code.previous(at)) in ("<", ",")):
                names.add(code.text(following))
            elif word == "typedef":
                end = at
                while code.text(end) not in (";", ""):
                    end = code.next(end)
                names.add(code.text(code.previous(end)))
        return {name for name in names if name.isidentifier()}

    def _directives(self) -> None:
        for at, token in enumerate(self.code.tokens):
            if token.kind != "directive":
                continue
            stripped = token.text.strip()
            if stripped.startswith(INCLUDE_MARK):
                self.texts[at] = f"#include <{stripped.removeprefix(INCLUDE_MARK).strip()}>"
            elif marker := LINE_MARKER.match(stripped):
                # Marker headers count as nothing: their own lines would hide where the include stands.
                self.texts[at] = f'#line {marker.group(1)} "{marker.group(2)}"'

    def _kernel(self, site: KernelSite) -> None:
        for first, last in site.dropped:
            self._blank(first, last)
        code = self.code
        at = site.body[0]
        while at < site.body[1]:
            if code.text(at) == "threadgroup" and code.text(code.previous(at)) in ("{", "}", ";"):
                end = at
                while code.text(end) != ";":
                    end = code.next(end)
                parts = split_commas(code, at + 1, end)
                if not self._declares_pointer(at, end):
                    self._threadgroup_variable(site, at, end, parts)
                at = end
            at += 1

    def _declares_pointer(self, first: int, last: int) -> bool:
        """Return whether a declaration has a * or & outside array bounds and template arguments."""
        code, at = self.code, first
        while at < last:
            if code.text(at) == "[":
                at = code.closing(at)
            elif code.text(at) == "<":
                at = max(at, code.closing_angle(at))
            elif code.text(at) in ("*", "&"):
                return True
            at += 1
        return False

    def _threadgroup_variable(self, site: KernelSite, first: int, last: int, parts: list[list[int]]) -> None:
        code = self.code
        leading = parts[0]
        dims = next((k for k, at in enumerate(leading) if code.text(at) == "["), len(leading))
        if any(code.text(at) == "=" for part in parts for at in part):
            raise ShaderError(
                f"{code.tokens[first].place}: a threadgroup variable cannot have an initialiser"
            )
        base = code.join(leading[: dims - 1])
        declarators = [leading[dims - 1 :], *parts[1:]]
        site.kernel.threadgroup_variables += [code.text(part[0]) for part in declarators]
        function = site.qualified
        if site.kernel.template_parameters:
            function += f"<{', '.join(site.kernel.template_parameters)}>"
        out = []
        for part in declarators:
            name, shape = code.text(part[0]), "".join(code.text(at) for at in part[1:])
            kind, record = f"simt_type_{name}", f"simt_variable_{name}"
            out.append(f"using {kind} = {base} {shape}")
            if self.strict:
                out.append(f"threadgroup {kind}& {name} = ::metal::sim_threadgroup_storage<{kind}>()")
                continue
            fields = f'(const void*)&{function}, "{name}", {code.tokens[first].line}, sizeof({kind})'
            attribute = '__attribute__((used, section("simt_threadgroup")))'
            out.append(f"{attribute} static SimtThreadgroupVariable {record} = {{{fields}}}")
            out.append(f"{kind}& {name} = ::metal::sim_threadgroup_variable<{kind}>({record})")
        self._blank(first, last)
        self.texts[first] = "; ".join(out)

    def _stray_threadgroup_variables(self) -> None:
        """Reject threadgroup variables outside kernels, and those that _kernel() did not recognise."""
        code = self.code
        for at in code.significant(0, len(code)):
            if self.texts[at] != "threadgroup":
                continue
            end = at
            while code.text(end) not in (";", "{", "(", ")", ",", "=", ">", ""):
                end = code.next(end)
            if code.text(end) == ";" and not self._declares_pointer(at, end):
                place = code.tokens[at].place
                raise ShaderError(
                    f"{place}: a threadgroup variable stands in a kernel and begins with its qualifier"
                )

    def _instantiation(self, first: int, last: int) -> None:
        for begin, end, _ in find_attributes(self.code, first, last):
            self._blank(begin, end)
        for at in self.code.significant(first, last):
            if self.code.text(at) == "kernel":
                self.texts[at] = ""

    def _constant_uses(self) -> None:
        code = self.code
        declared = {
            at for site in self.found.constants if site.constant for at in range(site.first, site.last)
        }
        for at in code.significant(0, len(code)):
            site = self.constants.get(code.text(at))
            if site is None or at in declared or not self.texts[at]:
                continue
            before = code.previous(at)
            if code.text(before) in (".", "->"):
                continue
            if site.expression and site.first <= at < site.expression[0]:
                continue
            self._reject_shadow(at, before)
            if (
                code.text(before) == "("
                and code.text(code.previous(before)) == "is_function_constant_defined"
            ):
                self._defined_query(site, before, at)
            elif not self.strict:
                self.texts[at] = self.value(site)

    def _reject_shadow(self, at: int, before: int) -> None:
        token = self.code.tokens[before]
        follows = self.code.text(self.code.next(at))
        declares = token.kind == "identifier" and token.text not in STATEMENT_WORDS
        if declares or (
            token.text in ("&", "*", ">")
            and follows in (")", ",", ";", "=", "[")
            and self._is_type_before(before)
        ):
            place = self.code.tokens[at].place
            raise ShaderError(
                f"{place}: '{self.code.text(at)}' is a function constant: its name cannot be reused"
            )

    def _is_type_before(self, at: int) -> bool:
        word = self.code.text(self.code.previous(at))
        return word in ELEMENTS or word in VECTORS

    def _defined_query(self, site: ConstantSite, opening: int, at: int) -> None:
        if site.constant is None:
            raise ShaderError(f"{self.code.tokens[at].place}: '{site.name}' is not a function constant")
        site.constant.optional = True
        if not self.strict:
            self.texts[self.code.previous(opening)] = "::metal::sim_function_constant_defined"
            self.texts[at] = str(site.constant.index)

    def value(self, site: ConstantSite) -> str:
        """Return the C++ expression that reads a constant of the running dispatch."""
        if site.constant is None:
            return f"simt_computed_{site.name}()"
        return f'(::metal::sim_function_constant<{site.type}>({site.constant.index}, "{site.name}"))'

    def _constant(self, site: ConstantSite) -> None:
        if site.expression is None:
            self._blank(site.first, site.last)
            if self.strict:
                self.texts[site.first] = f"extern constant {site.type} {site.name}"
        elif not self.strict:
            self._blank(site.first, site.expression[0])
            self.texts[site.first] = (
                f"static inline {site.type} simt_computed_{site.name}() {{ return {site.type}("
            )
            self.texts[site.last] = "); }"

    def _constructors(self) -> None:
        """Rewrite functional casts to vectors, which clang would reject or misread; reject C casts."""
        code = self.code
        for at in code.significant(0, len(code)):
            word = code.text(at)
            if not self.texts[at] or code.text(code.previous(at)) in (
                "operator",
                ".",
                "->",
                "struct",
                "using",
            ):
                continue
            end = at
            if word == "vec" and code.text(code.next(at)) == "<":
                end = code.closing_angle(code.next(at))
                if end < 0:
                    continue
            elif word not in self.constructible:
                continue
            following = code.next(end)
            if code.text(following) == "(":
                self._construct(at, end)
            elif code.text(following) == ")" and (word == "vec" or word in VECTORS):
                self._reject_c_cast(at, following)

    def _construct(self, first: int, last: int) -> None:
        code = self.code
        start = first
        while code.text(code.previous(start)) == "::":  # metal::float4(x), ::metal::vec<T, 4>(x)
            qualifier = code.previous(code.previous(start))
            start = code.previous(start)
            if qualifier >= 0 and code.tokens[qualifier].kind == "identifier":
                start = qualifier
        before = code.tokens[code.previous(start)] if code.previous(start) >= 0 else None
        if before and before.kind == "identifier" and before.text not in STATEMENT_WORDS | {"typename"}:
            return  # a declarator such as `float4 T(...)`, not an expression
        if before and before.text == "typename":
            start = code.previous(start)
        self.texts[start] = "::metal::sim_construct<" + self.texts[start]
        self.texts[last] += ">"

    def _reject_c_cast(self, at: int, closing: int) -> None:
        code = self.code
        opening = code.previous(at)
        before = code.tokens[code.previous(opening)] if code.previous(opening) >= 0 else None
        following = code.tokens[code.next(closing)] if code.next(closing) < len(code) else None
        if code.text(opening) != "(" or before is None or following is None:
            return
        if before.kind == "identifier" and before.text not in STATEMENT_WORDS:
            return
        if following.kind in ("identifier", "number") or following.text == "(":
            place: Token = code.tokens[at]
            raise ShaderError(f"{place.place}: C-style cast to a vector type: write {code.text(at)}(...)")


def check_includes(code: Code) -> None:
    """Require that the shader includes metal_stdlib, as Apple's compiler would."""
    marks = (token.text.strip() for token in code.tokens if token.kind == "directive")
    if not any(mark == f"{INCLUDE_MARK} metal_stdlib" for mark in marks):
        file = next((token.file for token in reversed(code.tokens) if token.file), "shader")
        raise ShaderError(f"{file}: <metal_stdlib> is not included")


def rewrite(expanded: str, strict: bool) -> tuple[str, Reflection, dict[str, str]]:
    """Return C++ text, reflection and the C++ expression of every constant of an expanded shader."""
    rewriter = Rewriter(expanded, strict)
    check_includes(rewriter.code)
    text = rewriter.run()
    reflection = Reflection(
        [site.kernel for site in rewriter.found.kernels],
        sorted(
            (s.constant for s in rewriter.found.constants if s.constant), key=lambda constant: constant.index
        ),
    )
    return text, reflection, {name: rewriter.value(site) for name, site in rewriter.constants.items()}
