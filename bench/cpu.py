"""CPU-seconds, peak memory and exactness against the upstream-style arm, on random models of real size.

python -m bench.cpu --out cpu.json --markdown cpu.md                 # about 25 minutes of one core, 11 GB
python -m bench.cpu --toy                                            # seconds; shows that it runs, says nothing more
python -m bench.cpu --baseline ../older-checkout --starter-only      # four-step starter requests, two checkouts

Every arm and mode has a process of its own (at toy size all share one), one thread, one after the other. Steps are few;
the table names them. CPU-seconds, so that other load on the machine moves them by some percent only.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from scripts.checkout import python_path

PROJECT = Path(__file__).resolve().parent.parent
ARMS = ("S0", "O", "T")
MODE_NAMES = ("identity", "LCM-2", "pose", "expression", "expression + reference")
TURBO = ("LCM-2",)
"""Modes in which the small decoder is timed, too."""
LIMIT_S = 3600
STARTER_KINDS = {"fast, 4 steps": 15, "guided, 25 steps": 4}
"""Requests to the starter models that count, by kind (see `bench/speed/starter.py`)."""
WARM_UP = 2


def environment(where: Path) -> dict[str, str]:
    """One thread, no network, and the packages of the checkout `where`."""
    path = python_path(checkout=where, after=str(where / "external"))
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def child(arguments: list[str]) -> dict[str, Any]:
    """One measurement in a process of its own; the last line of its output is the answer."""
    words = [sys.executable, *arguments]
    done = subprocess.run(words, cwd=PROJECT, env=environment(PROJECT), capture_output=True, text=True, timeout=LIMIT_S)
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        return {"error": done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]}
    return json.loads(lines[-1])


def prepare(folder: Path, toy: bool) -> Path:
    """Random models in `folder`; those of real size are written by a process that ends and gives its memory back."""
    if toy:
        from bench.speed.models import TOY, write_models

        return write_models(folder, TOY, torch_float32(), "cpu")
    if not (folder / "taesd" / "taesd_decoder.safetensors").is_file():
        code = (
            "import torch, pathlib; from bench.speed import models as m; torch.set_num_threads(1); "
            f"m.write_models(pathlib.Path({str(folder)!r}), m.FULL, torch.float32, 'cpu'); print('{{}}')"
        )
        answer = child(["-c", code])
        if "error" in answer:
            raise SystemExit(f"the models could not be written to {folder}: {answer['error']}")
    return folder / "models"


def torch_float32() -> Any:
    """Torch is imported by those who measure, not by the process that only waits for them."""
    import torch

    return torch.float32


def measure(folder: Path, options: argparse.Namespace, report: dict[str, Any]) -> None:
    """All arms and modes; the report is written after each."""
    root = prepare(folder, options.toy)
    for mode in options.modes:
        for arm in options.arms:
            if arm == "T" and mode not in TURBO:
                continue
            report["runs"].setdefault(mode, {})[arm] = run_arm(root, arm, mode, folder / "latents", options)
            save(report, options)
            print(mode, arm, report["runs"][mode][arm], file=sys.stderr, flush=True)


def run_arm(root: Path, arm: str, mode: str, latents: Path, options: argparse.Namespace) -> dict[str, Any]:
    """One arm in one mode: in a process of its own, at toy size in this one."""
    if options.toy:
        from bench.speed.one import measure as here

        return here(root, arm, mode, options.steps, options.repeat, latents)
    words = ["-m", "bench.speed.one", str(root), arm, mode, str(options.steps), str(options.repeat), str(latents)]
    return child(words)


def starter(options: argparse.Namespace, report: dict[str, Any]) -> None:
    """Starter requests, here and in another checkout, request by request in turn: both meet the same other load."""
    places = {"now": PROJECT} | ({"baseline": options.baseline.resolve()} if options.baseline else {})
    words = [sys.executable, str(PROJECT / "bench" / "speed" / "starter.py"), str(PROJECT / "models" / "starter")]
    pipe = subprocess.PIPE
    running = {
        name: subprocess.Popen(words, cwd=where, env=environment(where), stdin=pipe, stdout=pipe, text=True)
        for name, where in places.items()
    }
    found: dict[str, dict[str, list[float]]] = {name: {} for name in places}
    try:
        for kind, count in STARTER_KINDS.items():
            for turn in range(WARM_UP + (1 if options.toy else count)):
                for name, process in running.items():
                    taken = ask(process, kind)
                    if turn >= WARM_UP:
                        found[name].setdefault(kind, []).append(round(taken, 1))
    finally:
        for process in running.values():
            process.communicate()
    report["starter"] = found
    save(report, options)


def ask(process: subprocess.Popen[str], kind: str) -> float:
    """CPU-milliseconds of one request."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(kind + "\n")
    process.stdin.flush()
    return float(process.stdout.readline())


def save(report: dict[str, Any], options: argparse.Namespace) -> None:
    """The report, and its table, as far as they have come."""
    from bench.speed.tables import cpu_table

    if options.out:
        Path(options.out).write_text(json.dumps(report, indent=1), "utf-8")
    if options.markdown:
        Path(options.markdown).write_text(cpu_table(report), "utf-8")


def parse(words: list[str] | None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description="Speed on a CPU against the upstream-style arm.")
    parser.add_argument("--toy", action="store_true", help="toy size, seconds")
    parser.add_argument("--modes", nargs="+", choices=MODE_NAMES, default=list(MODE_NAMES))
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--steps", type=int, default=2, help="steps that are run in the guided modes")
    parser.add_argument("--repeat", type=int, default=1, help="requests per process after the first")
    parser.add_argument("--models", type=Path, help="keep the random models in this folder")
    parser.add_argument("--baseline", type=Path, help="another checkout for the starter requests")
    parser.add_argument("--starter-only", action="store_true")
    parser.add_argument("--no-starter", action="store_true")
    parser.add_argument("--merge", type=Path, help="go on with the runs of an earlier report")
    parser.add_argument("--out")
    parser.add_argument("--markdown")
    return parser.parse_args(words)


def main(words: list[str] | None = None) -> dict[str, Any]:
    """Measure, print and return the report."""
    options = parse(words)
    report: dict[str, Any] = {"machine": machine(), "size": "toy" if options.toy else "full", "steps": options.steps}
    report |= {"runs": {}}
    if options.merge:
        report = json.loads(options.merge.read_text("utf-8")) | {"machine": machine()}
    if not options.no_starter:
        starter(options, report)
    if not options.starter_only:
        folder = options.models or Path(tempfile.mkdtemp(prefix="arc2face-bench-"))
        try:
            measure(folder, options, report)
        finally:
            if options.models is None:
                shutil.rmtree(folder, ignore_errors=True)
    save(report, options)
    print(json.dumps(report, indent=1))
    return report


def machine() -> dict[str, Any]:
    """What the figures belong to."""
    from importlib.metadata import version

    cpu = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").is_file():
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        cpu = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), cpu)
    packages = {name: version(name) for name in ("torch", "diffusers", "transformers")}
    return {"cpu": cpu, "cores": os.cpu_count(), "threads": 1, "python": platform.python_version(), **packages}


if __name__ == "__main__":
    main()
