"""Which shards are ours: `i/n`, or what the scheduler that started this process says in its variables."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from arc2face import checks
from arc2face.errors import SettingsError

__all__ = ["Part", "device_of_rank", "part_of"]

MAX_PARTS = 1_000_000


@dataclass(frozen=True, slots=True)
class Part:
    """Part `index` (from 0) of `count`: every shard whose number leaves that rest."""

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        checks.whole("The number of parts", self.count, (1, MAX_PARTS))
        checks.whole(f"The part (of {self.count}, counted from 0)", self.index, (0, self.count - 1))

    def shards(self, total: int) -> list[int]:
        """The shards of this part."""
        return list(range(self.index, total, self.count))


def part_of(text: str | None, environment: Mapping[str, str] | None = None) -> Part:
    """`2/8` (the third of eight), `auto`, or None for all.

    `auto` reads a SLURM array (SLURM_ARRAY_TASK_ID, _MIN, _MAX, _STEP, _COUNT), a Kubernetes indexed job
    (JOB_COMPLETION_INDEX, with JOB_COMPLETIONS set by you), and ranks (RANK and WORLD_SIZE, else SLURM_PROCID and
    SLURM_NTASKS); an array of several ranks each is divided by both. Raises SettingsError.
    """
    if text is None:
        return Part()
    if text != "auto":
        found = re.fullmatch(r"\s*(\d{1,9})\s*/\s*(\d{1,9})\s*", text)
        if found is None:
            raise SettingsError(f"A part is written 2/8 (the third of eight) or auto, not {checks.shown(text)}.")
        return Part(int(found[1]), int(found[2]))
    given = os.environ if environment is None else environment
    outer, inner = _array(given), _rank(given)
    if outer is None and inner is None:
        raise SettingsError(
            "--shard auto finds no scheduler: neither SLURM_ARRAY_TASK_ID, JOB_COMPLETION_INDEX nor RANK is set. "
            "Write the part, for example --shard 0/4."
        )
    outer, inner = outer or Part(), inner or Part()
    return Part(outer.index * inner.count + inner.index, outer.count * inner.count)


def device_of_rank(device: str, environment: Mapping[str, str] | None = None) -> str:
    """`cuda:2` for `auto` in the third process of a machine (LOCAL_RANK, SLURM_LOCALID) with CUDA devices."""
    given = os.environ if environment is None else environment
    local = given.get("LOCAL_RANK") or given.get("SLURM_LOCALID")
    if device != "auto" or local is None or not local.isdigit():
        return device
    import torch

    count = torch.cuda.device_count()
    return f"cuda:{int(local) % count}" if count > 1 else device


def _array(given: Mapping[str, str]) -> Part | None:
    if "SLURM_ARRAY_TASK_ID" in given:
        first, step = _whole(given, "SLURM_ARRAY_TASK_MIN", 0), max(1, _whole(given, "SLURM_ARRAY_TASK_STEP", 1))
        index = (_whole(given, "SLURM_ARRAY_TASK_ID") - first) // step
        if "SLURM_ARRAY_TASK_MAX" in given:  # of a sparse array (1,5,9) the count alone says too little
            span = (_whole(given, "SLURM_ARRAY_TASK_MAX") - first) // step + 1
            if span != _whole(given, "SLURM_ARRAY_TASK_COUNT", span):
                raise SettingsError("--shard auto needs an array without gaps, such as --array=0-63.")
            return Part(index, span)
        return Part(index, _whole(given, "SLURM_ARRAY_TASK_COUNT"))
    if "JOB_COMPLETION_INDEX" in given:
        return Part(_whole(given, "JOB_COMPLETION_INDEX"), _whole(given, "JOB_COMPLETIONS"))
    return None


def _rank(given: Mapping[str, str]) -> Part | None:
    if "RANK" in given and "WORLD_SIZE" in given:
        return Part(_whole(given, "RANK"), _whole(given, "WORLD_SIZE"))
    if "SLURM_PROCID" in given and "SLURM_NTASKS" in given:
        return Part(_whole(given, "SLURM_PROCID"), _whole(given, "SLURM_NTASKS"))
    return None


def _whole(given: Mapping[str, str], name: str, usual: int | None = None) -> int:
    text = given.get(name, "" if usual is None else str(usual))
    if not text.strip().isdigit():
        raise SettingsError(f"--shard auto needs a whole number in {name}, not {checks.shown(text)}.")
    return int(text)
