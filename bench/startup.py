"""Seconds from the command to a page that answers, and to models that are open. Prints JSON.

python bench/startup.py --repeat 3
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from functools import partial
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
IMPORTS = ("arc2face", "app.cli", "app.ui", "arc2face.engine")
LIMIT_S = 300.0


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment() -> dict[str, str]:
    """The environment of the measured processes: this checkout on the path, no network."""
    path = os.pathsep.join((str(PROJECT), str(PROJECT / "external")))
    return {**os.environ, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1", "GRADIO_ANALYTICS_ENABLED": "False"}


def until_page(flags: list[str]) -> float:
    """Wall seconds from starting `python -m app` to the first 200 from its page."""
    port = free_port()
    began = time.perf_counter()
    server = subprocess.Popen(
        [sys.executable, "-m", "app", "--port", str(port), *flags],
        cwd=PROJECT,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while time.perf_counter() - began < LIMIT_S:
            if server.poll() is not None:
                raise SystemExit(f"the app ended with exit code {server.returncode}; start it by hand to see why")
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
                    if answer.status == 200:
                        return time.perf_counter() - began
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        raise SystemExit(f"no page after {LIMIT_S:.0f} s")
    finally:
        server.terminate()
        server.wait(30)


def process_seconds(code: str) -> float:
    """Wall seconds of a fresh Python that runs `code`."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], cwd=PROJECT, env=environment(), check=True, capture_output=True)
    return time.perf_counter() - began


def summary(seconds: list[float]) -> dict[str, object]:
    """Median, and all runs in order (the first is the coldest)."""
    return {"median_s": round(statistics.median(seconds), 3), "runs_s": [round(one, 3) for one in seconds]}


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the start of the app.")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--imports-only", action="store_true", help="leave the server out")
    options, flags = parser.parse_known_args()

    opened = "from arc2face.engine import Engine; Engine.open(preload=True)"
    jobs = {f"import {name}": partial(process_seconds, f"import {name}") for name in IMPORTS}
    jobs["models open"] = partial(process_seconds, opened)
    if not options.imports_only:
        jobs["page answers"] = partial(until_page, flags)
    runs: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(options.repeat):
        for name, measure in jobs.items():
            runs[name].append(measure())
    report = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "results": {name: summary(seconds) for name, seconds in runs.items()},
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
