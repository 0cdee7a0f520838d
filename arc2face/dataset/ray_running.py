"""Drawing a data set on a Ray cluster: actors over the numbers of shards, the same shards as everywhere else.

    run_on_ray("faces", EngineChoice(), address="local", workers=2)
    run_on_ray("/share/faces", EngineChoice("/share/models"), address="ray-head:6379", gpus_per_worker=0.5)

The folder and the models must lie where every node sees them under the same path. A worker that dies has its shard
drawn again; when the driver dies, the same command goes on. Needs the extra `ray`.
"""

from __future__ import annotations

import atexit
import os
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any

from arc2face import checks
from arc2face.dataset.dispatch import OnProgress, Outcome, RunDone, dispatch, error_from, words_of
from arc2face.dataset.drawing import Drawer, never
from arc2face.dataset.folder import DatasetFolder
from arc2face.dataset.packages import need
from arc2face.dataset.parts import Part
from arc2face.dataset.planning import open_set
from arc2face.dataset.running import EngineChoice, check_models, work_left
from arc2face.dataset.shards import ShardDone, sweep_folder, write_shard
from arc2face.errors import Arc2FaceError, DeviceError, SettingsError

__all__ = ["LOCAL", "run_on_ray"]

LOCAL = "local"
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # Ray reports its use to its maker otherwise
    "RAY_worker_niceness": "0",  # its workers give way to everything else otherwise
}
ALONE = {
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # else Ray turns 127.0.0.1 into the machine's address and listens on all
    "RAY_AUTH_MODE": "token",
}
"""For a cluster of this machine alone. Its token is drawn here and handed on in RAY_AUTH_TOKEN: Ray would write one
into the home folder, and without one every user of this machine could run code in the workers."""
STORE_BYTES = 100 << 20
"""Ray's object store of a local cluster; nothing but numbers travels through it."""
PROBE_SECONDS = 6.0
MOST_MISSES = 3
LEAVE_SECONDS = 5.0
MOST_DEATHS = 1000
START_SECONDS = 600.0
"""How long the first worker may take: torch and the models are read by each."""


def run_on_ray(
    folder: DatasetFolder | Path | str,
    choice: EngineChoice,
    *,
    address: str = LOCAL,
    workers: int | None = None,
    gpus_per_worker: float | None = None,
    part: Part = Part(),  # noqa: B008 a frozen value
    on_progress: OnProgress = lambda progress: None,
    stop: Callable[[], bool] = never,
) -> RunDone:
    """Draw every shard of a part that is not committed yet, on the nodes of a cluster.

    Args:
        folder: of the data set, on a disk that all nodes share.
        choice: which models; a relative folder is made absolute.
        address: `local` starts a cluster of this machine alone, which listens on the loopback address only and leaves
            no token behind; `auto`, `host:port` or `ray://host:port` joins one.
        workers: how many actors; None fills the cluster: as many as it has GPUs (over `gpus_per_worker`), else CPUs.
        gpus_per_worker: share of a GPU for each, 0 for none; None takes 1 where the cluster has GPUs.
        part: which shards.
        on_progress: as `arc2face.dataset.running.run`.
        stop: as `arc2face.dataset.running.run`.

    Raises:
        DeviceError: the cluster cannot be reached, is gone, or has no room for a worker.
        CancelledError, InputError, WeightsError, StorageError: as `run`. What is finished stays in every case.
    """
    if workers is not None:
        workers = checks.whole("The number of workers", workers, (1, 4096))
    if gpus_per_worker is not None:
        gpus_per_worker = checks.number("The GPUs of a worker", gpus_per_worker, (0.0, 16.0))
    opened = open_set(DatasetFolder(_root(folder)))
    todo, tally = work_left(opened, part, on_progress)
    if not todo:
        return tally.finished()
    if choice.models is not None:
        choice = replace(choice, models=str(Path(choice.models).expanduser().resolve()))
    ray = _joined(address, workers, opened.plan.threads)
    gone = False
    try:
        gpus = _gpus(ray, gpus_per_worker)
        count = min(workers or _room(ray, gpus), len(todo))
        dispatch(_Actors(ray, str(opened.folder.root), choice, count, gpus), todo, tally, stop)
    except Exception as error:
        gone = _from_ray(error)
        if not gone:
            raise
        raise _gone(address, error) from error
    finally:
        _leave(ray, gone)
        sweep_folder(opened.folder)
    return tally.finished()


