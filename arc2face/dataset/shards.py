"""A shard: the pictures of some people in one tar, and their manifest, which is written last and so is the commit mark.

Both files are whole or not there. A shard that is committed is never touched again; one that is not is drawn from the
start. Two writers of one shard give the same files, and one of them is kept.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import shutil
import tarfile
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from arc2face.dataset import manifest
from arc2face.dataset.drawing import LEFT_OUT, Drawer, Drawn, never
from arc2face.dataset.folder import DatasetFolder
from arc2face.dataset.leftovers import lock, owned, sweep
from arc2face.dataset.manifest import Facts, Row
from arc2face.dataset.plan import DatasetPlan
from arc2face.dataset.planning import estimate, gigabytes, open_set
from arc2face.errors import InputError, StorageError

if TYPE_CHECKING:
    from arc2face.engine import Engine

__all__ = ["ShardDone", "run_shard", "threads_of", "write_shard"]

_IN_JSON = ("identity", "identity_number", "picture", "seed", "pose_name", "yaw", "pitch", "roll", "expression_name")
_IN_JSON_TOO = ("expression", "similarity", "detector_score", "width", "height", "pixels_sha256", "plan")


@dataclass(frozen=True, slots=True)
class ShardDone:
    """A committed shard. `failed`: pictures that could not be had. `drawn`: False where it was there already.

    `cpu_seconds`: of this process while it drew, all threads together.
    """

    shard: int
    pictures: int
    left_out: int
    failed: int
    drawn: bool
    cpu_seconds: float = 0.0


def run_shard(
    engine: Engine,
    plan: DatasetPlan,
    shard: int,
    folder: DatasetFolder | Path | str,
    stop: Callable[[], bool] = never,
) -> ShardDone:
    """Draw one shard of the data set in `folder` and commit it; nothing to do where it is committed.

    For many shards make a `Drawer` once and call `write_shard`.

    Raises:
        InputError: the folder holds another plan. CancelledError: `stop` said so. StorageError: the disk refuses.
        WeightsError, DeviceError: the models or the machine.
    """
    opened = open_set(folder)
    if opened.plan.sha256 != plan.sha256:
        raise InputError(f"{opened.folder.root} holds another plan than this one; pictures of two would be mixed.")
    return write_shard(Drawer(engine, opened, stop), shard)


def write_shard(drawer: Drawer, shard: int) -> ShardDone:
    """As `run_shard`, with a drawer that is used again."""
    folder, plan = drawer.opened.folder, drawer.opened.plan
    people = plan.people_of(shard)
    if folder.manifest(shard).exists():
        return _known(folder, shard, drawn=False)
    _check_room(folder, plan, drawer.engine.native_size)
    rows: list[Row] = []
    started = time.process_time()
    with threads_of(drawer), _committing(folder, shard) as tar:
        for number in people:
            for drawn in drawer.person(number):
                tar.add(drawn)
                rows.append(drawn.row)
        tar.finish(rows, plan.sha256)
    return replace(_known(folder, shard, drawn=True), cpu_seconds=time.process_time() - started)


@contextlib.contextmanager
def threads_of(drawer: Drawer) -> Generator[None]:
    """The plan's number of threads on a CPU: another one rounds the last digits of a picture differently."""
    import torch

    before = torch.get_num_threads()
    if drawer.engine.runtime.device == "cpu":
        torch.set_num_threads(drawer.opened.plan.threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Tar:
    """A shard in the making: members go to the disk as they come."""

    def __init__(self, temporary: Path, folder: DatasetFolder, shard: int) -> None:
        self.temporary, self.folder, self.shard = temporary, folder, shard
        self.rows: list[Row] = []
        self.facts: Facts | None = None
        self._tar = tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115

    def add(self, drawn: Drawn) -> None:
        """The files of one picture; nothing for a row without one."""
        row = drawn.row
        if drawn.data is None or row.file is None:
            return
        words = {name: getattr(row, name) for name in (*_IN_JSON, *_IN_JSON_TOO)}
        self._member(row.file, drawn.data)
        self._member(f"{row.key}.json", json.dumps(words, sort_keys=True).encode())
        self._member(f"{row.key}.cls", str(row.identity_number).encode())

    def finish(self, rows: Sequence[Row], plan: str) -> None:
        """The tar is whole; its hash and counts go into the manifest."""
        self._tar.close()
        size, digest = self.temporary.stat().st_size, _sha256(self.temporary)
        pictures = sum(row.file is not None for row in rows)
        self.rows = list(rows)
        left_out = sum((row.error or "").startswith(LEFT_OUT) for row in rows)
        failed = len(rows) - pictures - left_out
        self.facts = Facts(plan, self.shard, len(rows), pictures, left_out, failed, size, digest)

    def close(self) -> None:
        """Let go of the file, finished or not."""
        with contextlib.suppress(OSError):
            self._tar.fileobj.close()  # type: ignore[union-attr]  # closing the tar itself would write its end

    def _member(self, name: str, data: bytes) -> None:
        info = tarfile.TarInfo(name)  # no time and no owner: the same plan gives the same bytes
        info.size = len(data)
        self._tar.addfile(info, io.BytesIO(data))


@contextlib.contextmanager
def _committing(folder: DatasetFolder, shard: int) -> Generator[_Tar]:
    """A tar that appears with its manifest when the body has finished it, or not at all.

    Where another writer committed the shard meanwhile, that one stays and this one's work is dropped.
    """
    tar: _Tar | None = None
    with contextlib.ExitStack() as held:
        with contextlib.suppress(_LaterThanAnother), owned(folder.tar(shard)) as temporary:
            tar = _Tar(temporary, folder, shard)
            try:
                yield tar
            finally:
                tar.close()
            held.enter_context(_only_writer(folder))
            if folder.manifest(shard).exists():
                raise _LaterThanAnother
        if not folder.manifest(shard).exists():
            assert tar is not None and tar.facts is not None
            manifest.write(folder.manifest(shard), tar.rows, tar.facts)


class _LaterThanAnother(Exception):
    """The shard is there already; ends the writing without a trace."""


@contextlib.contextmanager
def _only_writer(folder: DatasetFolder) -> Generator[None]:
    """For the moment of committing nobody else commits, as far as the disk knows locks and the plan may be opened."""
    with contextlib.ExitStack() as held:
        with contextlib.suppress(OSError):
            lock(held.enter_context(folder.plan.open("r+b")), wait=True)  # to write, as locks on network disks want
        yield


def sweep_folder(folder: DatasetFolder) -> list[Path]:
    """Remove what dead writers left; returns it."""
    return sweep((folder.root, folder.shards))


def _check_room(folder: DatasetFolder, plan: DatasetPlan, side: int) -> None:
    """Raises StorageError when the next shard will not fit: the run stops between shards, with nothing half."""
    share = min(1.0, plan.per_shard / plan.people)
    needed = int(estimate(plan, side).bytes * share)
    free = shutil.disk_usage(folder.root).free
    if free < needed:
        raise StorageError(
            f"The next shard needs about {gigabytes(needed)}, and {folder.root} has {gigabytes(free)} left. Free some "
            "disk space; the same command goes on with this shard."
        )


def _known(folder: DatasetFolder, shard: int, drawn: bool) -> ShardDone:
    facts = manifest.read_facts(folder.manifest(shard))
    return ShardDone(shard, facts.pictures, facts.left_out, facts.failed, drawn)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()
