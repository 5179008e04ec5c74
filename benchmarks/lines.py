"""Rows of the table from raw results: ours, the best peer, the limit, the ratios, and which goals are met."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from .cases import Case, Limits, class_of, kind_of, limit_seconds
from .peers import PEERS
from .table import Goal, goal

Result = dict[str, Any]


@dataclass
class Line:
    """One row. Times in seconds; `share` is limit over ours, `ratio` best peer over ours."""

    section: str
    case: Case
    threads: int
    variant: str
    seconds: float | None
    goal: Goal
    failed: str = ""
    error: float | None = None
    limit: float | None = None
    bound: str = ""
    best: Result | None = None
    peers: list[Result] = field(default_factory=list)
    floors: list[Result] = field(default_factory=list)
    limits: Limits | None = None
    baseline: float | None = None
    disturbed: float = 0.0

    @property
    def ratio(self) -> float | None:
        """How many times faster than the best peer."""
        return self.best["seconds"] / self.seconds if self.best and self.seconds else None

    @property
    def share(self) -> float | None:
        """The part of the machine's limit that is reached."""
        return self.limit / self.seconds if self.limit and self.seconds else None

    @property
    def rate(self) -> float | None:
        """Bytes of float32 vectors a second that the codec takes in or gives out."""
        if self.case.op not in ("encode", "unpack") or not self.seconds:
            return None
        return self.case.kv_heads * self.case.keys * self.case.head_dim * 4 / self.seconds

    def verdicts(self) -> list[tuple[str, bool | None]]:
        """Each goal in words, and whether it is met; None where what it compares with was not measured."""

        def judge(value: float | None, wanted: float) -> bool | None:
            return None if value is None else value >= wanted

        out: list[tuple[str, bool | None]] = []
        if self.goal.ratio is not None:
            out.append((f"{self.goal.ratio:g} x {self.goal.against}", judge(self.ratio, self.goal.ratio)))
        if self.goal.share is not None:
            out.append((f"{self.goal.share:.0%} of limit", judge(self.share, self.goal.share)))
        if self.goal.rate is not None:
            out.append((f"{self.goal.rate / 1e9:g} GB/s", judge(self.rate, self.goal.rate)))
        if self.goal.seconds is not None:
            met = None if self.seconds is None else self.seconds <= self.goal.seconds
            out.append((f"{self.goal.seconds * 1e6:g} us", met))
        return out

    def met(self) -> bool | None:
        """Whether every goal is met; None if there is none or one could not be judged."""
        verdicts = [met for _, met in self.verdicts()]
        if False in verdicts:
            return False
        return None if not verdicts or None in verdicts else True


PEAKS = ("fma", "bf16-dot", "int8-dot")


def peaks_of(results: Iterable[Result]) -> dict[int, dict[str, float]]:
    """Peak rates for each number of threads: the best sample of the whole run, for cores do not get faster.

    The read rate, in contrast, changes with what neighbours do, and counts beside its own group only.
    """
    best: dict[int, dict[str, float]] = {}
    for result in results:
        if _timed(result, "limits") and result["variant"] in PEAKS:
            rates = best.setdefault(result["threads"], {})
            rate = result["work"] / min(result["samples"])
            rates[result["variant"]] = max(rate, rates.get(result["variant"], 0.0))
    return best


def limits_of(group: Iterable[Result], peaks: dict[str, float]) -> Limits | None:
    """The limits of a group: its own read rate, and the peaks of its number of threads."""
    for result in group:
        if _timed(result, "limits") and result["variant"] == "read":
            read = result["work"] / result["seconds"]
            return Limits(read, peaks.get("fma", float("inf")), *(peaks.get(name, 0.0) for name in PEAKS[1:]))
    return None


def _timed(result: Result, implementation: str) -> bool:
    return result["implementation"] == implementation and "seconds" in result


def groups_of(results: Iterable[Result]) -> list[tuple[str, Case, int, list[Result]]]:
    """Results by section, case and threads, in the order of measurement."""
    found: dict[tuple[str, Case, int], list[Result]] = {}
    for result in results:
        key = (result["section"], Case(**result["case"]), result["threads"])
        found.setdefault(key, []).append(result)
    return [(*key, group) for key, group in found.items()]


