"""Checks what shaders declare against what the host binds: slots, function constants, the params struct."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
ENUM_ROW = re.compile(r"(k\w+) = (\d+),?(?:\s*///< (\w+))?")
SLOT_ENUMS = ("AttentionSlot", "CodecSlot")
HOST_THREADGROUP_INDEX = 0


def enum_rows(header: str, name: str) -> list[tuple[str, int, str]]:
    """Return (constant, value, first word of its comment) of one enum of function_constants.h."""
    body = header.split(f"enum {name} ", 1)[1].split("};", 1)[0]
    return [(row[0], int(row[1]), row[2]) for row in ENUM_ROW.findall(body)]


def constant_problems(kernel: str, constants: list[Mapping[str, Any]], types: Mapping[int, str]) -> list[str]:
    """Return what is wrong with a kernel's function constants; ``types`` is what the host passes by index."""
    problems = []
    for constant in constants:
        place = f"{kernel}: function constant {constant['name']}"
        expected = types.get(constant["index"])
        if expected is None:
            problems.append(f"{place} has unknown index {constant['index']}")
        elif constant["type"] != expected:
            problems.append(f"{place} is {constant['type']}, the host sets {expected}")
    return problems


def argument_problems(
    kernel: str, arguments: list[Mapping[str, Any]], slots: set[int], params: int
) -> list[str]:
    """Return what is wrong with a kernel's buffer and threadgroup arguments."""
    problems = []
    for argument in arguments:
        place = f"{kernel}: {argument['name']} at {argument['kind']} index {argument['index']}"
        if argument["kind"] == "threadgroup" and argument["index"] != HOST_THREADGROUP_INDEX:
            problems.append(f"{place}: the host sets a length for index {HOST_THREADGROUP_INDEX} only")
        if argument["kind"] != "buffer":
            continue
        if argument["index"] == params:
            if not re.fullmatch(r"constant \w+Params ?&", argument["type"]):
                problems.append(f"{place}: must be `constant SomethingParams&`, is {argument['type']}")
        elif argument["index"] not in slots:
            problems.append(f"{place}: no slot of function_constants.h has that index")
    return problems


def check_reflection(reflection: Mapping[str, Any], header: Path) -> list[str]:
    """Return every disagreement between one shader's reflection and the host's header."""
    text = header.read_text()
    rows = enum_rows(text, "FunctionConstantIndex")
    types = {value: "bool" if comment == "bool" else "uint" for _, value, comment in rows}
    slots = {value for name in SLOT_ENUMS for _, value, _ in enum_rows(text, name)}
    params = enum_rows(text, "ParamsSlot")[0][1]
    problems: list[str] = []
    for host_name, kernel in reflection["kernels"].items():
        problems += argument_problems(host_name, kernel["arguments"], slots, params)
        problems += constant_problems(host_name, kernel["function_constants"], types)
    return sorted(set(problems))


def reflect(shader: Path) -> Mapping[str, Any]:
    """Return the shader's reflection; raise RuntimeError with the tool's text if it is malformed."""
    command = [
        sys.executable,
        "-m",
        "tools.metal.generate",
        str(shader),
        "--json",
        "-",
        "-I",
        str(ROOT / "metal"),
    ]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    if result.returncode != 0:
        raise RuntimeError(f"{shader.name}: {result.stderr.strip()}")
    reflection: Mapping[str, Any] = json.loads(result.stdout)
    return reflection


def main() -> int:
    """Command line: check every shader in metal/; 0 if all agree."""
    shaders = sorted((ROOT / "metal").glob("*.metal"))
    problems: list[str] = []
    kernels = 0
    for shader in shaders:
        reflection = reflect(shader)
        kernels += len(reflection["kernels"])
        problems += check_reflection(reflection, ROOT / "metal" / "params" / "function_constants.h")
    for problem in problems:
        print(f"bindings: {problem}")
    print(f"bindings: {kernels} kernels in {len(shaders)} shaders: {len(problems)} disagreements")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
