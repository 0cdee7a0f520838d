"""Checkpoints that are either whole or absent, that rotate, and that refuse to continue another experiment."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from arc2face.weights.store import replace_with
from arc2face_training.common.errors import TrainingError
from arc2face_training.common.settings import LoopConfig, fall_start

CHECKPOINT = "checkpoint.pt"
STABLE = "stable.pt"
"""The checkpoint before the learning rate fell; a longer run goes on from it."""
NUMBERED = "checkpoint-{:08d}.pt"
SLACK = 64 << 20


def save_torch(state: Mapping[str, Any], path: Path) -> None:
    """torch.save, whole or not at all. Raises StorageError when the disk is full or the folder cannot be written."""
    with replace_with(path) as part:
        try:
            with part.open("wb") as stream:  # given a name, torch derives one for inside, and refuses ours
                torch.save(dict(state), stream)
        except RuntimeError as error:  # how torch reports a failed write
            code = errno.ENOSPC if shutil.disk_usage(path.parent).free < SLACK else errno.EIO
            raise OSError(code, os.strerror(code)) from error


def load_torch(path: Path) -> dict[str, Any]:
    """A checkpoint's dict; tensors stay in the file until they are read. Raises TrainingError for a damaged file."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except FileNotFoundError as error:
        raise TrainingError(f"There is no checkpoint {path}. Check the name.") from error
    except Exception as error:
        raise TrainingError(f"{path} is damaged ({type(error).__name__}). Delete it to start over.") from error
    if not isinstance(state, dict) or "settings" not in state:
        raise TrainingError(
            f"{path} was not written by this version's trainers. "
            "Choose another output folder, or delete it to start over."
        )
    return state


class Checkpoints:
    """The files of one run: the last state, the one before the learning rate fell, and numbered ones.

    Numbered and stable files share the last one's blocks on the disk until it is replaced.
    """

    def __init__(self, folder: Path, config: LoopConfig) -> None:
        self.folder, self.config = folder, config

    def due(self, step: int) -> bool:
        """Whether the state after `step` has a place of its own."""
        return step == self._before_fall() or (self.config.keep_every > 0 and step % self.config.keep_every == 0)

    def save(self, state: Mapping[str, Any]) -> None:
        """Write the last state, and the names it also stands for."""
        save_torch(state, self.folder / CHECKPOINT)
        step = int(state["step"])
        if step == self._before_fall():
            self._also(STABLE)
        if self.config.keep > 0 and self.config.keep_every > 0 and step % self.config.keep_every == 0:
            self._also(NUMBERED.format(step))
            for old in sorted(self.folder.glob("checkpoint-*.pt"))[: -self.config.keep]:
                old.unlink(missing_ok=True)

    def load(self) -> dict[str, Any] | None:
        """The state to go on from, or None when there is none."""
        if self.config.checkpoint:
            return load_torch(self.folder / self.config.checkpoint)
        if not (self.folder / CHECKPOINT).exists():
            return None
        state = load_torch(self.folder / CHECKPOINT)
        longer = self.config.steps > int(state["settings"]["loop"]["steps"])
        stable = self.folder / STABLE
        if self.config.export != "now" and longer and int(state["step"]) > int(state["fall"]) and stable.exists():
            return load_torch(stable)
        return state

    def require_space(self, size: int) -> None:
        """Refuse to start where the checkpoints of this run, of `size` bytes each, will not fit on the disk."""
        self.folder.mkdir(parents=True, exist_ok=True)
        places = {CHECKPOINT} | ({STABLE} if self._before_fall() >= 0 else set())
        missing = sum(not (self.folder / name).exists() for name in places)
        if self.config.keep_every:
            missing += max(0, self.config.keep - len(list(self.folder.glob("checkpoint-*.pt"))))
        # A file is written whole before it takes the old one's place.
        needed = size * (missing + 1) + SLACK
        free = shutil.disk_usage(self.folder).free
        if free < needed:
            raise TrainingError(
                f"Only {free >> 20} MB are free at {self.folder}; this run's checkpoints need {needed >> 20} MB "
                f"({size >> 20} MB each). Free some space, or keep fewer (loop.keep)."
            )

    def _before_fall(self) -> int:
        start = fall_start(self.config)
        return start if 0 < start < self.config.steps else -1

    def _also(self, name: str) -> None:
        last, place = self.folder / CHECKPOINT, self.folder / name
        with replace_with(place) as part:
            part.unlink()
            try:
                os.link(last, part)
            except OSError:  # file systems without hard links
                shutil.copyfile(last, part)


def averaged_state(path: Path, part: str = "model") -> dict[str, Tensor]:
    """State dict of one part of an objective, averages where there are any: what an export would hold."""
    state = load_torch(path)
    everything = {**state["weights"], **state["buffers"], **state["average"]}
    prefix = f"{part}."
    return {name.removeprefix(prefix): value for name, value in everything.items() if name.startswith(prefix)}


def check_settings(
    path: Path, found: Mapping[str, Any], wanted: Mapping[str, Any], defaults: Mapping[str, Any] | None = None
) -> list[str]:
    """Differences that are allowed, as text. Raises TrainingError naming those that make it another experiment.

    How long, how fast and in which pieces a run goes may change, and so may places of files; what it trains may not.
    `defaults`: kind of settings -> values that those had which a checkpoint of an earlier version does not name.
    """
    differences = {name: (a, b) for name, a, b in _differences(_with(defaults or {}, found), wanted)}
    other = [name for name in differences if not name.startswith("loop.") or name == "loop.optimiser"]
    if other:
        raise TrainingError(
            f"{path} was made with other settings ({', '.join(sorted(other))}). "
            "Choose another output folder, or delete it to start over."
        )
    return [f"{name} {b} instead of {a}" for name, (a, b) in differences.items()]


def _with(defaults: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """`found`, with what its groups of settings lack from the defaults of their kind."""
    filled = {**defaults.get(str(found.get("trainer")), {}), **found}
    return {key: _with(defaults, value) if isinstance(value, Mapping) else value for key, value in filled.items()}


def _differences(a: Mapping[str, Any], b: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any, Any]]:
    found: list[tuple[str, Any, Any]] = []
    for key in sorted({*a, *b}):
        one, other = a.get(key), b.get(key)
        if isinstance(one, Mapping) and isinstance(other, Mapping):
            found += _differences(one, other, f"{prefix}{key}.")
        elif one != other:
            found.append((prefix + key, one, other))
    return found