class ShardActor:
    """A worker of the cluster: one engine, opened when the first shard comes."""

    def __init__(self, root: str, choice: EngineChoice) -> None:
        self._root, self._choice = root, choice
        self._drawer: Drawer | None = None

    def pid(self) -> int:
        """Its process, for whoever watches."""
        return os.getpid()

    def draw(self, shard: int) -> tuple[Any, ...]:
        """("done", ...) as ShardDone has it, or ("error", name, text): errors of ours travel as words."""
        try:
            if self._drawer is None:
                if not Path(self._root).is_dir():
                    raise SettingsError(
                        f"{self._root} is not there on node {os.uname().nodename}; a cluster needs the data set and "
                        "the models on a disk that every node sees under the same path."
                    )
                self._drawer = Drawer(self._choice.open(), open_set(self._root), judge=self._choice.second())
                check_models(self._drawer)
            done = write_shard(self._drawer, shard)
            return "done", *astuple(done)
        except Arc2FaceError as error:
            return "error", *words_of(error)


class _Actors:
    """A crew of actors. One that dies is made anew, wherever the cluster has room, and its shard is handed out again.

    Only actors that have answered are given work: one that finds no room keeps no shard waiting.
    """

    def __init__(self, ray: Any, root: str, choice: EngineChoice, count: int, gpus: float) -> None:
        self._ray = ray
        kind = ray.remote(num_cpus=1, num_gpus=gpus, max_restarts=0, max_task_retries=0)(ShardActor)
        self._new = lambda: kind.remote(root, choice)
        self._actors = [self._new() for _ in range(count)]
        self._starting = {actor.pid.remote(): number for number, actor in enumerate(self._actors)}
        self._running: dict[Any, tuple[int, int]] = {}
        self._head, self._misses, self._probed = _head_of(ray), 0, time.monotonic()
        self._heard, self._deaths_left = time.monotonic(), MOST_DEATHS
        errors = ray.exceptions
        self._deaths = (errors.RayActorError, errors.OutOfMemoryError, errors.NodeDiedError, errors.WorkerCrashedError)

    def ready(self) -> list[int]:
        return []

    def expecting(self) -> bool:
        return bool(self._starting)

    def hand(self, worker: int, shard: int) -> None:
        self._running[self._actors[worker].draw.remote(shard)] = (worker, shard)

    def wait(self, seconds: float) -> list[Outcome]:
        finished, _ = self._ray.wait([*self._running, *self._starting], num_returns=1, timeout=seconds)
        if finished or self._running:
            self._heard = time.monotonic()
        elif time.monotonic() - self._heard > START_SECONDS:
            raise DeviceError(
                f"No worker of the cluster has answered in {START_SECONDS / 60:.0f} minutes; it may have no room for "
                "one (`ray status` tells). Ask for less with --gpus-per-worker."
            )
        self._look_for_head()
        found = [self._ready(each) if each in self._starting else self._outcome(each) for each in finished]
        return [outcome for outcome in found if outcome is not None]

    def revive(self, worker: int, others: int) -> bool:
        """Another actor takes the number; it is ready when it has answered."""
        self._deaths_left -= 1
        if self._deaths_left < 0:
            raise DeviceError(f"{MOST_DEATHS} workers of the cluster died; see its logs. The same command goes on.")
        self._end(worker)
        self._actors[worker] = self._new()
        self._starting[self._actors[worker].pid.remote()] = worker
        return False

    def close(self) -> None:
        if self._misses:  # asking a head that is not there would wait for it
            return
        for worker in range(len(self._actors)):
            self._end(worker)

    def _end(self, worker: int) -> None:
        try:
            self._ray.kill(self._actors[worker])
        except Exception as error:  # dead already, or the cluster is gone
            if not _from_ray(error):
                raise

    def _look_for_head(self) -> None:
        """Raises ConnectionError where nobody listens any longer; Ray itself would end this process after a minute."""
        if self._head is None or time.monotonic() - self._probed < PROBE_SECONDS:
            return
        self._probed = time.monotonic()
        try:
            with socket.create_connection(self._head, PROBE_SECONDS / 2):
                self._misses = 0
        except OSError as error:
            self._misses += 1
            if self._misses >= MOST_MISSES:
                raise ConnectionError(f"its head does not answer: {error}") from error

    def _ready(self, reference: Any) -> Outcome | None:
        worker = self._starting.pop(reference)
        try:
            self._ray.get(reference)
        except self._deaths:
            self.revive(worker, 0)
            return None
        return Outcome(worker, None)

    def _outcome(self, reference: Any) -> Outcome:
        worker, shard = self._running.pop(reference)
        try:
            kind, *content = self._ray.get(reference)
        except self._deaths as error:
            return Outcome(worker, shard, text=f"its worker died ({_short(error)}).")
        except self._ray.exceptions.RayTaskError as error:  # a bug of ours, with its own words
            return Outcome(worker, shard, error=RuntimeError(str(error)))
        if kind == "done":
            return Outcome(worker, shard, done=ShardDone(*content))
        return Outcome(worker, shard, error=error_from(*content))


