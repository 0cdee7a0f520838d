"""Inputs made from a seed, given to a worker process one by one, counted, and kept where they failed."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import random
import select
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from scripts.checkout import python_path
from tests.fuzz.doors import DOORS, HEAVY, Door, changed, door_of, kind_of

PROJECT = Path(__file__).resolve().parent.parent.parent
PATIENCE = 120.0
"""Seconds of the clock until a silent worker is given up; processor time is bounded in the worker itself."""


@dataclass(slots=True)
class Tally:
    """What came of the inputs of one door. `failed`: counts by kind. `peak`: bytes of the worst input."""

    accepted: int = 0
    refused: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    texts: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    longest: float = 0.0
    peak: int = 0

    def add(self, found: dict[str, Any]) -> None:
        """Count one answer of the worker."""
        if found["kind"] == "accepted":
            self.accepted += 1
        elif found["kind"] == "refused":
            self.refused += 1
        else:
            self.failed[found["why"]] += 1
            self.texts.setdefault(found["why"], found.get("text", ""))
        self.seconds += found.get("seconds", 0.0)
        self.longest = max(self.longest, found.get("seconds", 0.0))
        self.peak = max(self.peak, found.get("bytes", 0))

    def as_dict(self) -> dict[str, Any]:
        """For a report."""
        total = self.accepted + self.refused + self.failed.total()
        return {
            "inputs": total, "accepted": self.accepted, "refused": self.refused, "failed": dict(self.failed),
            "texts": self.texts, "seconds": round(self.seconds, 1), "longest_seconds": round(self.longest, 2),
            "peak_megabytes": round(self.peak / 2**20),
        }  # fmt: skip


class Fuzzer:
    """Valid files of every door and one worker, which is started again when it dies."""

    def __init__(self, keep: Path | None = None) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="arc2face-fuzz-"))
        os.environ["ARC2FACE_CACHE"] = str(self.home / "maker" / "cache")
        self.keep = keep
        self._worker: subprocess.Popen[str] | None = None
        self._valid: dict[str, list[Path]] = {}

    def __enter__(self) -> Fuzzer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()
        shutil.rmtree(self.home, ignore_errors=True)

    def valid(self, door: Door) -> list[Path]:
        """The door's valid files."""
        if door.name not in self._valid:
            folder = self.home / "valid" / door.name
            folder.mkdir(parents=True)
            door.write(folder)
            self._valid[door.name] = sorted(path for path in folder.rglob("*") if path.is_file())
        return self._valid[door.name]

    def run(self, door: Door, count: int, seed: int) -> Tally:
        """Give the door its valid files and `count` inputs that follow from `seed`."""
        tally = Tally()
        for path in itertools.chain(self.valid(door), self.inputs(door, count, seed)):
            found = self.give(door, path)
            tally.add(found)
            if found["kind"] == "failed":
                self._keep_failed(door, path, found["why"])
        return tally

    def inputs(self, door: Door, count: int, seed: int) -> Iterator[Path]:
        """The same inputs for the same seed, one after the other in one place."""
        files = self.valid(door)
        contents = [path.read_bytes() for path in files]
        for number in range(count):
            rng = random.Random(f"{seed} {door.name} {number}")
            at = rng.randrange(len(files))
            target = self.home / f"case.{kind_of(files[at])}"
            target.write_bytes(changed(door, rng, contents[at], contents))
            yield target

    def recorded(self, case: Path) -> dict[str, Any]:
        """A file of the corpus, at the door that its name tells."""
        copied = self.home / "recorded" / case.name  # some doors put more files beside theirs
        copied.parent.mkdir(exist_ok=True)
        return self.give(door_of(case), Path(shutil.copy(case, copied)))

    def give(self, door: Door, path: Path) -> dict[str, Any]:
        """What the worker says, or that it died."""
        worker = self._started()
        assert worker.stdin is not None and worker.stdout is not None
        order = {"door": door.name, "path": str(path), "valid": str(self.valid(door)[0])}
        worker.stdin.write(json.dumps(order) + "\n")
        worker.stdin.flush()
        answer = worker.stdout.readline() if select.select([worker.stdout], [], [], PATIENCE)[0] else ""
        if answer:
            return json.loads(answer)
        self._stop()
        names = {-27: "hang: 10 s of processor time", -9: "hang: silent"}
        return {"kind": "failed", "why": names.get(worker.returncode, f"crash: {worker.returncode}")}

    def _started(self) -> subprocess.Popen[str]:
        if self._worker is None:
            home = Path(tempfile.mkdtemp(dir=self.home))
            caches = {name: str(home / "cache") for name in ("ARC2FACE_CACHE", "EMOCA_CACHE", "GRADIO_TEMP_DIR")}
            quiet = {"OMP_NUM_THREADS": "1", "GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1",
                     "ONEDNN_MAX_CPU_ISA": "AVX2", "MPLCONFIGDIR": str(home), "MALLOC_ARENA_MAX": "1"}  # fmt: skip
            paths = python_path()
            self._worker = subprocess.Popen(
                [sys.executable, "-m", "tests.fuzz.worker"], cwd=PROJECT, text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=(self.home / "worker.log").open("a"),
                env={**os.environ, **caches, **quiet, "TMPDIR": str(home), "PYTHONPATH": paths},
            )  # fmt: skip
        return self._worker

    def _stop(self) -> None:
        worker, self._worker = self._worker, None
        if worker is None:
            return
        if worker.stdin is not None:
            worker.stdin.close()
        try:
            worker.wait(10)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()

    def _keep_failed(self, door: Door, path: Path, why: str) -> None:
        if self.keep is None:
            return
        self.keep.mkdir(parents=True, exist_ok=True)
        data = path.read_bytes()
        kept = self.keep / f"{door.name}--{hashlib.sha256(data).hexdigest()[:8]}.{kind_of(path)}"
        kept.write_bytes(data)
        with (self.keep / "failures.txt").open("a") as notes:
            notes.write(f"{kept.name}\t{why}\n")


def long_run(count: int, seed: int, names: Sequence[str], keep: Path | None) -> Iterator[tuple[str, Tally]]:
    """`count` inputs shared out among the doors; those that load whole networks get a quarter of the others' share."""
    chosen = list(names) or list(DOORS)
    parts = sum(1 if name in HEAVY else 4 for name in chosen)
    with Fuzzer(keep) as fuzzer:
        for name in chosen:
            share = 1 if name in HEAVY else 4
            yield name, fuzzer.run(DOORS[name], -(-count * share // parts), seed)
