"""Runs groups of items in interleaved rounds, each implementation in a process of its own."""

from __future__ import annotations

import dataclasses
import json
import os
import select
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from . import machine
from .cases import Case, kind_of
from .machine import ROOT

START_SECONDS, ANSWER_SECONDS = 120, 400
# Time after which an item has had its share, whatever rounds are left.
ITEM_SECONDS = 25.0


@dataclasses.dataclass(frozen=True)
class Group:
    """What is measured together, in turn, so that whatever disturbs the machine disturbs all of it."""

    section: str
    case: Case
    threads: int
    entries: tuple[tuple[str, str], ...]


@dataclasses.dataclass(frozen=True)
class Effort:
    """How long to measure: rounds over all items, seconds of calls in each, bytes that keep caches cold."""

    rounds: int = 7
    seconds: float = 0.08
    cold_bytes: int = 256 << 20
    cpu_time: bool = False


class Process:
    """A worker and the line protocol to it."""

    def __init__(self, name: str, threads: int, baseline: str | None, cpu_time: bool) -> None:
        count = str(threads)
        environment = dict(os.environ, BENCH_THREADS=count)
        if cpu_time:
            environment["BENCH_CPU_TIME"] = "1"
        for variable in (
            "OMP_NUM_THREADS",
            "OPENBLAS_NUM_THREADS",
            "MKL_NUM_THREADS",
            "METALHEAD_NUM_THREADS",
        ):
            environment[variable] = count
        # What one group frees should be there for the next one's peers.
        environment["METALHEAD_POOL_LIMIT_MB"] = "64"
        if name == "baseline" and baseline:
            environment["PYTHONPATH"] = os.pathsep.join([baseline, environment.get("PYTHONPATH", "")])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", name],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.pid = self._process.pid
        self.started = self.ask(START_SECONDS, do="start")

    def ask(self, patience: float, **request: Any) -> dict[str, Any]:
        """Send one request and wait for its answer; a worker that dies or hangs answers with ``failed``."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        try:
            stdin.write(json.dumps(request) + "\n")
            stdin.flush()
        except BrokenPipeError:
            return {"failed": f"its process ended with status {self._process.poll()}"}
        if not select.select([stdout], [], [], patience)[0]:
            self._process.kill()
            return {"failed": f"no answer within {patience:.0f} s"}
        line = stdout.readline()
        if not line:
            return {"failed": f"its process ended with status {self._process.wait()}"}
        answer: dict[str, Any] = json.loads(line)
        return answer

    def alive(self) -> bool:
        """Whether it can be asked again."""
        return self._process.poll() is None and "failed" not in self.started

    def stop(self) -> None:
        """End it by closing its input."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Driver:
    """Measures groups; workers of one number of threads live as long as it does."""

    def __init__(self, effort: Effort, say: Callable[[str], None], baseline: str | None = None) -> None:
        self.effort = effort
        self.versions: dict[str, str] = {}
        self.missing: dict[str, str] = {}
        self._say = say
        self._baseline = baseline
        self._workers: dict[tuple[str, int], Process] = {}

    def measure(self, group: Group) -> list[dict[str, Any]]:
        """Results of all entries of a group, those that failed included."""
        prepared: list[tuple[Process, int, dict[str, Any]]] = []
        results = []
        for index, (name, variant) in enumerate(group.entries):
            worker = self._worker(name, group.threads)
            if worker is None:
                continue
            result = self._prepare(worker, index, group, name, variant)
            results.append(result)
            if "failed" not in result:
                prepared.append((worker, index, result))
        others = machine.Others({worker.pid for worker, _, _ in prepared})
        self._rounds(prepared)
        share = others.share()
        for worker in {id(worker): worker for worker, _, _ in prepared}.values():
            worker.ask(ANSWER_SECONDS, do="release")
        for result in results:
            result["others"] = share
            if result["samples"]:
                result["seconds"] = statistics.median(result["samples"])
        return results

    def _prepare(self, worker: Process, index: int, group: Group, name: str, variant: str) -> dict[str, Any]:
        case, cold = group.case, self.effort.cold_bytes
        result: dict[str, Any] = {
            "section": group.section,
            "case": dataclasses.asdict(case),
            "threads": group.threads,
            "implementation": name,
            "variant": variant,
            "samples": [],
        }
        # The item, and what it is filled from; the sizes of peers' kinds are known, limits' are small.
        size = 0 if name in ("limits", "floor") else case.bytes(kind_of(variant))
        needed = (
            max(size, cold if case.op == "decode" else size) + size + case.bytes("f32") // 4 + (256 << 20)
        )
        if needed > machine.available_bytes():
            return result | {"failed": f"needs {needed >> 20} MiB of memory"}
        answer = worker.ask(
            ANSWER_SECONDS,
            do="prepare",
            id=index,
            case=dataclasses.asdict(case),
            variant=variant,
            cold_bytes=cold,
        )
        return result | answer

    def _rounds(self, prepared: list[tuple[Process, int, dict[str, Any]]]) -> None:
        spent = [0.0] * len(prepared)
        for turn in range(self.effort.rounds):
            order = list(range(len(prepared)))
            for at in order if turn % 2 == 0 else reversed(order):
                worker, index, result = prepared[at]
                if "failed" in result or (turn > 2 and spent[at] > ITEM_SECONDS):
                    continue
                least = 1 if result["once"] > 0.2 else 3
                start = time.perf_counter()
                answer = worker.ask(
                    ANSWER_SECONDS, do="sample", id=index, seconds=self.effort.seconds, least=least
                )
                spent[at] += time.perf_counter() - start
                if "failed" in answer:
                    result["failed"] = answer["failed"]
                else:
                    result["samples"].append(answer["seconds"])
                # Threads of a runtime spin for a while after their work; let them go to sleep.
                time.sleep(0.004)

    def _worker(self, name: str, threads: int) -> Process | None:
        if name in self.missing or (name == "baseline" and self._baseline is None):
            return None
        worker = self._workers.get((name, threads))
        if worker is None or not worker.alive():
            worker = Process(name, threads, self._baseline, self.effort.cpu_time)
            if "failed" in worker.started:
                self.missing[name] = worker.started["failed"]
                self._say(f"-- {name}: skipped, {worker.started['failed']}")
                return None
            self.versions[name] = worker.started["version"]
            self._workers[name, threads] = worker
        return worker

    def stop(self) -> None:
        """End all workers."""
        for worker in self._workers.values():
            worker.stop()
        self._workers.clear()
