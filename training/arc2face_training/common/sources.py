"""Where batches come from: the rendered people, or photos with their annotations.

A batch is a dict of float32 tensors: `pixels` (B, 3, S, S) in -1..1, `identity` (B, 512) of length 1, taken from
another picture of the same person where there is one, `expression` (B, 55), `normals` (B, 3, S, S) in 0..1, and, when
pairs are asked for, `other_pixels`: another picture of the same person. With cached latents `latents` (B, C, h, w)
stands in for `pixels` (and `other_latents` for `other_pixels`).
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from arc2face_training.common.config import NOT_EXPERIMENT
from arc2face_training.common.embeddings import dataset_embeddings
from arc2face_training.common.errors import TrainingError
from arc2face_training.common.mirror import mirrored_expressions, mirrored_normals, mirrored_points
from arc2face_training.common.resident import ResidentPictures
from arc2face_training.common.session import Session
from arc2face_training.common.world import EXPRESSION_COLUMNS, WRITE_COMMAND, PeopleDataset, open_dataset
from arc2face_training.people.pictures import Pictures


@dataclass(frozen=True)
class PhotoSet:
    """Further photos that a run draws from. `weight`: how often, relative to the others; the rest as in DataConfig."""

    path: Path = Path("data/photos")
    weight: float = 1.0
    people: Literal["auto", "folder", "each"] = "auto"
    person_key: str = ""
    annotations: Path | None = None


@dataclass(frozen=True)
class DataConfig:
    """`kind`: rendered (a folder written by arc2face_training.people.dataset) or photos.

    `size`: pixels of a side. `recogniser`: ONNX file for rendered people's identity embeddings; None uses their
    ground-truth attributes through a fixed random projection (useful before a recogniser exists). `flip`: half of the
    pictures are mirrored, with their expression and normal map.

    Photos: `path` is a folder tree, or a zip, tar or Parquet file, or a folder of those. `people`: whom a photo shows
    (see arc2face_training.photos.index); `person_key`: field of a WebDataset json or column of a table that says so;
    `annotations`: folder written by `arc2face annotate` (default: `path` with `.annotations` behind it). `latents`:
    encode all photos once, with the run's VAE, into the run's folder. `more`: further photos; `weight` is that of
    `path` among them.

    `resident` (rendered people): decode all pictures at the start and keep them, and latents, on the device; 200 kB per
    picture of 256 pixels, as much again where normal maps are used. A GPU would wait for the decoding otherwise.
    """

    kind: Literal["rendered", "photos"] = "rendered"
    path: Path = Path("data/people")
    size: int = 128
    recogniser: Path | None = None
    flip: bool = False
    people: Literal["auto", "folder", "each"] = "auto"
    person_key: str = ""
    annotations: Path | None = None
    latents: bool = field(default=False, metadata=NOT_EXPERIMENT)
    weight: float = 1.0
    more: tuple[PhotoSet, ...] = ()
    resident: bool = field(default=False, metadata=NOT_EXPERIMENT)


class Source(ABC):
    """Pictures of people. `people[p]` lists the picture numbers of person p."""

    people: Sequence[NDArray[np.int64]]
    count: int
    size: int
    flip: bool = False

    @abstractmethod
    def pixels(self, numbers: NDArray[np.int64]) -> Tensor:
        """(n, 3, S, S) in -1..1."""

    @abstractmethod
    def identities(self, numbers: NDArray[np.int64]) -> Tensor:
        """(n, 512) of length 1."""

    @abstractmethod
    def expressions(self, numbers: NDArray[np.int64]) -> Tensor:
        """(n, 55)."""

    @abstractmethod
    def normals(self, numbers: NDArray[np.int64]) -> Tensor:
        """(n, 3, S, S) in 0..1."""

    def readable(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of the pictures that can be read."""
        return numbers

    def shown(self, people: int) -> list[NDArray[np.int64]]:
        """One or two readable pictures of each of the last people, for looking at. Raises TrainingError for none."""
        pairs = [own[:2] for own in self.people[-4 * people :]]
        found = [own for own in pairs if len(self.readable(own)) == len(own)][-people:]
        if not found:
            raise TrainingError("None of the pictures that validation shows can be read. Check the data.")
        return found

    def points(self, numbers: NDArray[np.int64]) -> Tensor | None:
        """(n, 5, 2) eyes, nose, mouth corners in pixels, where they are known."""
        return None

    def choose(self, rng: np.random.Generator, n: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """n pictures of random people, and another picture of each one (the same if there is only one)."""
        first, second = np.empty(n, np.int64), np.empty(n, np.int64)
        for k, person in enumerate(rng.integers(0, len(self.people), n)):
            own = self.people[person]
            pair = rng.choice(own, 2, replace=False) if len(own) > 1 else np.repeat(own, 2)
            first[k], second[k] = pair
        return first, second

    def pictures(
        self, rng: np.random.Generator, first: NDArray[np.int64], second: NDArray[np.int64], want: tuple[str, ...]
    ) -> dict[str, Tensor]:
        """`pixels` and `other_pixels`, as wanted. A source with broken pictures may change the numbers it is given."""
        del rng
        both = (("pixels", first), ("other_pixels", second))
        return {key: self.pixels(numbers) for key, numbers in both if key in want}

    def draw(
        self, rng: np.random.Generator, n: int, want: tuple[str, ...], latents: Latents | None = None
    ) -> dict[str, Tensor]:
        """A batch with the wanted keys. `latents`: of all pictures, in place of pixels."""
        first, second = self.choose(rng, n)
        seen = self.pictures(rng, first, second, want) if latents is None else {}
        # No draw where nothing is mirrored, so that such runs see what they always saw.
        mirrored = torch.from_numpy(rng.random(n) < 0.5) if self.flip else torch.zeros(n, dtype=torch.bool)
        batch: dict[str, Tensor] = {}
        for prefix, numbers in (("", first), ("other_", second)):
            if f"{prefix}pixels" not in want:
                continue
            if latents is None:
                batch[f"{prefix}pixels"] = _mirror(seen[f"{prefix}pixels"], mirrored, lambda x: x.flip(-1))
            else:
                batch[f"{prefix}latents"] = latents.take(numbers, mirrored)
        points = self.points(first) if "points" in want else None
        if points is not None:
            side = self.size
            batch["points"] = _mirror(points, mirrored, lambda x: mirrored_points(x, side))
        if "identity" in want:
            batch["identity"] = self.identities(second)
        if "expression" in want:
            rows = self.expressions(first)
            batch["expression"] = _mirror(rows, mirrored, lambda x: mirrored_expressions(x, EXPRESSION_COLUMNS))
        if "normals" in want:
            batch["normals"] = _mirror(self.normals(first), mirrored, mirrored_normals)
        return batch


class Latents(ABC):
    """Latents of all pictures of a source."""

    @abstractmethod
    def take(self, numbers: NDArray[np.int64], mirrored: Tensor) -> Tensor:
        """(n, C, h, w) float32; of the mirror image where `mirrored` (n,)."""


@dataclass(frozen=True)
class StoredLatents(Latents):
    """(count, C, h, w) float16, and of their mirror images where the source flips."""

    plain: Tensor
    mirrored: Tensor | None = None

    def take(self, numbers: NDArray[np.int64], mirrored: Tensor) -> Tensor:
        """See Latents."""
        chosen, device = torch.from_numpy(numbers), self.plain.device
        rows = self.plain[chosen.to(device)].float()
        if self.mirrored is not None and bool(mirrored.any()):
            rows[mirrored.to(device)] = self.mirrored[chosen[mirrored].to(device)].float()
        return rows

    def to(self, device: torch.device) -> StoredLatents:
        """The same on another device."""
        return StoredLatents(self.plain.to(device), None if self.mirrored is None else self.mirrored.to(device))


def _mirror(rows: Tensor, mirrored: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    if bool(mirrored.any()):
        here = mirrored.to(rows.device)
        rows[here] = change(rows[here])
    return rows


class RenderedSource(Source):
    """A folder of rendered people; only finished people are used."""

    def __init__(self, config: DataConfig, session: Session | None = None) -> None:
        try:
            self.data: PeopleDataset = open_dataset(config.path)
        except (OSError, KeyError, ValueError) as error:
            raise TrainingError(
                f"{config.path} is no dataset of rendered people ({error}). Render one: {WRITE_COMMAND} {config.path}"
            ) from error
        done = np.flatnonzero(self.data.done)
        if not len(done):
            raise TrainingError(f"{config.path} holds no finished people. Run {WRITE_COMMAND} on it.")
        per = self.data.config.per_person
        self.people = [np.arange(p * per, (p + 1) * per) for p in done]
        self.numbers = np.concatenate(self.people)
        self.count = len(self.data.rgb)
        if self.data.config.size != config.size:
            raise TrainingError(
                f"The pictures in {config.path} have {self.data.config.size} pixels a side, not {config.size}; "
                "correct `data.size` in the config."
            )
        self.flip, self.size = config.flip, config.size
        self.embeddings = dataset_embeddings(self.data, config.path, config.recogniser, session)
        self.device = (torch.device("cpu") if session is None else session.device) if config.resident else None
        self._resident: dict[str, ResidentPictures] = {}
        self._reading = threading.Lock()

    def choose(self, rng: np.random.Generator, n: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """As in Source; in a dataset of pairs, the other picture is the partner."""
        if self.data.config.pairs:
            first = self.numbers[rng.integers(0, len(self.numbers), n)]
            return first, first ^ 1
        per = self.data.config.per_person
        start = self.numbers[rng.integers(0, len(self.people), n) * per]
        one = rng.integers(0, per, n)
        other = (one + rng.integers(1, per, n)) % per if per > 1 else one
        return start + one, start + other

    def pixels(self, numbers: NDArray[np.int64]) -> Tensor:
        """See Source."""
        return self._take("rgb", self.data.rgb, numbers) / 127.5 - 1

    def identities(self, numbers: NDArray[np.int64]) -> Tensor:
        """See Source."""
        return torch.from_numpy(np.array(self.embeddings[numbers], np.float32))

    def expressions(self, numbers: NDArray[np.int64]) -> Tensor:
        """See Source."""
        return torch.from_numpy(np.array(self.data.label("expression55")[numbers], np.float32))

    def points(self, numbers: NDArray[np.int64]) -> Tensor:
        """See Source."""
        rows = np.array(self.data.label("points5")[numbers], np.float32)
        return torch.from_numpy(rows).view(len(numbers), 5, 2)

    def normals(self, numbers: NDArray[np.int64]) -> Tensor:
        """See Source."""
        if self.data.normals is None:
            raise TrainingError("This dataset was rendered without normal maps; render it again with them.")
        return self._take("normals", self.data.normals, numbers) / 255

    def _take(self, kind: str, pictures: Pictures, numbers: NDArray[np.int64]) -> Tensor:
        if self.device is None:
            return to_tensor(pictures[numbers])
        with self._reading:  # batches are drawn by several threads
            if kind not in self._resident:
                self._resident[kind] = ResidentPictures(pictures, self.numbers, self.device)
        return self._resident[kind].take(numbers)


def open_source(config: DataConfig, session: Session | None = None, needs: tuple[str, ...] = ()) -> Source:
    """The source a config names. `needs`: annotations that photos must have (embedding, expression, normals).

    Raises PieceOver when the session's time ends while it is prepared.
    """
    if config.kind == "rendered":
        return RenderedSource(config, session)
    from arc2face_training.photos.mixed import open_photos

    return open_photos(config, session, needs)


def to_tensor(pictures: NDArray[np.uint8]) -> Tensor:
    """(n, H, W, 3) uint8 to (n, 3, H, W) float32, values as they are."""
    return torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2).float()
