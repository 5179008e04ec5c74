"""Compiles shaders and the SIMT runtime into one shared library, cached by content."""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

from .errors import ShaderError
from .generate import generate
from .toolchain import NUMERIC_FLAGS, ROOT, RUNTIME, SHIM, find_tool, machine_flags, run_tool

Mode = Literal["plain", "instrumented", "asan"]
MODES: tuple[Mode, ...] = ("plain", "instrumented", "asan")

# -fmax-type-align: a misaligned vector must not crash a plain run; the other modes report it.
MODE_FLAGS: dict[Mode, tuple[str, ...]] = {
    "plain": ("-O2", "-fmax-type-align=4"),
    "instrumented": (
        "-O1", "-fno-vectorize", "-fno-slp-vectorize", "-fsanitize=thread", "-DMETALHEAD_SIM_INSTRUMENTED",
        "-mllvm", "-tsan-instrument-func-entry-exit=0", "-mllvm", "-tsan-instrument-read-before-write=1",
    ),
    "asan": ("-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"),
}  # fmt: skip
SHADER_FLAGS = (
    "-x", "c++", "-std=c++17", "-nostdinc", "-nostdinc++", f"-isystem{SHIM}", "-ffreestanding", "-fPIC",
    "-fvisibility=hidden", "-fno-exceptions", "-fno-rtti", "-fno-threadsafe-statics", "-fno-strict-aliasing",
    "-ftls-model=initial-exec", "-gline-tables-only", "-ffile-compilation-dir=.", "-w", *NUMERIC_FLAGS,
)  # fmt: skip
RUNTIME_FLAGS = (
    "-std=c++20", "-fPIC", "-fvisibility=hidden", "-ftls-model=initial-exec", "-g1",
    "-Wall", "-Wextra", f"-I{SHIM}",
)  # fmt: skip


def cache_folder() -> Path:
    """Return the folder of compiled libraries: METALHEAD_SIMT_CACHE, or .cache/simt in the repository."""
    folder = Path(os.environ.get("METALHEAD_SIMT_CACHE", ROOT / ".cache" / "simt"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def digest(parts: Iterable[str | bytes]) -> str:
    """Return a short content hash."""
    state = hashlib.sha256()
    for part in parts:
        state.update(part.encode() if isinstance(part, str) else part)
        state.update(b"\0")
    return state.hexdigest()[:24]


def compile_once(output: Path, commands: Sequence[Sequence[str | Path]], build_text: str = "") -> None:
    """Run the commands, which write to the paths named {output} and {source}, unless ``output`` exists."""
    if output.exists():
        return
    lock = output.with_suffix(output.suffix + ".lock")
    with lock.open("w") as held, tempfile.TemporaryDirectory(dir=output.parent) as folder:
        fcntl.flock(held, fcntl.LOCK_EX)
        if output.exists():
            return
        source, partial = Path(folder, "shader.cpp"), Path(folder, output.name)
        source.write_text(build_text)
        for command in commands:
            names = {"{output}": str(partial), "{source}": str(source)}
            result = run_tool([names.get(str(part), str(part)) for part in command])
            if result.returncode != 0:
                raise ShaderError(result.stderr.strip() or f"{command[0]} failed")
        partial.rename(output)
    lock.unlink(missing_ok=True)


def runtime_sources(mode: Mode) -> list[Path]:
    """Return the runtime's sources; the access hooks belong to instrumented shaders alone."""
    sources = sorted(RUNTIME.glob("*.cpp"))
    return [source for source in sources if source.name != "tsan_hooks.cpp" or mode == "instrumented"]


def runtime_object(source: Path, mode: Mode) -> Path:
    """Return the compiled form of one source of the runtime."""
    headers = b"".join(path.read_bytes() for path in sorted(RUNTIME.glob("*.h")))
    abi = (SHIM / "simt_kernel_abi.h").read_bytes()
    flags = (*RUNTIME_FLAGS, "-O1", "-fsanitize=address") if mode == "asan" else (*RUNTIME_FLAGS, "-O2")
    output = cache_folder() / f"{source.stem}-{digest([source.read_bytes(), headers, abi, *flags])}.o"
    compile_once(output, [(find_tool("clang++"), *flags, "-c", source, "-o", "{output}")])
    return output


def shader_object(text: str, mode: Mode) -> Path:
    """Return the compiled form of one generated translation unit."""
    shim = b"".join(path.read_bytes() for path in sorted(SHIM.iterdir()))
    flags = (*SHADER_FLAGS, *machine_flags(), *MODE_FLAGS[mode])
    output = cache_folder() / f"shader-{digest([text, shim, *flags])}.o"
    compile_once(output, [(find_tool("clang++"), *flags, "-c", "{source}", "-o", "{output}")], text)
    return output


def compile_shader(
    path: Path, mode: Mode, include_dirs: Sequence[Path] = (), defines: Sequence[str] = ()
) -> Path:
    """Return the object file of one shader, to be linked with the runtime."""
    return shader_object(generate(path, include_dirs, defines)[0], mode)


def build_library(
    shaders: Sequence[Path],
    mode: Mode = "plain",
    include_dirs: Sequence[Path] = (),
    defines: Sequence[str] = (),
) -> Path:
    """Return a shared library with the kernels of all given shaders and the runtime.

    Raises ShaderError with the compiler's text where a shader does not compile.
    """
    if mode not in MODES:
        raise ShaderError(f"mode must be one of {', '.join(MODES)}, got '{mode}'")
    with ThreadPoolExecutor(2) as pool:
        compiled = pool.map(lambda path: compile_shader(path, mode, include_dirs, defines), shaders)
        objects = [*pool.map(lambda source: runtime_object(source, mode), runtime_sources(mode)), *compiled]
    output = cache_folder() / f"simt-{digest([mode, *map(str, objects)])}.so"
    sanitizer = (
        ("-fsanitize=address,undefined", "-shared-libsan") if mode == "asan" else ("--rtlib=compiler-rt",)
    )
    command: list[str | Path] = [
        find_tool("clang++"), "-shared", "-fuse-ld=lld", "-Wl,-Bsymbolic", "-Wl,-z,nostart-stop-gc",
        *sanitizer, *objects, "-l:libboost_context.a", "-o", "{output}",
    ]  # fmt: skip
    compile_once(output, [command])
    return output


def main() -> int:
    """Command line: compile one shader to an object file."""
    parser = argparse.ArgumentParser(description="Compile a .metal file for the SIMT runtime.")
    parser.add_argument("shader", type=Path)
    parser.add_argument("--mode", choices=MODES, default="plain")
    parser.add_argument("--object", type=Path, required=True)
    parser.add_argument("-I", dest="include_dirs", type=Path, action="append", default=[])
    parser.add_argument("-D", dest="defines", action="append", default=[])
    options = parser.parse_args()
    try:
        compiled = compile_shader(options.shader, options.mode, options.include_dirs, options.defines)
    except ShaderError as error:
        print(error, file=sys.stderr)
        return 1
    shutil.copyfile(compiled, options.object)
    return 0


if __name__ == "__main__":
    sys.exit(main())
