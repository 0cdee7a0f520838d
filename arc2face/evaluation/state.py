"""What was seen, kept in a folder block by block: a run goes on where it stopped, and several can share one folder.

A block file appears whole or not at all, and holds its own keys. Which process writes it does not matter.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arc2face import checks
from arc2face.errors import InputError, SettingsError, StorageError
from arc2face.evaluation.looking import Looker
from arc2face.evaluation.samples import FaceSet, Sample
from arc2face.weights.jsonfile import parse_json
from arc2face.weights.store import replace_with

BLOCK = 32
HEADER = "state.json"
Arrays = dict[str, NDArray[Any]]
OnProgress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Shard:
    """Part `index` of `count`, from 0: every `count`-th block."""

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        checks.whole("The number of shards", self.count, (1, 100_000))
        checks.whole("The shard", self.index, (0, self.count - 1))

    @classmethod
    def parse(cls, text: str | None) -> Shard:
        """`i/n` with i from 0; None is the whole. Raises SettingsError."""
        if text is None:
            return cls()
        index, slash, count = text.partition("/")
        if not slash or not index.strip().isdigit() or not count.strip().isdigit():
            raise SettingsError(f"A shard is written i/n, such as 0/4 to 3/4, not {checks.shown(text)}.")
        return cls(int(index), int(count))


class State:
    """The state folder of one run over one set."""

    def __init__(self, folder: Path, faces: FaceSet, looker: Looker) -> None:
        """Opens or makes it. Raises SettingsError when it belongs to another set, protocol or models."""
        self.folder, self.faces, self.looker = folder, faces, looker
        self.count = -(-len(faces.samples) // BLOCK)
        header = {
            "set": faces.digest(),
            "pictures": len(faces.samples),
            "looking": looker.protocol.looking(looker.models()),
            "columns": sorted(looker.columns),
            "block": BLOCK,
        }
        _check_header(folder / HEADER, header)

    def run(self, shard: Shard, on_progress: OnProgress | None = None) -> None:
        """Look at every picture of this shard that nobody has looked at."""
        mine = list(range(shard.index, self.count, shard.count))
        for done, number in enumerate(mine):
            if self._read(number) is None:
                self._write(number, self._samples(number))
            if on_progress is not None:
                on_progress(done + 1, len(mine))

    def missing(self) -> int:
        """Blocks that are not there yet."""
        return sum(not self._path(number).is_file() for number in range(self.count))

    def load(self) -> Arrays:
        """Everything, in the order of the set, plus `key` and `error` (n,) str. Raises StorageError."""
        blocks: list[Arrays] = []
        for number in range(self.count):
            block = self._read(number)
            if block is None:
                raise StorageError(f"{self._path(number)} is missing or damaged; run the same command again.")
            blocks.append(block)
        return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}

    def _samples(self, number: int) -> tuple[Sample, ...]:
        return self.faces.samples[number * BLOCK : (number + 1) * BLOCK]

    def _path(self, number: int) -> Path:
        return self.folder / "looks" / f"{number:06d}.npz"

    def _write(self, number: int, samples: Iterable[Sample]) -> None:
        looks = [(sample.key, *self.looker.look(sample)) for sample in samples]
        arrays: Arrays = {
            name: np.stack([np.asarray(row[name], kind).reshape(shape) for _, row, _ in looks])
            for name, (kind, shape) in self.looker.columns.items()
        }
        arrays["key"] = np.array([key for key, _, _ in looks])
        arrays["error"] = np.array([error for _, _, error in looks])
        with replace_with(self._path(number)) as temporary, temporary.open("wb") as stream:
            np.savez(stream, allow_pickle=False, **arrays)

    def _read(self, number: int) -> Arrays | None:
        """A block, None when it is not there, damaged, or of other pictures."""
        try:
            with np.load(self._path(number), allow_pickle=False) as stored:
                block = {name: stored[name] for name in stored.files}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None
        keys = [sample.key for sample in self._samples(number)]
        wanted = {*self.looker.columns, "key", "error"}
        return block if wanted <= set(block) and block["key"].tolist() == keys else None


def _check_header(path: Path, header: dict[str, Any]) -> None:
    if not path.is_file():
        with replace_with(path) as temporary:
            temporary.write_text(json.dumps(header, indent=2), encoding="utf-8")
        return
    try:
        found: Any = parse_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}); delete its folder to look again.") from error
    known = found if isinstance(found, dict) else {}
    for name, what in (("set", "another list of pictures"), ("looking", "other models or readers"), ("columns", "other "
                       "networks"), ("block", "another version")):  # fmt: skip
        if known.get(name) != header[name]:
            raise SettingsError(
                f"{path.parent} belongs to {what}. Choose another output folder, or delete this one to start over."
            )
