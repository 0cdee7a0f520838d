"""Photos as a source of batches: what cannot be used is left out at the start, with its number, never replaced.

A photo that turns out to be broken only when it is decoded is drawn anew together with its labels, and counted; the
same happens in a resumed run, so both see the same batches.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from arc2face.errors import ImageError
from arc2face_training.common.errors import TrainingError
from arc2face_training.common.session import Session
from arc2face_training.common.sources import DataConfig, Source, to_tensor
from arc2face_training.photos.annotations import KINDS, Annotations, open_annotations
from arc2face_training.photos.names import Flags, Int64
from arc2face_training.photos.people import People
from arc2face_training.photos.pictures import HEAD, TAIL, looks_whole, square_picture
from arc2face_training.photos.store import PhotoStore, open_store

if TYPE_CHECKING:
    from concurrent.futures import Executor

log = logging.getLogger(__name__)
MOST_BROKEN = 20
"""Photos that may turn out to be broken while training before it stops."""
MOST_CHECKED = 300_000
"""Photos without annotations whose first and last bytes are looked at before the start."""
PAIRS, SAME_PERSON = 256, 0.15
"""Pairs of photos compared before the start, and the median similarity below which they show strangers."""


class PhotoSource(Source):
    """Aligned photos with the annotations that a trainer `needs`: embedding, expression, normals."""

    def __init__(self, config: DataConfig, session: Session | None = None, needs: tuple[str, ...] = ()) -> None:
        self.store: PhotoStore = open_store(config.path, config.people, config.person_key, session)
        self.size, self.where, self.flip = config.size, config.path, config.flip
        self.count = len(self.store)
        self.cache_latents = config.latents
        self.annotations: Annotations = open_annotations(self.store, config.path, config.annotations)
        self.broken: set[int] = set()
        self.usable = self._annotated(needs)
        self._keep(self.usable & self._whole(needs), "broken")
        if "embedding" in needs and config.people != "each":
            self._refuse_strangers()

    def leave_out(self, numbers: Int64) -> None:
        """Take photos out of the draw that turned out to be broken."""
        usable = self.usable.copy()
        usable[numbers] = False
        self._keep(usable, "broken")

    def pictures(
        self,
        rng: np.random.Generator,
        first: NDArray[np.int64],
        second: NDArray[np.int64],
        want: tuple[str, ...],
    ) -> dict[str, Tensor]:
        """See Source; rows with a broken photo are drawn anew, labels included."""
        found: dict[str, list[NDArray[np.uint8]]] = {p: [] for p in ("", "other_") if f"{p}pixels" in want}
        for row in range(len(first)):
            while True:
                numbers = {"": int(first[row]), "other_": int(second[row])}
                decoded = {prefix: self._decoded(numbers[prefix]) for prefix in found}
                usable = {prefix: one for prefix, one in decoded.items() if one is not None}
                if len(usable) == len(found):
                    break
                one, other = self.choose(rng, 1)
                first[row], second[row] = one[0], other[0]
            for prefix, picture in usable.items():
                found[prefix].append(picture)
        return {f"{p}pixels": to_tensor(np.stack(pictures)) / 127.5 - 1 for p, pictures in found.items()}

    def pixels(self, numbers: NDArray[np.int64]) -> Tensor:
        """See Source. Raises TrainingError for a broken photo."""
        decoded = [(int(number), self._decoded(int(number))) for number in numbers]
        for number, picture in decoded:
            if picture is None:
                raise TrainingError(f"{self.store.name(number)} is not a readable photo. Remove it.")
        return to_tensor(np.stack([picture for _, picture in decoded if picture is not None])) / 127.5 - 1

    def readable(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        """See Source."""
        return np.array([number for number in numbers if self._decoded(int(number)) is not None], np.int64)

    def pixels_or_none(self, number: int) -> Tensor | None:
        """(3, S, S) in -1..1, or None for a broken photo."""
        picture = self._decoded(number)
        return None if picture is None else to_tensor(picture[None])[0] / 127.5 - 1

    def identities(self, numbers: NDArray[np.int64]) -> Tensor:
        """See Source."""
        return torch.nn.functional.normalize(torch.from_numpy(self.annotations.rows("embedding", numbers)), dim=1)

    def expressions(self, numbers: NDArray[np.int64]) -> Tensor:
        """See Source."""
        return torch.from_numpy(self.annotations.rows("expression", numbers))

    def normals(self, numbers: NDArray[np.int64]) -> Tensor:
        """See Source."""
        return to_tensor(np.stack([self._map(int(number)) for number in numbers])) / 255

    def _map(self, number: int) -> NDArray[np.uint8]:
        try:
            return square_picture(self.annotations.normals(number), self.size)
        except (OSError, ValueError, ImageError) as error:
            raise TrainingError(
                f"The normal map of {self.store.name(number)} is damaged ({error}); annotate again."
            ) from error

    def _decoded(self, number: int) -> NDArray[np.uint8] | None:
        if number in self.broken:
            return None
        try:
            return square_picture(self.store.photo(number), self.size)
        except (OSError, ValueError, ImageError) as error:
            self.broken.add(number)
            log.warning("%s is not a readable photo and is not drawn: %s", self.store.name(number), error)
        if len(self.broken) > MOST_BROKEN:
            raise TrainingError(
                f"More than {MOST_BROKEN} photos under {self.where} could not be read; the last is "
                f"{self.store.name(number)}. Check the disk, or annotate again: it notes what is broken."
            )
        return None

    def _annotated(self, needs: tuple[str, ...]) -> Flags:
        usable = np.ones(self.count, bool)
        for kind in KINDS:
            if kind not in needs:
                continue
            has = self.annotations.has(kind)
            if not has.any():
                raise TrainingError(
                    f"The photos under {self.where} have no {kind} annotations. "
                    f"Write them first: arc2face annotate {self.where}"
                )
            usable &= has
        if not usable.all():
            why = self.annotations.why_not() or "no annotations beside them"
            log.warning("%d of %d photos under %s are left out: %s", *self._counts(usable), self.where, why)
        return usable

    def _whole(self, needs: tuple[str, ...]) -> Flags:
        """Which photos are not cut off. Annotated ones were decoded by the annotator."""
        whole = np.ones(self.count, bool)
        numbers = np.flatnonzero(self.usable)
        known = self.annotations.unreadable()
        if known is not None:
            return ~known
        if needs or len(numbers) > MOST_CHECKED:
            return whole
        with ThreadPoolExecutor(8, thread_name_prefix="check") as pool:
            whole[numbers] = _in_blocks(pool, self._is_whole, numbers)
        return whole

    def _is_whole(self, number: int) -> bool:
        try:
            ends = self.store.ends(number, HEAD, TAIL)
        except (OSError, ValueError):
            return False
        return ends is None or looks_whole(*ends) or self._decodes(number)

    def _decodes(self, number: int) -> bool:
        try:
            square_picture(self.store.photo(number))
        except (OSError, ValueError, ImageError):
            return False
        return True

    def _keep(self, usable: Flags, why: str) -> None:
        gone = int(self.usable.sum() - usable.sum())
        if gone:
            log.warning("%d of %d photos under %s are left out: %s", gone, self.count, self.where, why)
        if not usable.any():
            raise TrainingError(f"None of the {self.count} photos under {self.where} can be used: {why}.")
        self.usable = usable
        index = self.store.index
        self.people = index.people if usable.all() else People.of(index.columns["person"], np.flatnonzero(usable))

    def _counts(self, usable: Flags) -> tuple[int, int]:
        return int((~usable).sum()), self.count

    def _refuse_strangers(self) -> None:
        """Folders that are no people (all photos in one folder, say) would feed the wrong identity all along."""
        assert isinstance(self.people, People)
        several = np.flatnonzero(self.people.sizes() > 1)
        if not len(several):
            return
        rng = np.random.default_rng(0)
        pairs = [rng.choice(self.people[int(p)], 2, replace=False) for p in rng.choice(several, PAIRS)]
        one, other = (self.identities(np.array([pair[k] for pair in pairs])) for k in (0, 1))
        median = float((one * other).sum(1).median())
        if median < SAME_PERSON:
            raise TrainingError(
                f"The folders under {self.where} are not people: two photos of one folder have a similarity of "
                f"{median:.2f} (median of {PAIRS} pairs). Sort the photos by person, or set data.people: each."
            )


def _in_blocks(pool: Executor, check: Callable[[int], bool], numbers: Int64) -> Flags:
    def block(part: Int64) -> list[bool]:
        return [check(int(number)) for number in part]

    parts = np.array_split(numbers, max(1, len(numbers) // 256))
    return np.array([flag for flags in pool.map(block, parts) for flag in flags], bool)
