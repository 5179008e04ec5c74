"""Checks a cross-built wheel: its tag, the extension's architecture and system, every undefined symbol."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

HERE = Path(__file__).parent
ALLOWED = HERE / "allowed_symbols.txt"
STUB_LISTS = {"symbols": "", "weak-symbols": "", "thread-local-symbols": "", "objc-classes": "_OBJC_CLASS_$_"}


def allowed_patterns() -> list[re.Pattern[str]]:
    """Return the patterns of allowed_symbols.txt, comments and empty lines left out."""
    lines = (line.split("#")[0].strip() for line in ALLOWED.read_text().splitlines())
    return [re.compile(line) for line in lines if line]


def exported_symbols(stub: str) -> set[str]:
    """Return the symbols that the text of a linker stub (.tbd, version 4) lists."""
    names = set()
    for key, prefix in STUB_LISTS.items():
        for block in re.findall(rf"^\s*{key}:\s*\[(.*?)\]", stub, re.DOTALL | re.MULTILINE):
            names.update(prefix + name.strip().strip("'\"") for name in block.split(",") if name.strip())
    return names


def provided_symbols() -> set[str]:
    """Return what our own stubs list of Apple's frameworks, and zig's stub of the C library."""
    package = importlib.util.find_spec("ziglang")
    if package is None or package.origin is None:
        raise ModuleNotFoundError("ziglang is not installed: its stub lists the symbols of macOS's C library")
    libraries = Path(package.origin).parent / "lib" / "libc" / "darwin" / "libSystem.tbd"
    stubs = [*(HERE / "sdk").rglob("*.tbd"), libraries]
    return set().union(*(exported_symbols(stub.read_text()) for stub in stubs))


def unknown_symbols(undefined: Iterable[str]) -> list[str]:
    """Return those that neither macOS nor the interpreter is known to provide."""
    patterns, provided = allowed_patterns(), provided_symbols()
    return sorted(
        symbol
        for symbol in undefined
        if symbol not in provided and not any(pattern.fullmatch(symbol) for pattern in patterns)
    )


def run_tool(name: str, *arguments: str) -> str:
    """Return what an LLVM tool prints; raise FileNotFoundError if it is not installed."""
    tool = shutil.which(f"{name}-19")
    if tool is None:
        raise FileNotFoundError(f"{name}-19 not found: install llvm-19")
    return subprocess.run([tool, *arguments], capture_output=True, text=True, check=True).stdout


def extension_problems(extension: Path) -> list[str]:
    """Return what is wrong with the shared library itself."""
    problems = []
    headers = run_tool("llvm-otool", "-l", str(extension))
    if "minos 14.0" not in headers:
        problems.append("the extension's minimum system is not macOS 14.0")
    if "Metal.framework" not in headers:
        problems.append("the extension does not load the Metal framework")
    if "arm64" not in run_tool("llvm-objdump", "--macho", "--private-header", str(extension)).lower():
        problems.append("the extension is not for arm64")
    undefined = run_tool("llvm-nm", "--undefined-only", "--just-symbol-name", str(extension)).split()
    problems += [
        f"undefined symbol {symbol}: neither a stub nor {ALLOWED.name} lists it"
        for symbol in unknown_symbols(undefined)
    ]
    if (
        "_PyInit__core"
        not in run_tool("llvm-nm", "--defined-only", "--just-symbol-name", str(extension)).split()
    ):
        problems.append("the extension does not export PyInit__core")
    print(f"cross: {extension.name}: {len(undefined)} undefined symbols checked")
    return problems


def main() -> int:
    """Command line: the wheel."""
    wheel = Path(sys.argv[1])
    problems = (
        []
        if wheel.name.endswith("-macosx_14_0_arm64.whl")
        else [f"{wheel.name} is not tagged for macOS 14 on arm64"]
    )
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(wheel) as archive:
        extensions = [name for name in archive.namelist() if name.endswith(".so")]
        if len(extensions) != 1:
            problems.append(f"the wheel must hold one extension, holds {extensions}")
        for name in extensions:
            problems += extension_problems(Path(archive.extract(name, folder)))
    for problem in problems:
        print(f"cross: {problem}")
    print(f"cross: {wheel.name}: {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