def _joined(address: str, workers: int | None, threads: int) -> Any:
    """Ray, connected. Raises DeviceError."""
    local = address == LOCAL
    alone = ALONE | {"RAY_AUTH_TOKEN": secrets.token_hex(32)} if local else {}
    for name, value in (QUIET | alone).items():
        os.environ.setdefault(name, value)
    ray = need("ray", "ray")
    if ray.is_initialized():
        raise DeviceError("This process is connected to a Ray cluster already; call ray.shutdown() first.")
    # Workers begin in another folder, so what this process finds on relative paths they would not find.
    path = os.pathsep.join(str(Path(entry or ".").resolve()) for entry in sys.path if entry != "")
    variables = {"PYTHONPATH": path, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error", "runtime_env": {"env_vars": variables}}
    if local:
        options |= {
            "address": "local",
            "num_cpus": max(workers or 0, os.cpu_count() or 1),
            "_node_ip_address": "127.0.0.1",
            "include_dashboard": False,
            "object_store_memory": STORE_BYTES,
        }
    else:
        options["address"] = address
        _check_there(address)
    try:
        ray.init(**options)
    except Exception as error:
        raise _unreachable(address, error) from error
    return ray


def _check_there(address: str) -> None:
    """Raises DeviceError at once where nobody listens; Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return  # auto, or a name that Ray knows
    try:
        with socket.create_connection((host.strip("[]"), int(port)), PROBE_SECONDS):
            pass
    except (OSError, OverflowError) as error:
        raise _unreachable(address, error) from error


def _unreachable(address: str, error: BaseException) -> DeviceError:
    return DeviceError(
        f"The Ray cluster {address!r} cannot be reached ({_short(error)}). Check the address with `ray status`, or use "
        "--ray local."
    )


def _head_of(ray: Any) -> tuple[str, int] | None:
    """Where the cluster's head listens; None where this process speaks to it through a client's port."""
    try:
        host, _, port = str(ray.get_runtime_context().gcs_address).rpartition(":")
        return (host.strip("[]"), int(port)) if host else None
    except Exception:  # not in every way of connecting
        return None


def _leave(ray: Any, gone: bool) -> None:
    """Disconnect; from a cluster that is gone without waiting for its answer, now and at the end of the program."""
    if not gone:
        ray.shutdown()
        return
    atexit.unregister(ray.shutdown)
    leaving = threading.Thread(target=ray.shutdown, daemon=True)
    leaving.start()
    leaving.join(LEAVE_SECONDS)


def _gpus(ray: Any, wanted: float | None) -> float:
    there = float(ray.cluster_resources().get("GPU", 0.0))
    if wanted is None:
        return 1.0 if there else 0.0
    if wanted > there:
        raise DeviceError(f"The cluster has {there:g} GPUs; a worker cannot have {wanted:g}. Use --gpus-per-worker 0.")
    return wanted


def _room(ray: Any, gpus: float) -> int:
    there = ray.cluster_resources()
    fits = int(there.get("CPU", 1.0))
    return max(1, min(fits, int(float(there.get("GPU", 0.0)) / gpus)) if gpus else fits)


def _root(folder: DatasetFolder | Path | str) -> Path:
    return (folder if isinstance(folder, DatasetFolder) else DatasetFolder.of(folder)).root.resolve()


def _from_ray(error: BaseException) -> bool:
    return type(error).__module__.partition(".")[0] in ("ray", "grpc") or isinstance(error, ConnectionError)


def _gone(address: str, error: Exception) -> DeviceError:
    return DeviceError(
        f"The Ray cluster {address!r} is gone ({_short(error)}). What is finished stays. Start it again, or go "
        "on without --ray."
    )


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:160].rstrip(".") or type(error).__name__
