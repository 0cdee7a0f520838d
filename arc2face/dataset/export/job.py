"""What the formats' writers are given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from arc2face.dataset.export.figures import Figures
from arc2face.dataset.export.options import Options
from arc2face.dataset.export.selection import Selection
from arc2face.dataset.identities import Identities

__all__ = ["Job", "Picture"]


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """One picture on its way out.

    `key`, `identity`, `number`: as in the manifest. `label`: from 0, without holes. `data`: the encoded file.
    `row`: the manifest's columns, empty for formats that carry none.
    """

    key: str
    identity: str
    number: int
    label: int
    data: bytes
    row: Mapping[str, Any]


@dataclass(slots=True, eq=False)
class Job:
    """One export.

    `plan`: the set's plan as JSON. `figures`: of the pictures that passed so far, where the format carries rows.
    `folder`: where the writer writes; it becomes the export when all is done. `counts`: label -> pictures so far.
    `lost`: keys of pictures in which the alignment found no face. `warnings`: sentences for the user.
    """

    options: Options
    selection: Selection
    identities: Identities
    folder: Path
    plan: Mapping[str, Any]
    figures: Figures = field(default_factory=Figures)
    counts: Counter[int] = field(default_factory=Counter[int])
    lost: list[str] = field(default_factory=list[str])
    warnings: list[str] = field(default_factory=list[str])
    written: int = 0

    @property
    def suffix(self) -> str:
        """Ending of picture files, without a dot."""
        return self.options.picture_format

    def count(self, picture: Picture) -> None:
        """Add up a picture that is handed to the writer."""
        self.counts[picture.label] += 1
        self.written += len(picture.data)
        if picture.row:
            self.figures.add(picture.row)
