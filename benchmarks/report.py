"""The table as text for a terminal and as markdown for the documentation."""

from __future__ import annotations

from typing import Any

from .lines import Finding, Line, findings_of, lines_of

BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"
TITLES = {
    "calls": "Smallest call",
    "decode": "Decode",
    "window": "Window decode",
    "prefill": "Prefill",
    "codec": "Codec",
    "scaling": "Scaling",
}
# An error that a reader should see beside the time.
INEXACT = 1e-2
# Work of other processes, in CPUs, beyond which numbers should not be believed.
BUSY = 0.3


def duration(seconds: float | None) -> str:
    """A time with three digits."""
    if seconds is None:
        return "-"
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.3g} us"


def peer_text(result: dict[str, Any]) -> str:
    """A peer's name and time, with its error where that is not small."""
    name = f"{result['implementation']} {result['variant']}"
    if "seconds" not in result:
        return f"{name}: failed"
    error = result.get("error")
    inexact = f" (error {error:.0e})" if error is not None and error > INEXACT else ""
    return f"{name} {duration(result['seconds'])}{inexact}"


def ours_text(line: Line) -> str:
    """Our time; for the codec also the rate."""
    if line.seconds is None:
        return "failed"
    return duration(line.seconds) + (f", {line.rate / 1e9:.2f} GB/s" if line.rate else "")


def goal_text(line: Line) -> str:
    """The goals, with what is missed marked."""
    marks = {True: "met", False: "MISSED", None: "not judged"}
    return ", ".join(f"{text} {marks[met]}" for text, met in line.verdicts())


def bounds_text(line: Line) -> str:
    """What a call costs that does nothing, and our kernel without Python."""
    return "; ".join(f"{floor['variant']} {duration(floor['seconds'])}" for floor in line.floors)


def _cells(line: Line) -> list[str]:
    ratio = "" if line.ratio is None else f"{line.ratio:.2f}"
    share = "" if line.share is None else f"{line.share:.0%} {line.bound}"
    limit = "" if line.limit is None else duration(line.limit)
    best = peer_text(line.best) if line.best else ""
    return [line.variant, ours_text(line), best, ratio, limit, share, goal_text(line)]


HEAD = ["", "ours", "best peer", "peer/ours", "limit", "limit/ours", "goal"]


def group_title(line: Line) -> str:
    """The case, and the limits that were measured with it."""
    text = f"{line.case.name}, {line.threads} thread{'s' if line.threads > 1 else ''}"
    if line.limits is not None:
        text += f"; read {line.limits.read / 1e9:.1f} GB/s"
        if line.limits.fma != float("inf"):
            text += f", float32 {line.limits.fma / 1e9:.0f} GFLOP/s"
        if line.limits.bf16_dot:
            text += f", bfloat16 {line.limits.bf16_dot / 1e9:.0f} GFLOP/s"
    if line.disturbed > BUSY:
        text += f"; DISTURBED: other processes used {line.disturbed:.1f} CPUs"
    return text


def groups(lines: list[Line]) -> list[list[Line]]:
    """Lines that were measured together."""
    found: dict[Any, list[Line]] = {}
    for line in lines:
        found.setdefault((line.section, line.case, line.threads), []).append(line)
    return list(found.values())


