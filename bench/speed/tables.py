"""Reports as Markdown, for docs/performance.md."""

from __future__ import annotations

import statistics
from typing import Any


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
    lines = ["| starter models, one picture | CPU-ms now | CPU-ms before | now / before |", "|---|---|---|---|"]
    for kind, times in found["now"].items():
        now, before = statistics.median(times), found.get("baseline", {}).get(kind)
        if before is None:
            lines.append(f"| {kind} | {now:.0f} | | |")
            continue
        ratio = statistics.median(a / b for a, b in zip(times, before, strict=True))
        lines.append(f"| {kind} | {now:.0f} | {statistics.median(before):.0f} | {ratio:.2f} |")
    return lines


def gpu_table(report: dict[str, Any]) -> str:
    """Tables of `bench/gpu.py`."""
    machine = report["machine"]
    lines = [machine.get("note") or f"{machine['device']}, {machine.get('smi', '')}, torch {machine['torch']}", ""]
    lines += [
        "| mode | S0 ms | S1 ms | O ms | S0 / O | S1 / O | peak GB S0, S1, O | exact |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for mode, rows in report.get("requests_ms", {}).items():
        memory, gate = report.get("peak_gb", {}).get(mode, {}), report.get("exactness", {}).get(mode, {}).get("gate")
        peaks = ", ".join(str(memory.get(arm, "")) for arm in ("S0", "S1", "O")) if memory else ""
        times = " | ".join(f"{rows[arm]['ms']:.1f}" for arm in ("S0", "S1", "O"))
        ratios = " | ".join(f"{rows[pair]['ratio']:.2f}" for pair in ("S0 / O", "S1 / O"))
        lines.append(f"| {mode} | {times} | {ratios} | {peaks} | {'' if gate is None else 'yes' if gate else 'NO'} |")
    for title, rows in (("approximation", report.get("turbo_ms", {})), ("compiled", report.get("S2_ms", {}))):
        timed = {name: row["ms"] for name, row in rows.items() if isinstance(row, dict)}
        if timed:
            lines += [
                "",
                f"| {title} | ms per request |",
                "|---|---|",
                *(f"| {n} | {ms:.1f} |" for n, ms in timed.items()),
            ]
    if switch := report.get("switch_ms"):
        lines += ["", f"Switching modes: p99 {switch['p99']} ms, {switch['recaptures']} recaptures."]
    if found := report.get("clients"):
        lines += ["", "| clients | requests/s | p50 ms | p95 ms | differ from solo |", "|---|---|---|---|---|"]
        done = {count: row for count, row in found.items() if isinstance(row, dict)}
        lines += [
            f"| {count} | {row['requests_per_s']} | {row['p50_ms']} | {row['p95_ms']} | {row['differs']} |"
            for count, row in done.items()
        ]
    return "\n".join([*lines, ""])
