"""Drawing a data set on this machine: in this process, or in one process per device.

    run("faces", EngineChoice(device="cuda"))                              # this process
    run("faces", EngineChoice(), devices=["cuda:0", "cuda:1"])             # one process each
    run("faces", EngineChoice(), part=Part(2, 8))                          # the third of eight jobs

The same call goes on where an earlier one stopped, however it stopped.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, replace
from multiprocessing import connection, get_context, parent_process
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arc2face.dataset import manifest
from arc2face.dataset.dispatch import OnProgress, Outcome, RunDone, RunProgress, Tally, dispatch, error_from, words_of
from arc2face.dataset.drawing import Drawer, never
from arc2face.dataset.folder import DatasetFolder
from arc2face.dataset.parts import Part
from arc2face.dataset.planning import OpenSet, open_set
from arc2face.dataset.shards import ShardDone, sweep_folder, write_shard
from arc2face.errors import Arc2FaceError, CancelledError, InputError
from arc2face.evaluation.judge import Judge
from arc2face.settings import Switch, VramPolicy

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

    from arc2face.engine import Engine

__all__ = ["EngineChoice", "RunDone", "RunProgress", "check_models", "run", "work_left"]

END_SECONDS = 20.0
"""How long a worker that was asked to end may take: a step of the denoiser, and closing its engine."""
MAX_REVIVED = 2
"""How often the last worker is started anew."""


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """Which models run where; travels to other processes. See `Engine.open`.

    `judge`, `judge_order`: an independent recogniser (.onnx) and its channel order, for second scores.
    """

    models: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    vram: VramPolicy = "resident"
    fast_path: Switch = "auto"
    judge: str | None = None
    judge_order: str = "rgb"

    def second(self) -> Judge | None:
        """The independent recogniser. Raises MissingWeightsError where its file is not there."""
        return None if self.judge is None else Judge(self.judge, self.judge_order)

    def open(self) -> Engine:
        """An engine in this process. Its batches are the plan's alone."""
        from arc2face.engine import Engine

        return Engine.open(
            self.models,
            device=self.device,
            dtype=self.dtype,
            vram=self.vram,
            fast_path=self.fast_path,
            batching="off",
        )


def run(
    folder: DatasetFolder | Path | str,
    choice: EngineChoice,
    *,
    devices: Sequence[str] = (),
    part: Part = Part(),  # noqa: B008 a frozen value
    on_progress: OnProgress = lambda progress: None,
    stop: Callable[[], bool] = never,
    engine: Engine | None = None,
) -> RunDone:
    """Draw every shard of a part that is not committed yet.

    Args:
        folder: of the data set.
        choice: which models.
        devices: one process each; none or one runs in this process.
        part: which shards.
        on_progress: hears how far it is.
        stop: asked between batches; True ends with CancelledError, and the shard under way is drawn again next time.
        engine: an open engine to use in this process instead of `choice`.

    Raises:
        CancelledError, InputError, WeightsError, DeviceError, StorageError: what is finished stays in every case.
    """
    opened = open_set(folder)
    todo, tally = work_left(opened, part, on_progress)
    try:
        if len(devices) > 1:
            choices = [replace(choice, device=device) for device in devices[: max(1, len(todo))]]
            if todo:
                dispatch(_Processes(opened.folder, choices), todo, tally, stop)
        elif todo:
            one = replace(choice, device=devices[0]) if devices else choice
            _here(opened, one, engine, todo, tally, stop)
    finally:
        sweep_folder(opened.folder)
    return tally.finished()


def work_left(opened: OpenSet, part: Part, on_progress: OnProgress) -> tuple[list[int], Tally]:
    """The shards of a part that are not committed, and counts with those that are. Sweeps what dead writers left."""
    sweep_folder(opened.folder)
    ours = part.shards(opened.plan.shards)
    there = set(opened.folder.committed()) & set(ours)
    tally = Tally(len(ours), lambda progress: None)
    for shard in sorted(there):
        facts = manifest.read_facts(opened.folder.manifest(shard))
        if facts.plan != opened.plan.sha256:
            raise InputError(
                f"Shard {shard} in {opened.folder.root} is of another plan. Run: arc2face dataset verify --repair"
            )
        tally.add(ShardDone(shard, facts.pictures, facts.left_out, facts.failed, drawn=False))
    tally.on_progress = on_progress
    tally.tell()
    return [shard for shard in ours if shard not in there], tally


def check_models(drawer: Drawer) -> None:
    """Raises InputError where finished shards were drawn by other model files: one set, one kind of picture."""
    folder = drawer.opened.folder
    for shard in folder.committed()[:1]:
        rows = manifest.read_table(folder.manifest(shard), ["models"]).to_pylist()
        if rows and rows[0]["models"] != drawer.models_json:
            raise InputError(
                f"The finished shards in {folder.root} were drawn by other model files than these; the pictures would "
                "be mixed. Choose the same models (--models), or plan a new folder."
            )


