"""Checkpoints that are either whole or absent, and that refuse to continue another experiment."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from arc2face.errors import StorageError
from training.common.errors import TrainingError

CHECKPOINT = "checkpoint.pt"


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Let `write` fill a temporary file beside `path`, flush it to disk, and rename it.

    Raises StorageError when the disk is full or the folder cannot be written; an older file at `path` survives.
    """
    # Some writers choose the format by the suffix, so it stays.
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.replace(path)
    except (OSError, RuntimeError) as error:  # torch reports a failed write as RuntimeError
        temporary.unlink(missing_ok=True)
        if isinstance(error, RuntimeError) and "write" not in str(error) and "file" not in str(error):
            raise
        full = isinstance(error, OSError) and error.errno == errno.ENOSPC
        reason = "the disk is full" if full else str(error)
        raise StorageError(
            f"{path} could not be written: {reason}. Free some space and start again; it resumes."
        ) from error


def save_checkpoint(folder: Path, state: Mapping[str, Any]) -> None:
    """Write `folder/checkpoint.pt`: tensors, numbers, strings, lists and dicts only."""
    write_atomically(folder / CHECKPOINT, lambda path: torch.save(dict(state), path))


def load_checkpoint(folder: Path, fingerprint: str) -> dict[str, Any] | None:
    """The state of a run, or None when there is none.

    Raises TrainingError when the file is damaged or belongs to another config.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise TrainingError(f"{path} is damaged ({type(error).__name__}). Delete it to start over.") from error
    if not isinstance(state, dict) or state.get("fingerprint") != fingerprint:
        raise TrainingError(
            f"{path} belongs to a run with other settings. "
            "Choose another output folder, or delete the file to start over."
        )
    return state
