"""Interleaved timing, and sections that give way when time is short."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

Call = Callable[[], Any]


class Sections:
    """The parts of a report, in their order: each is skipped when too little time is left, and saved when done."""

    def __init__(self, report: dict[str, Any], seconds: float, out: Path | None) -> None:
        self.report, self.seconds, self.out = report, seconds, out
        self.began = time.perf_counter()
        report["sections"] = {}

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return self.seconds - (time.perf_counter() - self.began)

    def run(self, name: str, needs: float, body: Callable[[], None]) -> None:
        """Run `body` unless less than `needs` seconds are left. A failure is noted, and the next section comes."""
        if self.left < needs:
            self.report["sections"][name] = f"skipped: {self.left:.0f} s left"
        else:
            began = time.perf_counter()
            try:
                body()
                self.report["sections"][name] = round(time.perf_counter() - began, 1)
            except Exception as error:
                self.report["sections"][name] = f"failed: {type(error).__name__}: {str(error)[:300]}"
        print(f"{name}: {self.report['sections'][name]}", file=sys.stderr, flush=True)
        self.save()

    def save(self) -> None:
        """Write what there is."""
        if self.out is not None:
            self.out.write_text(json.dumps(self.report, indent=1), "utf-8")


def synchronise(device: str) -> None:
    """Wait for the card, where there is one."""
    if device.startswith("cuda"):
        torch.cuda.synchronize()


def seconds_of(call: Call, device: str) -> float:
    """One call: wall seconds on a card, which is idle before and after; CPU-seconds elsewhere."""
    synchronise(device)
    clock = time.perf_counter if device.startswith("cuda") else time.process_time
    began = clock()
    call()
    synchronise(device)
    return clock() - began


def interleaved(calls: dict[str, Call], device: str, repeat: int, budget: float) -> dict[str, dict[str, Any]]:
    """Median and quartiles in ms per call: A B C A B C, three rounds, then as many as `budget` seconds allow."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    began = time.perf_counter()
    for turn in range(repeat):
        for name, call in calls.items():
            times[name].append(1e3 * seconds_of(call, device))
        if turn >= 2 and time.perf_counter() - began > budget:
            break
    return {name: summary(found) for name, found in times.items()}


def summary(times: list[float]) -> dict[str, Any]:
    """Median, quartiles and number of runs."""
    low, middle, high = statistics.quantiles(times, n=4) if len(times) > 1 else times * 3
    return {"ms": round(middle, 3), "quartiles": [round(low, 3), round(high, 3)], "runs": len(times)}


def percentile(values: list[float], share: float) -> float:
    """The value below which `share` of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
