"""Where batches come from: the rendered avatars, or photos with their annotations.

A batch is a dict of float32 tensors: `pixels` (B, 3, S, S) in -1..1, `identity` (B, 512) of length 1, taken from
another picture of the same person where there is one, `expression` (B, 55), `normals` (B, 3, S, S) in 0..1, and, when
pairs are asked for, `other_pixels`: another picture of the same person. With cached latents `latents` (B, C, h, w)
stands in for `pixels` (and `other_latents` for `other_pixels`).
"""

from __future__ import annotations

import io
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from training.common.embeddings import dataset_embeddings
from training.common.errors import TrainingError
from training.common.mirror import mirrored_expressions, mirrored_normals, mirrored_points
from training.common.session import Session
from training.common.stores import LABELS, NORMALS, PhotoStore, open_store
from training.common.world import EXPRESSION_COLUMNS, WRITE_COMMAND, AvatarDataset, open_dataset

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DataConfig:
    """`kind`: avatars (a folder written by training.avatars.dataset) or photos (folder or WebDataset tar files).

    `size`: pixels of a side. `recogniser`: ONNX file for the avatars' identity embeddings; None uses their
    ground-truth attributes through a fixed random projection (useful before a recogniser exists). `flip`: half of the
    pictures are mirrored, with their expression and normal map.
    """

    kind: Literal["avatars", "photos"] = "avatars"
    path: Path = Path("data/avatars")
    size: int = 128
    recogniser: Path | None = None
    flip: bool = False


class Source(ABC):
    """Pictures of people. `people[p]` lists the picture numbers of person p."""

    people: list[NDArray[np.int64]]
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

    def draw(
        self, rng: np.random.Generator, n: int, want: tuple[str, ...], latents: Latents | None = None
    ) -> dict[str, Tensor]:
        """A batch with the wanted keys. `latents`: of all pictures, in place of pixels."""
        first, second = self.choose(rng, n)
        # No draw where nothing is mirrored, so that such runs see what they always saw.
        mirrored = torch.from_numpy(rng.random(n) < 0.5) if self.flip else torch.zeros(n, dtype=torch.bool)
        batch: dict[str, Tensor] = {}
        for prefix, numbers in (("", first), ("other_", second)):
            if f"{prefix}pixels" not in want:
                continue
            if latents is None:
                batch[f"{prefix}pixels"] = _mirror(self.pixels(numbers), mirrored, lambda x: x.flip(-1))
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


@dataclass(frozen=True)
class Latents:
    """Latents of all pictures of a source, (count, C, h, w) float16, and of their mirror images where it flips."""

    plain: Tensor
    mirrored: Tensor | None = None

    def take(self, numbers: NDArray[np.int64], mirrored: Tensor) -> Tensor:
        """(n, C, h, w) float32."""
        chosen = torch.from_numpy(numbers)
        rows = self.plain[chosen].float()
        if self.mirrored is not None and bool(mirrored.any()):
            rows[mirrored] = self.mirrored[chosen[mirrored]].float()
        return rows


def _mirror(rows: Tensor, mirrored: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    if bool(mirrored.any()):
        rows[mirrored] = change(rows[mirrored])
    return rows


class AvatarSource(Source):
    """A folder of rendered avatars; only finished people are used."""

    def __init__(self, config: DataConfig, session: Session | None = None) -> None:
        try:
            self.data: AvatarDataset = open_dataset(config.path)
        except (OSError, KeyError, ValueError) as error:
            raise TrainingError(
                f"{config.path} is no avatar dataset ({error}). Render one: {WRITE_COMMAND} {config.path}"
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

    def choose(self, rng: np.random.Generator, n: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """As in Source; in a dataset of pairs, the other picture is the partner."""
        if not self.data.config.pairs:
            return super().choose(rng, n)
        first = self.numbers[rng.integers(0, len(self.numbers), n)]
        return first, first ^ 1

    def pixels(self, numbers: NDArray[np.int64]) -> Tensor:
        """See Source."""
        return _to_tensor(self.data.rgb[numbers]) / 127.5 - 1

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
            raise TrainingError("This avatar dataset was rendered without normal maps; render it again with them.")
        return _to_tensor(self.data.normals[numbers]) / 255


class PhotoSource(Source):
    """Aligned photos. Broken ones are replaced by another photo and counted; too many of them are an error."""

    def __init__(self, config: DataConfig) -> None:
        self.store: PhotoStore = open_store(config.path)
        self.size, self.where = config.size, config.path
        self.people = [np.array(own, np.int64) for own in self.store.people.values()]
        self.count = len(self.store.stems)
        self.flip = config.flip
        self.broken: set[int] = set()
        self.read = 0

    def pixels(self, numbers: NDArray[np.int64]) -> Tensor:
        """See Source."""
        return torch.stack([_to_tensor(self._picture(int(k))[None])[0] for k in numbers]) / 127.5 - 1

    def identities(self, numbers: NDArray[np.int64]) -> Tensor:
        """See Source."""
        rows = torch.stack([self._label(int(k), "embedding", 512) for k in numbers])
        return torch.nn.functional.normalize(rows, dim=1)

    def expressions(self, numbers: NDArray[np.int64]) -> Tensor:
        """See Source."""
        return torch.stack([self._label(int(k), "expression", 55) for k in numbers])

    def normals(self, numbers: NDArray[np.int64]) -> Tensor:
        """See Source."""
        maps: list[Tensor] = []
        for number in numbers:
            content = self.store.read(int(number), NORMALS)
            if content is None:
                raise TrainingError(_unannotated(self.store.stems[number] + NORMALS, self.where))
            maps.append(_to_tensor(_decode(content, self.size)[None])[0] / 255)
        return torch.stack(maps)

    def _picture(self, number: int) -> NDArray[np.uint8]:
        self.read += 1
        for attempt in range(20):
            candidate = (number + attempt) % self.count
            if candidate in self.broken:
                continue
            try:
                return _decode(self.store.photo(candidate), self.size)
            except (OSError, ValueError, SyntaxError) as error:
                self.broken.add(candidate)
                log.warning("%s is not a readable photo and is left out: %s", self.store.stems[candidate], error)
        raise TrainingError(f"Too many photos under {self.where} are broken; twenty in a row could not be read.")

    def _label(self, number: int, name: str, length: int) -> Tensor:
        content = self.store.read(number, LABELS)
        if content is None:
            raise TrainingError(_unannotated(self.store.stems[number] + LABELS, self.where))
        with np.load(io.BytesIO(content), allow_pickle=False) as labels:
            row = labels.get(name)
        if row is None or row.shape != (length,):
            raise TrainingError(
                f"{self.store.stems[number]}{LABELS} has no {name} of {length} numbers; annotate again."
            )
        return torch.from_numpy(row.astype(np.float32))


def open_source(config: DataConfig, session: Session | None = None) -> Source:
    """The source a config names. Raises PieceOver when the session's time ends while it is prepared."""
    return AvatarSource(config, session) if config.kind == "avatars" else PhotoSource(config)


def _unannotated(name: str, where: Path) -> str:
    return f"{name} is missing. Write the annotations first: python -m training.common.annotate {where}"


def _decode(content: bytes, size: int) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(content)) as picture:
        rgb = picture.convert("RGB")
        if rgb.size != (size, size):
            rgb = rgb.resize((size, size), Image.Resampling.LANCZOS)
        return np.array(rgb, np.uint8)


def _to_tensor(pictures: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2).float()