def text_group(lines: list[Line]) -> str:
    """One group for a terminal: our rows, then every peer."""
    rows = [HEAD, *(_cells(line) for line in lines)]
    if lines[0].baseline is not None:
        rows[0] = [*HEAD, "baseline/ours"]
        for line, row in zip(lines, rows[1:], strict=True):
            row.append(f"{line.baseline / line.seconds:.2f}" if line.baseline and line.seconds else "")
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    out = [group_title(lines[0])]
    for row in rows:
        out.append(
            "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        )
    out += [f"  {line.variant} failed: {line.failed}" for line in lines if line.failed]
    if lines[0].floors:
        out.append("  bounds: " + bounds_text(lines[0]))
    if lines[0].peers:
        out.append("  peers: " + "; ".join(peer_text(peer) for peer in lines[0].peers))
        out += [
            f"  {p['implementation']} {p['variant']} failed: {p['failed']}"
            for p in lines[0].peers
            if "failed" in p
        ]
    return "\n".join(out) + "\n"


def text_findings(findings: list[Finding]) -> str:
    """Statements over several rows."""
    return "\n".join(
        f"{f.what}: {f.number} (goal: {f.wanted}{'' if f.met else ', MISSED'})" for f in findings
    )


def summary(lines: list[Line], findings: list[Finding]) -> str:
    """How many goals are met, and each that is not."""
    judged = [line for line in lines if line.met() is not None]
    missed = [line for line in judged if not line.met()]
    total = len(judged) + len(findings)
    lost = len(missed) + sum(not f.met for f in findings)
    out = [f"{total - lost} of {total} rows with goals meet them"]
    for line in missed:
        numbers = [] if line.ratio is None else [f"{line.ratio:.2f} x {peer_text(line.best or {})}"]
        numbers += [] if line.share is None or line.goal.share is None else [f"{line.share:.0%} of limit"]
        numbers.append(ours_text(line))
        out.append(f"  missed: {line.case.name} {line.variant}: {'; '.join(numbers)}; goal {goal_text(line)}")
    out += [f"  missed: {f.what}: {f.number}, goal {f.wanted}" for f in findings if not f.met]
    return "\n".join(out)


def text(run: dict[str, Any]) -> str:
    """The whole table for a terminal."""
    lines = lines_of(run["results"])
    findings = findings_of(lines)
    parts = [text_group(group) for group in groups(lines)]
    return "\n".join([*parts, text_findings(findings), "", summary(lines, findings)])


def _markdown_table(head: list[str], rows: list[list[str]]) -> list[str]:
    return [
        "| " + " | ".join(head) + " |",
        "|" + "---|" * len(head),
        *("| " + " | ".join(row) + " |" for row in rows),
    ]


def markdown(run: dict[str, Any]) -> str:
    """The whole table for the documentation, with machine, commit and command."""
    lines = lines_of(run["results"])
    findings = findings_of(lines)
    machine, load = run["machine"], run["load"]
    cache = f"last-level cache {machine['last_level_cache_bytes'] / 2**20:.0f} MiB"
    out = [
        f"{machine['processor']}, {machine['cpus']} CPUs, {machine['memory_bytes'] >> 30} GiB, {cache}, "
        f"{machine['system']}; {machine['date']}.",
        f"Commit `{machine['commit']}`, command `{machine['command']}`; load average {load['before'][0]} "
        f"before, {load['highest']} at most.",
        "Versions: " + ", ".join(f"{k} {v}" for k, v in sorted(run["versions"].items()) if v) + ".",
        "",
    ]
    for section, title in TITLES.items():
        chosen = [group for group in groups(lines) if group[0].section == section]
        if not chosen:
            continue
        out += [f"### {title}", ""]
        for group in chosen:
            shown = [line for line in group if line.seconds is not None or line.failed]
            out += [
                f"**{group_title(group[0])}**",
                "",
                *_markdown_table(HEAD, [_cells(x) for x in shown]),
                "",
            ]
            if group[0].floors:
                out += ["Bounds: " + bounds_text(group[0]) + ".", ""]
            timed = [peer_text(peer) for peer in group[0].peers if "seconds" in peer]
            if timed:
                out += ["Peers: " + "; ".join(timed) + ".", ""]
    if findings:
        rows = [[f.what, f.number, f.wanted + ("" if f.met else " (missed)")] for f in findings]
        out += ["### Over several rows", "", *_markdown_table(["", "measured", "goal"], rows), ""]
    return "\n".join(out).rstrip()


def replace_table(document: str, table: str) -> str:
    """The document with what stands between the two markers replaced."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the document must hold the markers {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{table}\n\n{END}{after}"