def opponents(group: Iterable[Result], against: str, but: str) -> list[Result]:
    """Timed results that a goal's `against` names, the fastest first; never our own variant `but`."""
    found = []
    for result in group:
        if "seconds" not in result:
            continue
        name, variant = result["implementation"], result["variant"]
        if name in PEERS:
            named = against in (name, f"{name} {variant}", "any", class_of(variant))
        else:
            named = name == "metalhead" and against == f"metalhead {variant}" and variant != but
        if named:
            found.append(result)
    return sorted(found, key=lambda result: float(result["seconds"]))


def lines_of(results: list[Result]) -> list[Line]:
    """All rows."""
    lines = []
    peaks = peaks_of(results)
    for section, case, threads, group in groups_of(results):
        limits = limits_of(group, peaks.get(threads, {}))
        peers = sorted(
            (r for r in group if r["implementation"] in PEERS), key=lambda r: r.get("seconds", float("inf"))
        )
        baselines = {r["variant"]: r["seconds"] for r in group if _timed(r, "baseline")}
        for result in (r for r in group if r["implementation"] == "metalhead"):
            variant = result["variant"]
            aim = goal(section, case, variant, threads)
            line = Line(section, case, threads, variant, result.get("seconds"), aim)
            line.failed, line.error = result.get("failed", ""), result.get("error")
            line.limits, line.peers, line.baseline = limits, peers, baselines.get(variant)
            line.floors = [r for r in group if _timed(r, "floor")]
            line.disturbed = max(r.get("others", 0.0) for r in group)
            line.best = next(iter(opponents(group, aim.against, variant)), None)
            if limits is not None:
                line.limit, line.bound = limit_seconds(case, kind_of(variant), limits)
            elif section == "calls":
                line.limit, line.bound = _call_floor(line.floors), "of a call that does nothing"
            lines.append(line)
    return lines


def _call_floor(floors: Iterable[Result]) -> float | None:
    return next((r["seconds"] for r in floors if r["variant"] == "no-operation"), None)


@dataclass
class Finding:
    """A statement over several rows: what is compared, the number, the goal, and whether it is met."""

    what: str
    number: str
    wanted: str
    met: bool


# Per-key time at any length from 4k keys on may be this much above the least: more is a cliff.
CLIFF = 1.25
FLAT = 1.15
SPEED_UP = 1.8


def findings_of(lines: list[Line]) -> list[Finding]:
    """Window decode's independence of length, linear growth, and the second thread's use."""
    out = []
    for variant in ("f16", "tq4"):
        times = [x.seconds for x in lines if x.section == "window" and x.variant == variant and x.seconds]
        if len(times) > 1:
            worst = max(times) / min(times)
            what = f"window decode, {variant}: slowest over fastest cache length"
            out.append(Finding(what, f"{worst:.2f}", f"at most {FLAT}", worst <= FLAT))
    scaling = [x for x in lines if x.section == "scaling" and x.seconds]
    for variant in dict.fromkeys(x.variant for x in scaling):
        two = {x.case.keys: x for x in scaling if x.variant == variant and x.threads == 2}
        one = {x.case.keys: x for x in scaling if x.variant == variant and x.threads == 1}
        if len([keys for keys in two if keys >= 4096]) > 1:
            out.append(_linear(variant, two))
        both = [keys for keys in two if keys in one and keys >= 16384]
        if both:
            out.append(_second_thread(variant, [(one[keys], two[keys]) for keys in both]))
    return out


def _linear(variant: str, lines: dict[int, Line]) -> Finding:
    per_key = {keys: line.seconds / keys for keys, line in lines.items() if keys >= 4096 and line.seconds}
    worst = max(per_key, key=lambda keys: per_key[keys])
    least = min(per_key.values())
    what = f"decode, {variant}: time for one key, worst length ({worst} keys) over best, from 4096 keys on"
    return Finding(what, f"{per_key[worst] / least:.2f}", f"at most {CLIFF}", per_key[worst] / least <= CLIFF)


def _second_thread(variant: str, pairs: list[tuple[Line, Line]]) -> Finding:
    """Two threads over one, against what the limit itself gains (memory may not double)."""
    gain = statistics.median((one.seconds or 0) / (two.seconds or 1) for one, two in pairs)
    possible = statistics.median((one.limit or 0) / (two.limit or 1) for one, two in pairs) or SPEED_UP
    wanted = min(SPEED_UP, 0.9 * possible)
    what = (
        f"decode, {variant}: two threads over one, from 16384 keys on (the limit itself gains {possible:.2f})"
    )
    return Finding(what, f"{gain:.2f}", f"at least {wanted:.2f}", gain >= wanted)
