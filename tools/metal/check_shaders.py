"""Checks shaders as strictly as Linux allows: real address spaces, C++14, and rules that clang lacks."""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from .ast_lint import AstLint
from .build import cache_folder, compile_once, digest
from .errors import ShaderError
from .expand import expand
from .reflection import Reflection
from .rewrite import rewrite
from .toolchain import SHIM, find_tool, run_tool

STRICT_FLAGS = (
    "-std=c++14", "-nostdinc", "-nostdinc++", f"-isystem{SHIM}", "-ffreestanding", "-fno-exceptions",
    "-fno-rtti", "-fno-threadsafe-statics", "-DMETALHEAD_SIM_STRICT",
    "-Xclang", "-cl-single-precision-constant",
)  # fmt: skip
WARNINGS = (
    "-Wall", "-Wextra", "-Wvla", "-Wgnu", "-Wuninitialized", "-Wconditional-uninitialized",
    "-Wimplicit-float-conversion", "-Wc++17-extensions", "-Werror", "-Wno-unused-parameter",
    "-Wno-unknown-attributes", "-Wno-unknown-pragmas", "-Wno-undefined-internal",
    "-Wno-duplicate-decl-specifier", "-Wno-missing-braces", "-Wno-pass-failed",
)  # fmt: skip


def precompiled_shim() -> Path:
    """Return the shim as a precompiled header, so that the syntax tree holds the shader alone."""
    stamps = [f"{path}:{path.stat().st_mtime_ns}" for path in sorted(SHIM.iterdir())]
    output = cache_folder() / f"strict-{digest([*stamps, *STRICT_FLAGS])}.pch"
    header = cache_folder() / f"{output.stem}.h"
    header.write_text("#include <metal_stdlib>\n") if not header.exists() else None
    compile_once(
        output, [(find_tool("clang++"), "-x", "c++-header", *STRICT_FLAGS, header, "-o", "{output}")]
    )
    return output


def compile_strict(text: str) -> tuple[list[str], str]:
    """Return the compiler's diagnostics and, without errors, the syntax tree as JSON."""
    shim = precompiled_shim()
    with tempfile.NamedTemporaryFile("w", suffix=".cpp") as file:
        file.write(text)
        file.flush()
        command = (find_tool("clang++"), "-x", "c++", *STRICT_FLAGS, *WARNINGS, "-include-pch", shim)
        result = run_tool((*command, "-fsyntax-only", "-Xclang", "-ast-dump=json", file.name))
    lines = [
        line
        for line in result.stderr.splitlines()
        if re.search(r": (fatal )?(error|warning): |: note: in instantiation", line)
    ]
    if result.returncode != 0 and not lines:
        lines = [result.stderr.strip() or "the compiler failed without a diagnostic"]
    return lines, result.stdout


def check(
    path: Path, include_dirs: Sequence[Path] = (), defines: Sequence[str] = ()
) -> tuple[list[str], Reflection | None]:
    """Return the findings for one shader and its reflection; no finding means that it passed."""
    try:
        text, reflection, _ = rewrite(expand(path, include_dirs, defines), strict=True)
    except ShaderError as error:
        return str(error).splitlines(), None
    diagnostics, tree = compile_strict(text)
    if diagnostics:
        return diagnostics, reflection
    findings = AstLint(text).run(json.loads(tree))
    if not any(kernel.host_names for kernel in reflection.kernels):
        findings.append(f"{path}: no kernel that the host could find")
    return findings, reflection


def shaders_in(paths: Iterable[Path]) -> list[Path]:
    """Return the .metal files named by or below the paths; raise ShaderError where one names none."""
    found: list[Path] = []
    for path in paths:
        files = sorted(path.rglob("*.metal")) if path.is_dir() else [path]
        if not files or not all(file.is_file() for file in files):
            raise ShaderError(f"{path}: no shader here")
        found += files
    return found


def main() -> int:
    """Command line: check shaders; exit status 1 if any has a finding."""
    parser = argparse.ArgumentParser(description="Check .metal files strictly.")
    parser.add_argument("paths", type=Path, nargs="+", help=".metal files, or folders of them")
    parser.add_argument(
        "--reflection", type=Path, help="write kernels, bindings and constants of all files as JSON"
    )
    parser.add_argument("-I", dest="include_dirs", type=Path, action="append", default=[])
    parser.add_argument("-D", dest="defines", action="append", default=[])
    options = parser.parse_args()
    table, failed = {}, 0
    try:
        shaders = shaders_in(options.paths)
    except ShaderError as error:
        print(error, file=sys.stderr)
        return 2
    for path in shaders:
        findings, reflection = check(path, options.include_dirs, options.defines)
        for finding in findings:
            print(finding, file=sys.stderr)
        failed += bool(findings)
        if reflection is not None:
            table[str(path)] = reflection.to_json()
            names = sum(len(kernel.host_names) for kernel in reflection.kernels)
            print(f"{path}: {'FAILED' if findings else 'ok'}, {names} kernels")
        else:
            print(f"{path}: FAILED")
    if options.reflection:
        options.reflection.write_text(json.dumps(table, indent=1) + "\n")
    print(f"{len(shaders) - failed} of {len(shaders)} shaders passed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
