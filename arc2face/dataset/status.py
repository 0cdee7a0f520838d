"""How far a data set is, from the footers of its manifests alone: works on a read-only share, while others draw."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from arc2face.dataset import manifest
from arc2face.dataset.folder import DatasetFolder
from arc2face.dataset.leftovers import strays
from arc2face.dataset.planning import estimate, load_plan
from arc2face.errors import InputError

__all__ = ["Status", "status"]


@dataclass(frozen=True, slots=True)
class Status:
    """`shards` of `shards_total` are finished. `pictures`, `left_out`, `failed` of `pictures_total` asked for.

    `bytes`: of the finished tars. `bytes_left`: an estimate from them. `unfinished`: temporary files, of writers at
    work or dead. `unreadable`: manifests that cannot be used. `seconds_left`: an estimate from the last hour's shards,
    None where none was finished in it.
    """

    folder: str
    plan: str
    people: int
    shards: int
    shards_total: int
    pictures: int
    left_out: int
    failed: int
    pictures_total: int
    bytes: int
    bytes_left: int
    unfinished: int
    unreadable: tuple[str, ...]
    seconds_left: float | None

    @property
    def rows(self) -> int:
        """Pictures that are settled: drawn, left out or failed."""
        return self.pictures + self.left_out + self.failed

    @property
    def complete(self) -> bool:
        """Whether every shard is finished."""
        return self.shards == self.shards_total

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self) | {"complete": self.complete}


def status(path: DatasetFolder | Path | str) -> Status:
    """How far the data set in a folder is. Raises InputError for a folder without a plan."""
    folder = path if isinstance(path, DatasetFolder) else DatasetFolder.of(path)
    plan = load_plan(folder)
    found: list[manifest.Facts] = []
    unreadable: list[str] = []
    times: list[float] = []
    for shard in folder.committed():
        place = folder.manifest(shard)
        try:
            facts = manifest.read_facts(place)
            times.append(place.stat().st_mtime)
        except (InputError, OSError) as error:
            unreadable.append(str(error))
            continue
        if facts.plan != plan.sha256 or shard >= plan.shards:
            unreadable.append(f"{place} is of another plan.")
        else:
            found.append(facts)
    size, left = sum(facts.tar_bytes for facts in found), plan.shards - len(found)
    return Status(
        folder=str(folder.root),
        plan=plan.sha256,
        people=plan.people,
        shards=len(found),
        shards_total=plan.shards,
        pictures=sum(facts.pictures for facts in found),
        left_out=sum(facts.left_out for facts in found),
        failed=sum(facts.failed for facts in found),
        pictures_total=plan.total,
        bytes=size,
        bytes_left=size // len(found) * left if found else estimate(plan).bytes,
        unfinished=len(strays((folder.root, folder.shards))),
        unreadable=tuple(unreadable),
        seconds_left=_seconds_left(times, left),
    )


def _seconds_left(times: list[float], left: int) -> float | None:
    """From the rate of the last hour, whoever drew; the first of its shards only marks the beginning."""
    recent = sorted(moment for moment in times if time.time() - moment < 3600.0)
    if not left:
        return 0.0
    if len(recent) < 2 or recent[-1] <= recent[0]:
        return None
    return (recent[-1] - recent[0]) / (len(recent) - 1) * left
