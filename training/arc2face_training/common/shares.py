"""Memory-mapped arrays that all processes of a run fill in shares, in resumable pieces."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arc2face.weights.store import replace_with
from arc2face_training.common.errors import TrainingError
from arc2face_training.common.session import PieceOver, Session

Write = Callable[[NDArray[Any], NDArray[np.int64]], None]


def filled(
    path: Path,
    shape: tuple[int, ...],
    ready: NDArray[np.bool_],
    write: Write,
    session: Session | None = None,
    batch: int = 16,
) -> NDArray[np.float16]:
    """The float16 array at `path`, read-only, in which every ready unit has been written.

    `ready`: (units,) bool, for example people; `write(array, units)` writes the rows of some of them. Each process
    writes every n-th unit and notes it in a file of its own beside the array. Raises PieceOver, on all processes, when
    the session's time ends before the last unit; TrainingError when the array will not fit on the disk.
    """
    rank, count = (0, 1) if session is None else (session.rank, session.count)
    if rank == 0 and not path.exists():
        _create(path, shape)
    if session is not None:
        session.wait()
    store = np.lib.format.open_memmap(path, "r+")
    if store.shape != shape:
        raise TrainingError(f"{path} has another shape, {store.shape} instead of {shape}; delete it.")
    todo = np.flatnonzero(ready & ~_done(path, len(ready)))[rank::count]
    mine = np.zeros(len(ready), bool)
    note = path.with_suffix(f".done-{rank}.npy")
    if note.exists():
        mine |= np.load(note)
    for start in range(0, len(todo), batch):
        units = todo[start : start + batch]
        write(store, units)
        store.flush()
        mine[units] = True
        with replace_with(note) as part, part.open("wb") as file:
            np.save(file, mine)
        if session is not None and session.over():
            break
    if session is not None:
        session.wait()
    if np.any(ready & ~_done(path, len(ready))):
        raise PieceOver
    return np.load(path, mmap_mode="r")


def _create(path: Path, shape: tuple[int, ...]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    size, free = int(np.prod(shape)) * 2, shutil.disk_usage(path.parent).free
    if free < size + (64 << 20):
        raise TrainingError(f"Only {free >> 20} MB are free at {path.parent}; {path.name} needs {size >> 20} MB.")
    for old in path.parent.glob(f"{path.stem}.done-*.npy"):
        old.unlink()
    np.lib.format.open_memmap(path, "w+", np.float16, shape).flush()


def _done(path: Path, units: int) -> NDArray[np.bool_]:
    done = np.zeros(units, bool)
    for note in path.parent.glob(f"{path.stem}.done-*.npy"):
        done |= np.load(note)
    return done
