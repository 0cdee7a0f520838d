"""A whole bundle from nothing: render, train and export in the order that a recipe's `pipeline.yaml` gives.

`python -m arc2face_training.pipeline --config people-cpu --state $PEOPLE --seconds 3600 --workers 2`

Each worker takes the first stage that is not done, whose needs are met and which no other worker has, and runs a piece
of it as a process of its own. All that is known lies in the state folder: datasets, `runs/NAME` with checkpoints,
the `bundle`, `done/NAME.json` for trainings that ended, `log/NAME.log`. So the driver may be killed at any moment and
started again with the same command; pieces that outlived it are waited for. `--status` only tells where it stands.
"""

from __future__ import annotations

import argparse
import fcntl
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from arc2face.errors import Arc2FaceError
from arc2face_training.common.checkpoint import CHECKPOINT, load_torch
from arc2face_training.common.config import load_config
from arc2face_training.common.errors import TrainingError
from arc2face_training.common.exports import write_json, write_text
from arc2face_training.train import COMPONENTS, config_path

log = logging.getLogger(__name__)
LEAST_SECONDS = 30.0
MOST_FAILURES = 3
STOPPING_SECONDS = 120.0


@dataclass(frozen=True)
class Pictures:
    """A dataset: the options of the world's own command that writes it."""

    people: int
    per_person: int
    first: int
    size: int = 256
    studio: float = 0.0
    pairs: bool = False
    normals: bool = True

    def arguments(self) -> list[str]:
        """As command-line options."""
        numbers = {"people": self.people, "per-person": self.per_person, "first": self.first, "size": self.size}
        found = [text for name, value in numbers.items() for text in (f"--{name}", str(value))]
        found += ["--studio", str(self.studio)] if self.studio else []
        return found + ["--pairs"] * self.pairs + ["--no-normals"] * (not self.normals)


@dataclass(frozen=True)
class Stage:
    """One line of a pipeline: `render` a dataset up to `people`, or `train` a component up to `until` steps.

    0 is all of it. `export`: write the models from the checkpoint as it is. `settings`: `key=value` texts for the
    trainer. `run`: folder under `runs`, else the component's name. `after`: names of stages to be done first.
    """

    name: str
    render: str | None = None
    people: int = 0
    train: str | None = None
    run: str | None = None
    until: int = 0
    export: bool = False
    settings: tuple[str, ...] = ()
    after: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """What two workers must not have at once."""
        return f"data {self.render}" if self.render else f"run {self.folder}"

    @property
    def folder(self) -> str:
        """Name of the run."""
        return self.run or str(self.train)


@dataclass(frozen=True)
class PipelineConfig:
    """`recipe`: of the trainers. `data`: datasets by name.

    `piece`: seconds of one process.
    """

    recipe: str
    data: dict[str, Pictures]
    stages: tuple[Stage, ...]
    piece: float = 480.0


