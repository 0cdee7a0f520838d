"""CPU-seconds and wall seconds of the start: imports, a page that answers, models that are open, the first picture.

python bench/startup.py --repeat 3

CPU-seconds are those of the whole process, so that other load on the machine hardly moves them; they are what the
ratio to the imports of an upstream-style script is made of. Prints JSON.
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
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from scripts.checkout import python_path

PROJECT = Path(__file__).resolve().parent.parent
PHOTO = PROJECT / "app" / "arc2face_app" / "page" / "assets" / "examples" / "faces" / "100007.webp"
IMPORTS = ("arc2face", "arc2face_app.cli", "arc2face_app.ui", "arc2face.engine")
UPSTREAM = (
    "import gradio, torch, numpy, PIL.Image; from insightface.app import FaceAnalysis; "
    "from transformers import CLIPTextModel, CLIPTokenizer; "
    "from diffusers import StableDiffusionPipeline, UNet2DConditionModel, DPMSolverMultistepScheduler, LCMScheduler"
)
"""What a script of the original kind imports before it reads any weights."""
LIMIT_S = 300.0
Seconds = dict[str, float]
"""`cpu`: user and system time of the process; `wall`."""


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment() -> dict[str, str]:
    """The environment of the measured processes: this checkout on the path, no network."""
    path = python_path()
    return {**os.environ, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1", "GRADIO_ANALYTICS_ENABLED": "False"}


def run_code(code: str) -> Seconds:
    """A fresh Python that runs `code`."""
    began = time.perf_counter()
    ending = "; import os; t = os.times(); print(t.user + t.system)"
    done = subprocess.run([sys.executable, "-c", code + ending], cwd=PROJECT, env=environment(), capture_output=True)
    if done.returncode:
        raise SystemExit(done.stderr.decode(errors="replace")[-2000:])
    return {"cpu": float(done.stdout.split()[-1]), "wall": time.perf_counter() - began}


def serve(flags: list[str], then: Callable[[str], None] = lambda url: None) -> Seconds:
    """From starting `python -m arc2face_app` to the first 200 from its page, and to the end of `then(url)`."""
    port = free_port()
    began = time.perf_counter()
    command = [sys.executable, "-m", "arc2face_app", "--port", str(port), *flags]
    server = subprocess.Popen(
        command, cwd=PROJECT, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait_for_page(server, f"http://127.0.0.1:{port}/", began)
        then(f"http://127.0.0.1:{port}/")
        used = psutil.Process(server.pid).cpu_times()
        return {"cpu": used.user + used.system, "wall": time.perf_counter() - began}
    finally:
        server.terminate()
        server.wait(60)


def _wait_for_page(server: subprocess.Popen[bytes], url: str, began: float) -> None:
    while time.perf_counter() - began < LIMIT_S:
        if server.poll() is not None:
            raise SystemExit(f"the app ended with exit code {server.returncode}; start it by hand to see why")
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    raise SystemExit(f"no page after {LIMIT_S:.0f} s")


def first_picture(url: str) -> None:
    """One fast picture of the example face over the API."""
    from gradio_client import Client, handle_file

    client = Client(url, verbose=False, download_files=False, analytics_enabled=False)
    client.predict(photos=[handle_file(str(PHOTO))], num_images=1, fast=True, api_name="/generate_identity")


def summary(runs: list[Seconds]) -> dict[str, Any]:
    """Medians, and all CPU-seconds in order (the first run is the coldest)."""
    return {
        "cpu_s": round(statistics.median(run["cpu"] for run in runs), 3),
        "wall_s": round(statistics.median(run["wall"] for run in runs), 3),
        "cpu_runs_s": [round(run["cpu"], 3) for run in runs],
    }


def measure(repeat: int, imports_only: bool, flags: list[str]) -> dict[str, Any]:
    """All measurements, interleaved, and the ratio of the page to upstream-style imports."""
    jobs: dict[str, Callable[[], Seconds]] = {f"import {name}": partial(run_code, f"import {name}") for name in IMPORTS}
    jobs["upstream-style imports"] = partial(run_code, UPSTREAM)
    jobs["models open"] = partial(run_code, "from arc2face.engine import Engine; Engine.open(preload=True).close()")
    if not imports_only:
        jobs["page answers"] = partial(serve, flags)
        jobs["first picture"] = partial(serve, flags, first_picture)
    runs: dict[str, list[Seconds]] = {name: [] for name in jobs}
    for _ in range(repeat):
        for name, job in jobs.items():
            runs[name].append(job())
    results = {name: summary(found) for name, found in runs.items()}
    report: dict[str, Any] = {"results": results}
    if "page answers" in results:
        ratio = results["page answers"]["cpu_s"] / results["upstream-style imports"]["cpu_s"]
        report["page / upstream-style imports (CPU-seconds)"] = round(ratio, 3)
    return report


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Time the start of the app.")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--imports-only", action="store_true", help="leave the server out")
    options, flags = parser.parse_known_args()
    machine = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }
    print(json.dumps(machine | measure(options.repeat, options.imports_only, flags), indent=2))


if __name__ == "__main__":
    main()
