"""Command line: measure, print the table again, write it into the documentation, draw the chart."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import Any

from . import chart, machine, report, table
from .driver import Driver, Effort, Group
from .lines import findings_of, groups_of, lines_of


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command's options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="measure and print the table")
    run.add_argument("--quick", action="store_true", help="fewer cases and rounds: under two minutes")
    run.add_argument(
        "--only", default=",".join(table.SECTIONS), help="sections, of " + ",".join(table.SECTIONS)
    )
    run.add_argument(
        "--match", default="", help="only cases whose name contains this, e.g. '(32, 8, 128) 4096'"
    )
    run.add_argument("--variants", default="", help="only these of our variants, e.g. f32,tq4")
    run.add_argument("--no-peers", action="store_true", help="ours and the limits only")
    run.add_argument("--threads", type=int, help="this many threads instead of the table's two")
    run.add_argument("--cpu-time", action="store_true", help="with --threads 1, on a busy machine: CPU time")
    run.add_argument("--rounds", type=int, help="rounds over all items (7, quick: 3)")
    run.add_argument(
        "--baseline", help="folder that holds another build's metalhead package: measured beside ours"
    )
    run.add_argument("--json", type=Path, help="write the results here")
    run.add_argument("--update", action="store_true", help="replace only what is measured now in --json")
    show = commands.add_parser("report", help="print the table of saved results")
    show.add_argument("json", type=Path)
    write = commands.add_parser("markdown", help="write the table of saved results into a document")
    write.add_argument("json", type=Path)
    write.add_argument("document", type=Path)
    draw = commands.add_parser("chart", help="draw decode time against keys")
    draw.add_argument("json", type=Path)
    draw.add_argument("png", type=Path)
    options = parser.parse_args(arguments)
    if options.command == "run" and options.update and not (options.json and options.json.exists()):
        parser.error("--update: needs --json with an existing file")
    if options.command == "run" and options.cpu_time and options.threads != 1:
        parser.error("--cpu-time: needs --threads 1, for threads that wait by spinning use CPU time too")
    if options.command == "run" and (unknown := set(options.only.split(",")) - set(table.SECTIONS)):
        parser.error(f"--only: no such section: {', '.join(sorted(unknown))}")
    return options


def chosen(options: argparse.Namespace) -> list[Group]:
    """The groups that the options ask for."""
    variants = set(options.variants.split(",")) if options.variants else None
    groups: list[Group] = []
    for group in table.groups(tuple(options.only.split(",")), options.quick):
        if options.match not in group.case.name:
            continue
        entries = []
        for name, variant in group.entries:
            ours = name in ("metalhead", "baseline")
            if ours and variants is not None and variant not in variants:
                continue
            if options.no_peers and not ours and name not in ("limits", "floor"):
                continue
            entries.append((name, variant))
        threads = options.threads or group.threads
        found = Group(group.section, group.case, threads, tuple(entries))
        if options.threads is None or group.threads != 1:
            groups.append(found)
    return groups


def warn_if_busy(when: str) -> dict[str, Any]:
    """Load average and other processes' work, with a warning if either is high."""
    found: dict[str, Any] = {"load": machine.load(), "others": machine.others_share()}
    if found["others"] > report.BUSY:
        print(
            f"-- warning: other processes use {found['others']} CPUs {when}: do not trust the times",
            file=sys.stderr,
        )
    elif found["load"][0] > machine.describe()["cpus"] and when.startswith("before"):
        print(f"-- warning: load average {found['load'][0]} {when}", file=sys.stderr)
    return found


def earlier(options: argparse.Namespace) -> dict[str, Any]:
    """The saved results that a run adds to, which must be of the same commit."""
    saved: dict[str, Any] = json.loads(options.json.read_text())
    theirs, ours = saved["machine"]["commit"], machine.commit()
    if theirs != ours:
        raise SystemExit(f"benchmarks: {options.json} is of commit {theirs}, this is {ours}")
    return saved


def merged(results: list[dict[str, Any]], measured: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Results with those of the same groups replaced, in the place that they had."""
    groups = {(s, c, t): g for s, c, t, g in groups_of(results)}
    groups |= {(s, c, t): g for s, c, t, g in groups_of(measured)}
    return [result for group in groups.values() for result in group]


def save(path: Path | None, run: dict[str, Any]) -> None:
    """Write the results, so that a reader never finds half of them."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(run, indent=1) + "\n")
        partial.replace(path)


def run(options: argparse.Namespace) -> int:
    """Measure what is asked for, printing and saving each group as it is done."""
    effort = Effort(rounds=3, seconds=0.03, cold_bytes=128 << 20) if options.quick else Effort()
    effort = dataclasses.replace(effort, cpu_time=options.cpu_time, rounds=options.rounds or effort.rounds)
    before, start = warn_if_busy("before the run"), time.perf_counter()
    driver = Driver(effort, lambda text: print(text, file=sys.stderr, flush=True), options.baseline)
    old = earlier(options) if options.update else {}
    results: list[dict[str, Any]] = old.get("results", [])
    load = {"before": before["load"], "after": before["load"], "highest": before["load"][0]}
    described = old.get("machine") or machine.describe()
    try:
        for group in chosen(options):
            results = merged(results, driver.measure(group))
            key = (group.section, group.case, group.threads)
            lines = [x for x in lines_of(results) if (x.section, x.case, x.threads) == key]
            if lines:
                print(report.text_group(lines), flush=True)
            load["after"] = machine.load()
            load["highest"] = max(load["highest"], load["after"][0])
            save(
                options.json,
                {
                    "machine": described,
                    "load": load,
                    "others_before": before["others"],
                    "minutes": round((time.perf_counter() - start) / 60, 1),
                    "versions": old.get("versions", {}) | driver.versions,
                    "missing": driver.missing,
                    "results": results,
                },
            )
    finally:
        driver.stop()
    lines = lines_of(results)
    findings = findings_of(lines)
    print(report.text_findings(findings))
    print(report.summary(lines, findings))
    minutes = (time.perf_counter() - start) / 60
    print(f"load average {load['before'][0]} before, {load['highest']} at most; {minutes:.1f} minutes")
    return 1 if any(line.failed for line in lines) else 0


def main(arguments: list[str] | None = None) -> int:
    """Run one command."""
    options = parse(arguments)
    if options.command == "run":
        return run(options)
    saved = json.loads(options.json.read_text())
    if options.command == "report":
        print(report.text(saved))
    elif options.command == "markdown":
        options.document.write_text(
            report.replace_table(options.document.read_text(), report.markdown(saved))
        )
    else:
        chart.draw(saved, options.png)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
