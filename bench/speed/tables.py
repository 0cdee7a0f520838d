"""Reports as Markdown, for docs/performance.md."""

from __future__ import annotations

import statistics
from typing import Any

USUAL_STEPS = 25


def cpu_table(report: dict[str, Any]) -> str:
    """Tables of `bench/cpu.py`: per request, memory, and the starter requests."""
    return "\n".join([*_requests(report), "", *_starter(report), ""])


def request_seconds(run: dict[str, Any]) -> float:
    """CPU-seconds of a request that is not the process's first, where there was one."""
    found = run["later"] or [run["first"]]
    return statistics.median(each["request"] for each in found)


def decoding_seconds(run: dict[str, Any]) -> float:
    """CPU-seconds of decoding in such a request."""
    found = run["later"] or [run["first"]]
    return statistics.median(each["decoding"] for each in found)


def _requests(report: dict[str, Any]) -> list[str]:
    lines = [
        "| mode | arm | steps run | CPU-s per request | of it decoding | S0 / arm | peak memory GB | arm / S0 | "
        "difference to S0 |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for mode, arms in report["runs"].items():
        base = arms.get("S0")
        for arm, run in arms.items():
            if "error" in run:
                lines.append(f"| {mode} | {arm} | failed: {' '.join(run['error'])[:80]} | | | | | | |")
                continue
            lines.append(_row(mode, arm, run, None if base is None or "error" in base else base))
    return lines


def _row(mode: str, arm: str, run: dict[str, Any], base: dict[str, Any] | None) -> str:
    seconds, peak = request_seconds(run), run["peak_gb"]
    ratio = "" if base is None or arm == "S0" else f"{request_seconds(base) / seconds:.2f}"
    memory = "" if base is None or arm == "S0" else f"{peak / base['peak_gb']:.2f}"
    difference = f"{run['difference']:.1e}" if "difference" in run else ""
    decoding = f"{decoding_seconds(run):.2f}"
    return (
        f"| {mode} | {arm} | {run['steps']} | {seconds:.2f} | {decoding} | {ratio} | {peak:.2f} | {memory} | "
        f"{difference} |"
    )


def _starter(report: dict[str, Any]) -> list[str]:
    found = report.get("starter")
    if not found:
        return []
    kinds = [name for name in found["now"][0] if name != "error"]
    lines = ["| starter models, one picture | CPU-ms now | CPU-ms before | now / before |", "|---|---|---|---|"]
    for kind in kinds:
        now, before = (_median(found.get(place, []), kind) for place in ("now", "baseline"))
        ratio = "" if before is None or now is None else f"{now / before:.2f}"
        lines.append(f"| {kind} | {now} | {before or ''} | {ratio} |")
    return lines


def _median(runs: list[dict[str, Any]], kind: str) -> float | None:
    values = [run[kind] for run in runs if kind in run]
    return round(statistics.median(values), 1) if values else None