@dataclass
class Plan:
    """A pipeline in a state folder."""

    recipe: str
    state: Path
    data: dict[str, Pictures]
    stages: tuple[Stage, ...]
    piece: float
    failures: dict[str, int] = field(default_factory=dict)
    _reached: dict[str, tuple[int, int, int]] = field(default_factory=dict)

    def done(self, stage: Stage) -> bool:
        """Whether a stage has ended; what it made is in the state folder then."""
        if (self.state / "done" / f"{stage.name}.json").exists():
            return True
        if stage.render:
            return self.rendered(stage.render) >= (stage.people or self.data[stage.render].people)
        return bool(stage.until) and self.steps(stage.folder)[0] >= stage.until

    def next(self, busy: set[str]) -> Stage | None:
        """The first stage to work on now."""
        done = {stage.name for stage in self.stages if self.done(stage)}
        for stage in self.stages:
            free = stage.name not in done and stage.place not in busy and set(stage.after) <= done
            if free and self.failures.get(stage.name, 0) < MOST_FAILURES:
                return stage
        return None

    def rendered(self, name: str) -> int:
        """People of a dataset whose shards are whole."""
        from arc2face_training.people.dataset import PEOPLE_PER_SHARD

        shards = len(list((self.state / name / "shards").glob("*.npz")))
        return min(shards * PEOPLE_PER_SHARD, self.data[name].people)

    def steps(self, run: str) -> tuple[int, int]:
        """Step of a run's checkpoint and length of the run; (0, 0) before the first."""
        path = self.state / "runs" / run / CHECKPOINT
        if not path.exists():
            return 0, 0
        written = path.stat().st_mtime_ns
        known = self._reached.get(run)
        if known is None or known[0] != written:
            state = load_torch(path)
            known = written, int(state["step"]), int(state["settings"]["loop"]["steps"])
            self._reached[run] = known
        return known[1:]

    def command(self, stage: Stage, seconds: float) -> list[str]:
        """The process that goes on with a stage."""
        if stage.render:
            limit = ["--until", str(stage.people)] if stage.people else []
            start = [sys.executable, "-m", "arc2face_training.people.dataset", str(self.state / stage.render)]
            pictures = self.data[stage.render].arguments()
            return [*start, *pictures, "--processes", "1", "--seconds", str(seconds), *limit]
        start = [sys.executable, "-m", "arc2face_training", str(stage.train), "--config", self.recipe]
        start += ["--out", str(self.state / "runs" / stage.folder), "--seconds", str(seconds)]
        return [*start, *(["--export"] if stage.export else []), *stage.settings]

    def ended(self, stage: Stage, code: int) -> None:
        """Note how a piece ended."""
        if code:
            self.failures[stage.name] = self.failures.get(stage.name, 0) + 1
            log.error("%s failed (%d); its log: %s", stage.name, code, self.state / "log" / f"{stage.name}.log")
            return
        self.failures.pop(stage.name, None)
        whole = stage.train and not stage.until
        step, length = self.steps(stage.folder) if whole else (0, 1)
        if stage.export or step >= length > 0:
            # Written after the models: a piece that was killed between them and here only exports once more.
            write_json(self.state / "done" / f"{stage.name}.json", {"step": step})

    def status(self) -> list[str]:
        """A line per stage."""
        lines: list[str] = []
        for stage in self.stages:
            reached = "step {} of {}".format(*self.steps(stage.folder))
            if stage.render:
                reached = f"{self.rendered(stage.render)} people"
            lines.append(f"{'done' if self.done(stage) else 'to do':6} {stage.name}: {reached}")
        return lines


def read_plan(recipe: str, state: Path) -> Plan:
    """The pipeline of a recipe (or of a YAML file). Raises TrainingError for what it does not understand."""
    path = config_path("pipeline", recipe)
    config = load_config(PipelineConfig, path)
    _check(path, config.data, config.stages)
    return Plan(config.recipe, state, config.data, config.stages, config.piece)


def _check(path: Path, data: dict[str, Pictures], stages: tuple[Stage, ...]) -> None:
    known: set[str] = set()
    for stage in stages:
        if (stage.render is None) == (stage.train is None):
            raise TrainingError(f"{path}: the stage {stage.name!r} must either render or train.")
        if stage.render is not None and stage.render not in data:
            raise TrainingError(f"{path}: {stage.name!r} renders {stage.render!r}, which `data` does not describe.")
        if stage.train is not None and stage.train not in COMPONENTS:
            raise TrainingError(f"{path}: {stage.name!r} trains {stage.train!r}; known: {', '.join(COMPONENTS)}.")
        if stage.name in known or not set(stage.after) <= known:
            raise TrainingError(f"{path}: {stage.name!r} has the name of another stage, or needs one not above it.")
        known.add(stage.name)