def _here(
    opened: OpenSet,
    choice: EngineChoice,
    engine: Engine | None,
    todo: Sequence[int],
    tally: Tally,
    stop: Callable[[], bool],
) -> None:
    used = engine or choice.open()
    try:
        drawer = Drawer(used, opened, stop, choice.second())
        check_models(drawer)
        for shard in todo:
            if stop():
                raise CancelledError("Stopped as you asked.")
            tally.add(write_shard(drawer, shard))
    finally:
        if engine is None:
            used.close()


@dataclass
class _Worker:
    """`shard`: that it has, None while it waits."""

    process: SpawnProcess
    pipe: Connection
    shard: int | None = None


class _Processes:
    """A crew of processes on this machine, one per device."""

    def __init__(self, folder: DatasetFolder, choices: Sequence[EngineChoice]) -> None:
        self._folder, self._choices, self._revived = folder, list(choices), 0
        self._workers = [self._start(choice) for choice in choices]

    def ready(self) -> list[int]:
        return list(range(len(self._workers)))

    def expecting(self) -> bool:
        return False

    def hand(self, worker: int, shard: int) -> None:
        self._workers[worker].shard = shard
        with contextlib.suppress(OSError):  # it died while it waited; `wait` finds that out
            self._workers[worker].pipe.send(shard)

    def wait(self, seconds: float) -> list[Outcome]:
        busy = {number: each for number, each in enumerate(self._workers) if each.shard is not None}
        things: dict[Any, int] = {each.pipe: number for number, each in busy.items()}
        things |= {each.process.sentinel: number for number, each in busy.items()}
        ready = {things[thing] for thing in connection.wait(list(things), seconds)}
        return [self._heard(number, busy[number]) for number in sorted(ready)]

    def revive(self, worker: int, others: int) -> bool:
        """Others take over; the last one is started anew, a few times."""
        _end([self._workers[worker]])
        if others or self._revived >= MAX_REVIVED:
            return False
        self._revived += 1
        self._workers[worker] = self._start(self._choices[worker])
        return True

    def close(self) -> None:
        _end(self._workers)

    def _start(self, choice: EngineChoice) -> _Worker:
        context = get_context("spawn")  # a fork would share locks and, on a GPU, a context that does not survive it
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs, str(self._folder.root), choice), daemon=True)
        process.start()
        theirs.close()
        return _Worker(process, ours)

    def _heard(self, number: int, worker: _Worker) -> Outcome:
        shard, worker.shard = worker.shard, None
        assert shard is not None
        with contextlib.suppress(EOFError, OSError):
            if worker.pipe.poll():
                kind, *content = worker.pipe.recv()
                if kind == "done":
                    return Outcome(number, shard, done=ShardDone(*content))
                return Outcome(number, shard, error=error_from(*content))
        worker.process.join(1.0)
        code = worker.process.exitcode
        died = f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with code {code}"
        return Outcome(number, shard, text=f"its worker (process {worker.process.pid}) {died}.")


def _end(workers: Sequence[_Worker]) -> None:
    """Ask all to end at once; those that do not are killed."""
    for each in workers:
        if each.process.is_alive():
            each.process.terminate()
    for each in workers:
        each.process.join(END_SECONDS)
        if each.process.is_alive():
            each.process.kill()
            each.process.join()
        each.pipe.close()


def _work(pipe: Connection, root: str, choice: EngineChoice) -> None:
    """A worker's whole life: shards in, words out, until the pipe closes, a SIGTERM comes or the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    signal.signal(signal.SIGTERM, _leave)
    threading.Thread(target=_follow_parent, daemon=True).start()
    drawer: Drawer | None = None
    try:
        while True:
            shard = pipe.recv()
            try:
                if drawer is None:
                    drawer = Drawer(choice.open(), open_set(root), judge=choice.second())
                    check_models(drawer)
                done = write_shard(drawer, shard)
                answer: tuple[Any, ...] = ("done", *astuple(done))
            except Exception as error:
                if not isinstance(error, Arc2FaceError):
                    import traceback

                    traceback.print_exc()
                answer = ("error", *words_of(error))
            pipe.send(answer)
    except (EOFError, OSError):
        pass  # the parent closed the pipe
    finally:
        if drawer is not None:
            drawer.engine.close()


def _leave(number: int, frame: object) -> None:
    raise SystemExit(128 + number)


def _follow_parent() -> None:
    """Whatever ends the parent, kill -9 included, ends its workers."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
