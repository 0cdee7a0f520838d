"""What a data set costs by whoever draws it, and that it is the same set; and kill -9 at random moments.

python -m bench.dataset --out dataset.json --markdown dataset.md    # 64 people x 4 pictures, fast, starter models
python -m bench.dataset --people 16 --pictures 2                    # smaller
python -m bench.dataset --kills 20                                  # 20 runs that are killed, until the set is whole

Arms: one process; two parts in two processes at once; two Ray workers, of which one is killed in the middle. CPU
seconds per picture are medians over the shards, so that loading the models does not count; wall seconds count all.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from arc2face.dataset.folder import DatasetFolder
from arc2face.dataset.identities import Identities
from arc2face.dataset.parts import part_of
from arc2face.dataset.plan import DatasetPlan, Drawing
from arc2face.dataset.planning import make_folder
from arc2face.dataset.running import EngineChoice, run
from arc2face.dataset.verify import verify
from scripts.checkout import python_path

PROJECT = Path(__file__).resolve().parent.parent
ARMS = ("one process", "two parts", "ray, a worker killed")
NORM = 20.0
"""Length of the drawn embeddings, as recognisers give them."""


def make(path: Path, options: argparse.Namespace) -> DatasetFolder:
    """The plan of the measurement: random directions, eight people per shard."""
    vectors = np.random.default_rng(5).standard_normal((options.people, 512)).astype(np.float32)
    vectors *= NORM / np.linalg.norm(vectors, axis=1, keepdims=True)
    who = Identities(
        tuple(f"person-{k:05d}" for k in range(options.people)), vectors, ("drawn by lot",) * options.people
    )
    plan = DatasetPlan(
        people=options.people,
        identities_sha256=who.sha256,
        pictures=options.pictures,
        per_shard=min(8, max(1, options.people // 8)),
        drawing=Drawing(fast=True),
    )
    return make_folder(plan, who, path, side=128)


def environment() -> dict[str, str]:
    path = python_path()
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def child(folder: DatasetFolder, options: argparse.Namespace, *words: str) -> subprocess.Popen[str]:
    """A process that draws a part, or all on Ray, and prints what it did."""
    command = [sys.executable, "-m", "bench.dataset", "--draw", str(folder.root), "--models", options.models, *words]
    return subprocess.Popen(
        command, cwd=PROJECT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def answer(process: subprocess.Popen[str]) -> dict[str, Any]:
    output, errors = process.communicate()
    if process.returncode:
        raise SystemExit(errors[-2000:])
    return json.loads(output.strip().splitlines()[-1])


def measure(arm: str, folder: DatasetFolder, options: argparse.Namespace) -> dict[str, Any]:
    """One arm from beginning to end."""
    started = time.perf_counter()
    words = {"one process": [[]], "two parts": [["--part", "0/2"], ["--part", "1/2"]]}.get(arm, [["--ray"]])
    processes = [child(folder, options, *each) for each in words]
    killed: list[int] = []
    if arm.startswith("ray"):
        threading.Thread(target=kill_one, args=(folder, killed), daemon=True).start()
    found = [answer(process) for process in processes]
    wall = time.perf_counter() - started
    checked = verify(folder)
    if not checked.complete:
        raise SystemExit(f"{arm}: the set is not whole: {checked.faults}")
    drawn = [each for each in found if each["drawn"]]
    return {
        "wall_seconds": round(wall, 1),
        "cpu_seconds": round(sum(each["cpu_seconds"] for each in found), 1),
        "cpu_per_picture": round(sum(each["cpu_per_picture"] for each in drawn) / len(drawn), 4),
        "killed": len(killed),
        "notes": [note for each in found for note in each["notes"]],
        "pictures": checked.pictures,
        "digest": checked.digest,
    }


def kill_one(folder: DatasetFolder, killed: list[int]) -> None:
    """SIGKILL to a Ray worker of this run that is drawing, once a shard is finished."""
    while not killed:
        time.sleep(0.2)
        if not folder.committed():
            continue
        for path in Path("/proc").glob("[0-9]*"):
            try:
                drawing = (path / "cmdline").read_bytes().startswith(b"ray::ShardActor.draw")
                if drawing and f"BENCH_DATASET={folder.root}".encode() in (path / "environ").read_bytes():
                    os.kill(int(path.name), signal.SIGKILL)
                    killed.append(int(path.name))
                    return
            except OSError:
                continue


def draw(options: argparse.Namespace) -> None:
    """In a process of its own: draw, and print what was done."""
    os.environ["BENCH_DATASET"] = options.draw
    choice = EngineChoice(options.models, "cpu")
    if options.ray:
        from arc2face.dataset.ray_running import run_on_ray

        done = run_on_ray(options.draw, choice, workers=2)
    else:
        done = run(options.draw, choice, part=part_of(options.part))
    print(json.dumps(asdict(done)), flush=True)


def kills(folder: DatasetFolder, options: argparse.Namespace) -> dict[str, Any]:
    """Start, kill at a random moment, check, start again; in the end the set is that of an undisturbed run."""
    whole = make(folder.root.with_name("whole"), options)
    answer(child(whole, options))
    wanted = verify(whole).digest
    rng, moments = random.Random(options.seed), list[float]()
    forget(folder)
    for _ in range(options.kills):
        if len(folder.committed()) == len(whole.committed()):
            forget(folder)  # begin anew, so that every kill meets work
        process = child(folder, options)
        moment = rng.uniform(0.0, options.longest)
        try:
            process.wait(moment)
        except subprocess.TimeoutExpired:
            process.kill()
        process.communicate()
        moments.append(round(moment, 2))
        found = verify(folder)
        if not found.sound:
            raise SystemExit(f"after a kill at {moment:.2f} s: {found.faults}")
    answer(child(folder, options))
    found = verify(folder)
    left = len(list(folder.shards.glob(".*")))
    return {
        "kills": len(moments),
        "moments": moments,
        "whole": found.complete,
        "same": found.digest == wanted,
        "left": left,
    }


def forget(folder: DatasetFolder) -> None:
    """Remove what was drawn."""
    for path in folder.shards.glob("*"):
        path.unlink()


def table(report: dict[str, Any]) -> str:
    """Markdown."""
    lines = ["| who draws | CPU s per picture | CPU s | wall s | digest |", "|---|--:|--:|--:|---|"]
    for arm, row in report["arms"].items():
        cells = (arm, row["cpu_per_picture"], row["cpu_seconds"], row["wall_seconds"], row["digest"][:16])
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines) + "\n"


def parse(words: list[str] | None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description="A data set by whoever draws it.")
    parser.add_argument("--people", type=int, default=64)
    parser.add_argument("--pictures", type=int, default=4)
    parser.add_argument("--models", default=str(PROJECT / "models" / "starter"))
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--kills", type=int, default=0, help="kill so many runs at random moments instead")
    parser.add_argument("--longest", type=float, default=30.0, help="latest moment of a kill, seconds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="keep the sets in this folder")
    parser.add_argument("--out")
    parser.add_argument("--markdown")
    parser.add_argument("--draw", help=argparse.SUPPRESS)
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--ray", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(words)


def main(words: list[str] | None = None) -> dict[str, Any]:
    """Measure, print and return the report."""
    options = parse(words)
    if options.draw:
        draw(options)
        return {}
    with tempfile.TemporaryDirectory(prefix="arc2face-bench-") as temporary:
        root = options.folder or Path(temporary)
        report: dict[str, Any] = {"people": options.people, "pictures": options.pictures, "cores": os.cpu_count()}
        if options.kills:
            report["kills"] = kills(make(root / "killed", options), options)
        else:
            report["arms"] = {}
            for arm in options.arms:
                report["arms"][arm] = measure(arm, make(root / arm.split(",")[0].replace(" ", "-"), options), options)
                print(arm, report["arms"][arm], file=sys.stderr, flush=True)
            report["same"] = len({row["digest"] for row in report["arms"].values()}) == 1
            if options.markdown:
                Path(options.markdown).write_text(table(report), "utf-8")
    if options.out:
        Path(options.out).write_text(json.dumps(report, indent=1), "utf-8")
    print(json.dumps(report, indent=1))
    return report


if __name__ == "__main__":
    main()
