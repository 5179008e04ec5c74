"""Generates the C++ translation unit that runs a shader: rewritten text, then registration of the kernels."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from .errors import ShaderError
from .expand import expand
from .reflection import POSITIONS, Argument, Kernel, Reflection
from .rewrite import rewrite


def quote(text: str | None) -> str:
    """Return a C string literal, or nullptr for None."""
    return "nullptr" if text is None else '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def argument_row(argument: Argument, values: Mapping[str, str]) -> str:
    """Return the initialiser of one SimtArgument; ``values`` holds the C++ expression of each constant."""
    enabled = "nullptr"
    if argument.condition is not None:
        if argument.condition not in values:
            raise ShaderError(
                f"argument '{argument.name}': '{argument.condition}' is not a function constant"
            )
        enabled = f"[]() -> bool {{ return {values[argument.condition]}; }}"
    kinds = {"buffer": "kSimtBuffer", "threadgroup": "kSimtThreadgroup"}
    kind = kinds.get(argument.kind) or POSITIONS[argument.attribute]
    access = "kSimtRead" if argument.access == "read" else "kSimtReadWrite"
    texts = [quote(text) for text in (argument.name, argument.type)]
    fields = (kind, str(argument.index), *texts, access, quote(argument.condition), enabled)
    return f"    {{{', '.join(fields)}, 0, 0}},"


def kernel_rows(kernel: Kernel, number: int, values: Mapping[str, str]) -> list[str]:
    """Return the argument table of a kernel and one registration for each host name."""
    lines = [f"const SimtArgument arguments_{number}[] = {{"]
    lines += [argument_row(argument, values) for argument in kernel.arguments]
    lines += ["    {kSimtBuffer, -1, nullptr, nullptr, kSimtRead, nullptr, nullptr, 0, 0}};"]
    for count, (host_name, target) in enumerate(kernel.host_names.items()):
        lines.append(
            f"const metalhead_simt::Registration<&{target}> kernel_{number}_{count}({quote(host_name)},"
            f" {quote(kernel.file)}, {kernel.line}, arguments_{number}, {len(kernel.arguments)}, constants,"
            f" constant_count, {kernel.max_threads_per_threadgroup});"
        )
    return lines


def registration(reflection: Reflection, values: Mapping[str, str]) -> str:
    """Return the C++ text that registers all kernels of a shader."""
    lines = ['#line 1 "registration"', "#include <simt_register>", "namespace {"]
    lines.append("const SimtConstant constants[] = {")
    for constant in reflection.constants:
        optional = "true" if constant.optional else "false"
        row = (
            str(constant.index),
            quote(constant.name),
            quote(constant.type),
            f"sizeof({constant.type})",
            optional,
        )
        lines.append(f"    {{{', '.join(row)}}},")
    lines += [
        "    {-1, nullptr, nullptr, 0, false}};",
        f"const int constant_count = {len(reflection.constants)};",
    ]
    for number, kernel in enumerate(reflection.kernels):
        lines += kernel_rows(kernel, number, values)
    return "\n".join([*lines, "}  // namespace", ""])


def generate(
    path: Path, include_dirs: Sequence[Path] = (), defines: Sequence[str] = ()
) -> tuple[str, Reflection]:
    """Return the executable C++ text of a shader and its reflection.

    Raises ShaderError where the shader is malformed or declares no kernel that the host could find.
    """
    rolled = (
        *defines,
        "METALHEAD_UNROLL=",
    )  # a GPU keeps unrolled arrays in registers; here they only take long to compile
    text, reflection, values = rewrite(expand(path, include_dirs, rolled, "c++17"), strict=False)
    if not any(kernel.host_names for kernel in reflection.kernels):
        raise ShaderError(
            f"{path}: no kernel: neither a plain kernel nor an instantiation with [[host_name]]"
        )
    return text + "\n" + registration(reflection, values), reflection


def main() -> int:
    """Command line: write the C++ text of one shader, and its reflection as JSON."""
    parser = argparse.ArgumentParser(description="Generate the C++ translation unit that runs a .metal file.")
    parser.add_argument("shader", type=Path)
    parser.add_argument("--output", type=Path, help="C++ file to write")
    parser.add_argument("--json", type=Path, help="reflection to write ('-' for standard output)")
    parser.add_argument("-I", dest="include_dirs", type=Path, action="append", default=[])
    parser.add_argument("-D", dest="defines", action="append", default=[])
    options = parser.parse_args()
    try:
        text, reflection = generate(options.shader, options.include_dirs, options.defines)
    except ShaderError as error:
        print(error, file=sys.stderr)
        return 1
    if options.output:
        options.output.write_text(text)
    if options.json:
        table = json.dumps(reflection.to_json(), indent=1)
        print(table) if str(options.json) == "-" else options.json.write_text(table + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
