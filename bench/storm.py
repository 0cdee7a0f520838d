"""Many clients at once against the real server: every result must equal its solo run bit for bit, and nothing may stay.

python bench/storm.py --requests 1000 --clients 8            # on the best models found
python bench/storm.py --requests 100 --models tests/data/tiny

Prints one JSON object: requests by outcome, results that differed, and memory, threads, open files and files on disk of
the server before and after. Traffic goes to the loopback address only, and the number of requests is bounded.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from gradio_client import Client, handle_file
from PIL import Image

from scripts.checkout import python_path

PROJECT = Path(__file__).resolve().parent.parent
CANCEL, DISCONNECT = 0.13, 0.08
"""Share of the requests that are stopped, and that lose their connection."""
GOODBYE = 20.0
"""Seconds until the server has put away what a visitor left; it waits ten for one that comes back."""


@dataclass(frozen=True)
class Kind:
    """One kind of request: endpoint, and arguments without the seed."""

    endpoint: str
    arguments: dict[str, Any]


@dataclass
class Report:
    """What a storm has seen. `outcomes`: same, different, stopped, disconnected, refused (a busy server), failed."""

    outcomes: Counter[str] = field(default_factory=Counter[str])
    problems: list[str] = field(default_factory=list[str])

    def add(self, outcome: str, problem: str = "") -> None:
        """Count one request."""
        self.outcomes[outcome] += 1
        if problem:
            self.problems.append(problem)


def kinds(photos: Sequence[Path]) -> list[Kind]:
    """All tabs, fast and not, one to three pictures, alone and combined."""
    found: list[Kind] = []
    for number, photo in enumerate(photos):
        who = {"photos": [handle_file(str(photo))], "seed": 10 * number + 1}
        quick: dict[str, Any] = {**who, "steps": 3, "num_images": 1}
        fast: dict[str, Any] = {**who, "fast": True, "num_images": 1 + number % 3}
        wide = {"expression": {"jaw": {"open": 0.35}, "eyelids": {"left": 0.5}}}
        found += [
            Kind("/generate_identity", quick),
            Kind("/generate_identity", {**quick, "num_images": 3, "scheduler": "euler", "guidance_scale": 2.0}),
            Kind("/generate_identity", fast),
            Kind("/generate_pose", {**quick, "yaw": 25 - 10 * number}),
            Kind("/generate_pose", {**fast, "yaw": 15, "pitch": 5, "strength": 0.8}),
            Kind("/generate_expression", {**quick, **wide}),
            Kind("/generate_expression", {**fast, **wide, "keep_look": 0.8}),
            Kind("/generate_expression", {**quick, **wide, "keep_look": 0.7, "turn_head": True, "yaw": 10}),
            Kind("/turntable", {**who, "count": 2, "widest": 20, "steps": 2}),
        ]
    return found


def visitor(url: str) -> Client:
    """A client that is patient with a busy machine."""
    return Client(url, verbose=False, httpx_kwargs={"timeout": 120})


def digest(files: Sequence[str]) -> str:
    """Hash of the pixels of all PNGs, in order."""
    total = hashlib.sha256()
    for file in files:
        if file.endswith(".png"):
            total.update(np.asarray(Image.open(file)).tobytes())
    return total.hexdigest()


def solo(url: str, wanted: Sequence[Kind]) -> list[str]:
    """What each kind gives alone."""
    found: list[str] = []
    for kind in wanted:
        client = visitor(url)
        found.append(digest(_predict(client, kind)))
        client.close()
    return found


def storm(url: str, wanted: Sequence[Kind], alone: Sequence[str], requests: int, clients: int, seed: int = 0) -> Report:
    """`requests` in all, from `clients` threads, with random cancels and lost connections."""
    report, lock, left = Report(), threading.Lock(), iter(range(requests))

    def visit(number: int) -> None:
        rng = random.Random(f"{seed}-{number}")
        client = visitor(url)
        while True:
            with lock:
                if next(left, None) is None:
                    break
            which, chance = rng.randrange(len(wanted)), rng.random()
            if chance < DISCONNECT:
                outcome, problem = _disconnect(url, rng), ""
            else:
                outcome, problem = _one(client, wanted[which], alone[which], chance < DISCONNECT + CANCEL)
            with lock:
                report.add(outcome, problem)
            if rng.random() < 0.25:
                client.close()
                client = visitor(url)
        client.close()

    threads = [threading.Thread(target=visit, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return report


def _predict(client: Client, kind: Kind) -> list[str]:
    files, _ = client.predict(**kind.arguments, api_name=kind.endpoint)
    return files


def _one(client: Client, kind: Kind, alone: str, cancel: bool) -> tuple[str, str]:
    try:
        job = client.submit(**kind.arguments, api_name=kind.endpoint)
        if cancel:
            for _ in job:
                break
            client.predict(api_name="/cancel")
        files, _ = job.result(timeout=600)
    except Exception as error:
        text = str(error)
        if "Stopped" in text or "stopped" in text:
            return ("stopped", "") if cancel else ("failed", f"{kind.endpoint}: {text}")
        return ("refused", "") if "busy" in text or "full" in text else ("failed", f"{kind.endpoint}: {text}")
    return ("same", "") if digest(files) == alone else ("different", f"{kind.endpoint} {kind.arguments}")


def _disconnect(url: str, rng: random.Random) -> str:
    """Ask for something and go away in the middle of the answer."""
    angle = rng.randrange(-30, 30)
    with httpx.Client(base_url=url, timeout=60) as client:
        answer = client.post("/gradio_api/call/normal_map", json={"data": [angle, 0, 0, None]})
        event = answer.json().get("event_id")
        if event is None:
            return "refused" if answer.status_code == 503 else "failed"
        with client.stream("GET", f"/gradio_api/call/normal_map/{event}") as answer:
            next(answer.iter_raw(), None) if rng.random() < 0.5 else None
    return "disconnected"


def resources(process: Any, folders: Sequence[Path]) -> dict[str, int]:
    """Resident memory (bytes), threads, open files, and files on disk under `folders`."""
    return {
        "resident_bytes": process.memory_info().rss,
        "threads": process.num_threads(),
        "open_files": process.num_fds(),
        # os.walk passes over folders that the server removes meanwhile.
        "files_on_disk": sum(len(files) for folder in folders for _, _, files in os.walk(folder)),
    }


def _serve(models: str | None, temporary: Path) -> tuple[subprocess.Popen[bytes], str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    packages = python_path()
    environment = {
        **os.environ,
        "PYTHONPATH": packages,
        "TMPDIR": str(temporary),
        "ARC2FACE_PORT": str(port),
        "ARC2FACE_MCP": "0",
    }
    environment |= {"ARC2FACE_MODELS": models} if models else {}
    server = subprocess.Popen([sys.executable, "-m", "arc2face_app"], cwd=PROJECT, env=environment, stdout=sys.stderr)
    url = f"http://127.0.0.1:{port}"
    for _ in range(600):
        try:
            if visitor(url).predict(api_name="/status")["ready"]:
                return server, url
        except Exception:
            time.sleep(0.5)
    server.terminate()
    raise SystemExit("the server did not become ready")


def main() -> None:
    """Start the server in a process of its own, take the storm, print the report."""
    import psutil

    parser = argparse.ArgumentParser(description="Many clients at once against the real server.")
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--models")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    temporary = Path(tempfile.mkdtemp(prefix="arc2face-storm-"))
    examples = sorted((PROJECT / "app" / "arc2face_app" / "page" / "assets" / "examples" / "faces").glob("*"))[:3]
    server, url = _serve(options.models, temporary)
    try:
        process, wanted = psutil.Process(server.pid), kinds(examples)
        alone = solo(url, wanted)
        warm = storm(url, wanted, alone, min(100, options.requests // 4), options.clients, options.seed + 1)
        time.sleep(GOODBYE)
        before = resources(process, [temporary])
        started = time.perf_counter()
        report = storm(url, wanted, alone, options.requests, options.clients, options.seed)
        seconds = time.perf_counter() - started
        time.sleep(GOODBYE)
        after_storm = resources(process, [temporary])
        again = solo(url, wanted)
        print(
            json.dumps(
                {
                    "requests": options.requests,
                    "clients": options.clients,
                    "kinds": len(wanted),
                    "warm_up": warm.outcomes,
                    "outcomes": report.outcomes,
                    "problems": report.problems[:20],
                    "solo_runs_equal_afterwards": alone == again,
                    "seconds": round(seconds, 1),
                    "before": before,
                    "after": after_storm,
                },
                indent=2,
            )
        )
    finally:
        server.terminate()
        server.wait(30)
        shutil.rmtree(temporary, ignore_errors=True)


if __name__ == "__main__":
    main()
