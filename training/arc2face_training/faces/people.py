"""The people a recogniser learns to tell apart: rendered people, or photos."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from arc2face.errors import ImageError
from arc2face.pictures.loading import load_rgb_u8
from arc2face_training.common.errors import TrainingError
from arc2face_training.common.session import Session
from arc2face_training.common.world import CROP_SIZE, n_attributes, open_dataset
from arc2face_training.photos.source import MOST_BROKEN
from arc2face_training.photos.store import open_store

log = logging.getLogger(__name__)

Sample = tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.float32]]
HELD_OUT = 20
MOST_HELD_OUT, LOOKED_AT = 2000, 64
WHITENED = 256
"""People whose attributes set the scale: few, so that the scale stays while more are rendered."""


class RenderedPeople:
    """All people of several data folders, one class each."""

    def __init__(self, folders: tuple[Path, ...]) -> None:
        self.sets = [open_dataset(folder) for folder in folders]
        self.starts = np.cumsum([0, *(len(data.done) for data in self.sets)])
        first = self.sets[0]
        known = first.attributes[np.flatnonzero(np.asarray(first.done))[:WHITENED]]
        self._mean, self._spread = known.mean(0), known.std(0) + 0.1

    def __len__(self) -> int:
        return int(self.starts[-1])

    def sample(self, rng: np.random.Generator, n: int) -> Sample:
        """Crops (n, 112, 112, 3), classes (n,), whitened attributes (n, A); only people already written."""
        ready = [np.flatnonzero(np.asarray(data.done)) for data in self.sets]
        classes = np.concatenate([r + start for r, start in zip(ready, self.starts, strict=False)])
        chosen = rng.choice(classes, n)
        crops: list[NDArray[np.uint8]] = []
        attributes: list[NDArray[np.float32]] = []
        for one in chosen:
            which = int(np.searchsorted(self.starts, one, side="right")) - 1
            data, person = self.sets[which], int(one - self.starts[which])
            crops.append(data.crops[data.rows(person).start + int(rng.integers(data.config.per_person))])
            attributes.append(data.attributes[person])
        whitened = (np.stack(attributes) - self._mean) / self._spread
        return np.stack(crops), chosen.astype(np.int64), whitened.astype(np.float32)

    def held_out(self, folder: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Crops and person numbers of an evaluation dataset."""
        data = open_dataset(folder)
        people = np.flatnonzero(np.asarray(data.done))
        rows = np.concatenate([np.arange(data.rows(p).start, data.rows(p).stop) for p in people])
        return np.asarray(data.crops[rows]), np.repeat(people, data.config.per_person)


class PhotoPeople:
    """Aligned 112-pixel crops, one folder per person; every twentieth person is held out."""

    def __init__(self, path: Path, session: Session | None = None) -> None:
        self.store, self.attributes = open_store(path, session=session), n_attributes()
        self.people = self.store.index.people
        numbers, sizes = np.arange(len(self.people)), self.people.sizes()
        held = numbers % HELD_OUT == HELD_OUT - 1
        self.trained, self.kept = numbers[~held], numbers[held & (sizes > 1)]
        self.broken: set[int] = set()
        if len(self.trained) < 2 or not (sizes > 1).any():
            raise TrainingError(
                f"{path} shows {'one person' if len(self.trained) < 2 else 'every person once'} only; a recogniser "
                "needs many people with several photos each, every person in a folder of their own."
            )

    def __len__(self) -> int:
        return len(self.trained)

    def sample(self, rng: np.random.Generator, n: int) -> Sample:
        """Crops (n, 112, 112, 3), half of them mirrored, classes (n,), and zeros in place of attributes.

        A broken photo is drawn anew together with its class.
        """
        classes = rng.integers(0, len(self.trained), n)
        crops = np.empty((n, CROP_SIZE, CROP_SIZE, 3), np.uint8)
        for row in range(n):
            while (crop := self._crop(int(rng.choice(self.people[int(self.trained[classes[row]])])))) is None:
                classes[row] = rng.integers(0, len(self.trained))
            crops[row] = crop
        mirrored = rng.random(n) < 0.5
        crops[mirrored] = crops[mirrored, :, ::-1]
        return crops, classes.astype(np.int64), np.zeros((n, self.attributes), np.float32)

    def held_out(self, folder: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """Crops and person numbers of the people kept back. Raises TrainingError when there are fewer than two.

        Crops of some people who are trained on are looked at as well, so that a wrong size shows before the start.
        """
        del folder
        rng = np.random.default_rng(0)
        for person in rng.choice(self.trained, LOOKED_AT):
            self._crop(int(self.people[int(person)][0]))
        if len(self.kept) < 2:
            raise TrainingError(f"Evaluation needs at least {2 * HELD_OUT} people with two photos each.")
        kept = enumerate(self.kept[:MOST_HELD_OUT])
        read = [(owner, self._crop(int(k))) for owner, person in kept for k in self.people[int(person)]]
        whole = [(owner, crop) for owner, crop in read if crop is not None]
        return np.stack([crop for _, crop in whole]), np.array([owner for owner, _ in whole], np.int64)

    def _crop(self, number: int) -> NDArray[np.uint8] | None:
        """A crop, or None for a broken photo. Raises TrainingError for one of another size, or too many broken ones."""
        name = self.store.name(number)
        if number in self.broken:
            return None
        try:
            crop = load_rgb_u8(self.store.photo(number))
        except (OSError, ValueError, ImageError) as error:
            self.broken.add(number)
            log.warning("%s is not a readable photo and is not drawn: %s", name, error)
            if len(self.broken) > MOST_BROKEN:
                raise TrainingError(f"More than {MOST_BROKEN} photos could not be read, the last is {name}.") from error
            return None
        if crop.shape[:2] != (CROP_SIZE, CROP_SIZE):
            raise TrainingError(
                f"{name} has {crop.shape[1]} x {crop.shape[0]} pixels; crops must have {CROP_SIZE} x {CROP_SIZE}. "
                "Align the photos: arc2face annotate PHOTOS --align arcface"
            )
        return crop