def run_pipeline(plan: Plan, seconds: float = 0.0, workers: int = 1) -> bool:
    """Work until everything is done or the time is over; returns whether everything is done.

    `seconds`: 0 for no limit. SIGTERM and Ctrl-C end the pieces with a checkpoint. Raises TrainingError when another
    pipeline works in the folder, or when only stages are left that failed or need such.
    """
    end = time.monotonic() + seconds if seconds else float("inf")
    stopping: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: stopping.append(number))
    with _alone(plan.state, end) as lock:
        _describe_bundle(plan.state / "bundle")
        running: list[tuple[Stage, subprocess.Popen[bytes]]] = []
        while True:
            for stage, process in [pair for pair in running if pair[1].poll() is not None]:
                running.remove((stage, process))
                plan.ended(stage, 0 if stopping else process.returncode)
            left = end - time.monotonic()
            open_ended = not stopping and left > LEAST_SECONDS
            while open_ended and len(running) < workers:
                stage = plan.next({other.place for other, _ in running})
                if stage is None:
                    break
                running.append((stage, _start(plan, stage, min(plan.piece, left), lock)))
            if not running:
                break
            if stopping:
                _stop([process for _, process in running])
            time.sleep(0.5)
    return _outcome(plan, bool(stopping) or end - time.monotonic() <= LEAST_SECONDS)


def _describe_bundle(bundle: Path) -> None:
    """What a models folder holds beside its models: its kind, expressions by name, and what its numbers are called."""
    from arc2face_training.people import shapes
    from arc2face_training.people.presets import lines

    write_json(bundle / "bundle.json", {"kind": "starter"})
    write_text(bundle / "expression_presets.json", lines())
    write_text(bundle / "expression_shapes.json", shapes.text())


def _outcome(plan: Plan, early: bool) -> bool:
    missing = [stage.name for stage in plan.stages if not plan.done(stage)]
    if missing and not early:
        failed = ", ".join(plan.failures) or "none"
        raise TrainingError(
            f"These stages cannot go on: {', '.join(missing)} (failed: {failed}). See {plan.state}/log."
        )
    return not missing


def _start(plan: Plan, stage: Stage, seconds: float, lock: int) -> subprocess.Popen[bytes]:
    command = plan.command(stage, seconds)
    path = plan.state / "log" / f"{stage.name}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "PEOPLE": str(plan.state)}
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        environment.setdefault(name, "1")
    log.info("%s: %s", stage.name, " ".join(command[1:]))
    with path.open("ab") as stream:
        # A piece keeps the lock: a driver started after this one was killed waits for it.
        return subprocess.Popen(command, env=environment, stdout=stream, stderr=stream, pass_fds=(lock,))


def _stop(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.terminate()
    end = time.monotonic() + STOPPING_SECONDS
    for process in processes:
        try:
            process.wait(max(0.1, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def _alone(state: Path, end: float) -> Iterator[int]:
    """The folder's lock, waited for while pieces of a killed driver still run."""
    (state / "done").mkdir(parents=True, exist_ok=True)
    with (state / "pipeline.lock").open("a+") as file:
        told = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not told:
                    log.info("another pipeline, or a piece of one, works in %s; waiting for its end", state)
                told = True
                if time.monotonic() > end - LEAST_SECONDS:
                    raise TrainingError(f"Another pipeline works in {state}. Wait for its end.") from None
                time.sleep(0.5)
        yield file.fileno()


def main(arguments: list[str] | None = None) -> int:
    """Command line; exit status 0 when all is done, 3 when there is more to do, 2 for errors a person can fix."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="people-cpu", help="a recipe with a pipeline.yaml")
    parser.add_argument("--state", type=Path, required=True, help="folder of everything that is made")
    parser.add_argument("--seconds", type=float, default=0.0, help="end after so long; 0: when all is done")
    parser.add_argument("--workers", type=int, default=1, help="processes at a time, of one thread each")
    parser.add_argument("--status", action="store_true", help="only tell what is done")
    o = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%m-%d %H:%M:%S")
    try:
        plan = read_plan(o.config, o.state.resolve())
        complete = o.status or run_pipeline(plan, o.seconds, o.workers)
    except Arc2FaceError as error:
        print(error, file=sys.stderr)
        return 2
    print("\n".join(plan.status()))
    return 0 if complete else 3


if __name__ == "__main__":
    sys.exit(main())
