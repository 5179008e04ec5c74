"""Runs a shader library built with sanitizers in a child process that has their runtime loaded first."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import ShaderError
from .toolchain import ROOT, find_tool, run_tool

if TYPE_CHECKING:
    from .simt import Call

REPORT_MARKS = ("ERROR: AddressSanitizer", "runtime error:")


def sanitizer_environment() -> dict[str, str]:
    """Return the environment in which Python can load a library built with AddressSanitizer."""
    machine = os.uname().machine
    found = run_tool([find_tool("clang++"), f"-print-file-name=libclang_rt.asan-{machine}.so"]).stdout.strip()
    if not Path(found).is_file():
        raise ShaderError("the AddressSanitizer runtime is missing: install libclang-rt-19-dev")
    symbolizer = find_tool("llvm-symbolizer")
    return {
        **os.environ,
        "LD_PRELOAD": found,
        "ASAN_OPTIONS": f"detect_leaks=0:halt_on_error=1:external_symbolizer_path={symbolizer}",
        "UBSAN_OPTIONS": f"print_stacktrace=1:external_symbolizer_path={symbolizer}",
        "PYTHONMALLOC": "malloc",
    }


def report_of(text: str) -> str:
    """Return the lines of a sanitizer report that name the error and the shader lines."""
    lines = text.splitlines()
    first = next((n for n, line in enumerate(lines) if any(mark in line for mark in REPORT_MARKS)), None)
    if first is None:
        return text[-2000:]
    frames = [line.strip() for line in lines[first + 1 :] if line.lstrip().startswith("#")]
    return "\n".join([lines[first].strip(), *frames[:6]])


class WorkerLibrary:
    """A compiled shader library in a child process that serves requests until a report ends it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.process: subprocess.Popen[bytes] | None = None
        self.report = tempfile.TemporaryFile()  # noqa: SIM115
        weakref.finalize(self, WorkerLibrary._stop, self.__dict__)

    @staticmethod
    def _stop(state: dict[str, Any]) -> None:
        process = state["process"]
        if process is not None:
            process.stdin.close()
            process.wait()

    def _start(self) -> subprocess.Popen[bytes]:
        self.report = tempfile.TemporaryFile()  # noqa: SIM115
        command = [sys.executable, "-m", "tools.metal.simt_worker", str(self.path)]
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.report, cwd=ROOT,
            env=sanitizer_environment(),
        )  # fmt: skip

    def _ask(self, request: Any) -> tuple[Any, str]:
        self.process = self.process or self._start()
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            pickle.dump(request, self.process.stdin)
            self.process.stdin.flush()
            return pickle.load(self.process.stdout), ""
        except (EOFError, BrokenPipeError, pickle.UnpicklingError):
            process, self.process = self.process, None
            process.communicate()
            self.report.seek(0)
            return None, report_of(self.report.read().decode(errors="replace"))

    def kernels(self) -> dict[str, dict[str, Any]]:
        """Return the description of every kernel by host name."""
        described, error = self._ask(None)
        if error:
            raise ShaderError(error)
        found: dict[str, dict[str, Any]] = described
        return found

    def run(self, call: Call) -> dict[str, Any]:
        """Run one dispatch in the child; buffers are copied there and back."""
        answer, error = self._ask(call)
        if error:
            return {"error": error, "counters": {"traffic": []}}
        outcome: dict[str, Any] = answer[0]
        for index, array in call.buffers.items():
            if array.flags.writeable:
                array[...] = answer[1][index]
        return outcome


def main() -> int:
    """Serve requests from standard input until it ends: a Call, or None to describe the kernels."""
    from .simt import LoadedLibrary

    library = LoadedLibrary(Path(sys.argv[1]))
    while True:
        try:
            call = pickle.load(sys.stdin.buffer)
        except EOFError:
            return 0
        answer: Any = library.kernels() if call is None else (library.run(call), call.buffers)
        pickle.dump(answer, sys.stdout.buffer)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    sys.exit(main())
