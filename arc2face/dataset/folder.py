"""A data set's folder: what lies where, and the one way to its rows and pictures."""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arc2face.dataset import manifest
from arc2face.dataset.identities import Identities
from arc2face.dataset.manifest import Row
from arc2face.errors import InputError

__all__ = ["IDENTITIES", "PLAN", "REFERENCES", "DatasetFolder", "picture_key"]

PLAN = "plan.json"
IDENTITIES = "identities.npz"
REFERENCES = "references.npz"
SHARDS = "shards"
REPORT = "report"
MAX_MEMBER = 256 << 20
"""Most bytes of one file in a tar."""
_MANIFEST = re.compile(r"(\d{5,})\.parquet")


def picture_key(identity_number: int, picture: int) -> str:
    """Name of a picture in its tar, without a suffix."""
    return f"{identity_number:07d}_{picture:04d}"


@dataclass(frozen=True, slots=True)
class DatasetFolder:
    """A folder that `arc2face dataset plan` made. Reading needs no right to write."""

    root: Path

    @classmethod
    def of(cls, path: Path | str) -> DatasetFolder:
        """The folder, which must hold a plan. Raises InputError."""
        root = Path(path).expanduser()
        if not (root / PLAN).is_file():
            raise InputError(
                f"{root} holds no data set ({PLAN} is not there). Make one: arc2face dataset plan -o {root}"
            )
        return cls(root)

    @property
    def plan(self) -> Path:
        """The plan's file."""
        return self.root / PLAN

    @property
    def shards(self) -> Path:
        """The folder of tars and manifests."""
        return self.root / SHARDS

    @property
    def report(self) -> Path:
        """Where `dataset report` writes."""
        return self.root / REPORT

    def tar(self, shard: int) -> Path:
        """The pictures of a shard."""
        return self.shards / f"{shard:05d}.tar"

    def manifest(self, shard: int) -> Path:
        """The manifest of a shard, its commit mark."""
        return self.shards / f"{shard:05d}.parquet"

    def committed(self) -> list[int]:
        """Numbers of the shards that are finished, in order."""
        try:
            names = [path.name for path in self.shards.iterdir()]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise InputError(f"{self.shards} cannot be read ({error.strerror or error}).") from error
        return sorted(int(found[1]) for name in names if (found := _MANIFEST.fullmatch(name)))

    def identities(self) -> Identities:
        """Who is shown. Raises EmbeddingError."""
        return Identities.load(self.root / IDENTITIES)

    def plan_json(self) -> dict[str, Any]:
        """The plan as plain JSON, unchecked but for its form; `arc2face.dataset.plan.load_plan` checks it."""
        from arc2face.weights.jsonfile import parse_json

        try:
            content = parse_json(self.plan.read_bytes())
        except (OSError, ValueError) as error:
            raise InputError(f"{self.plan} cannot be read as a plan ({error}).") from error
        if not isinstance(content, dict):
            raise InputError(f"{self.plan} is no plan: one JSON object was expected.")
        return content  # pyright: ignore[reportUnknownVariableType]

    def rows(self) -> Iterator[Row]:
        """Every row of every finished shard, in order; rows without a picture have `file` None."""
        for shard in self.committed():
            yield from manifest.read(self.manifest(shard))

    def pictures(self) -> Iterator[tuple[Row, bytes]]:
        """Every picture with its row, in order, each tar read once from front to back. Raises InputError."""
        for shard in self.committed():
            wanted = {row.file: row for row in manifest.read(self.manifest(shard)) if row.file is not None}
            for name, data in read_tar(self.tar(shard)):
                row = wanted.pop(name, None)
                if row is not None:
                    yield row, data
            if wanted:
                missing = next(iter(wanted))
                raise InputError(
                    f"{self.tar(shard)} lacks {missing}. Run: arc2face dataset verify {self.root} --repair, then run."
                )


def read_tar(path: Path) -> Iterator[tuple[str, bytes]]:
    """Name and content of every plain file in a tar, in order. Raises InputError when it is damaged."""
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                if not member.isreg() or member.sparse is not None or member.size > MAX_MEMBER:
                    raise InputError(f"{path} holds {member.name!r}, which is no picture of a data set.")
                stream = tar.extractfile(member)
                assert stream is not None
                data = stream.read()
                if len(data) != member.size:
                    raise InputError(f"{path} is cut off in {member.name}.")
                yield member.name, data
    except (OSError, tarfile.TarError, EOFError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read ({error}). Run: arc2face dataset verify --repair, then run."
        ) from error


def canonical(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
