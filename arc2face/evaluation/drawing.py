"""Drawing the pictures that are measured: n of each person, from one of their photos. The only part with an engine.

The usual numbers are those of the published re-runs: 5 pictures, 25 steps, guidance 3.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from arc2face import checks
from arc2face.errors import InputError, StorageError
from arc2face.evaluation.samples import Asked, FaceSet, Sample
from arc2face.evaluation.state import OnProgress, Shard
from arc2face.pictures.recipes import save_png
from arc2face.settings import FULL, MAX_SEED
from arc2face.sources.settings import check_settings
from arc2face.types import GenerationRequest, IdentityEmbedding
from arc2face.weights.store import replace_with

if TYPE_CHECKING:
    from arc2face.engine import Engine

MAX_PICTURES = 8
_PLAIN = re.compile(r"[^\w.-]+")


@dataclass(frozen=True, slots=True)
class Drawing:
    """`pictures` of each person; `steps`, `guidance`, `fast`: as in a request. `seed`: of the whole run."""

    pictures: int = 5
    steps: int | None = None
    guidance: float | None = None
    fast: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        checks.whole("The pictures per person", self.pictures, (1, MAX_PICTURES))
        check_settings(num_images=self.pictures, steps=self.steps, guidance_scale=self.guidance, fast=self.fast)
        checks.whole("The seed", self.seed, (0, MAX_SEED))

    @property
    def name(self) -> str:
        """Name of the folder for pictures of these settings; other settings get another."""
        mode = "fast" if self.fast else "full"
        steps = self.steps or ("usual" if self.fast else FULL.steps)
        return f"{mode}-{steps}-{self.guidance or 'usual'}-{self.pictures}-{self.seed}"


def drawn_set(
    faces: FaceSet, engine: Engine, drawing: Drawing, out: Path, shard: Shard, on_progress: OnProgress | None = None
) -> FaceSet | None:
    """The photographs and the pictures drawn from them as one set; None while other shards still draw.

    The photo of each person is chosen by a hash of the seed and its name. A person whose photos show no face keeps a
    row per picture with that reason. Pictures lie in `out`/drawn and are not drawn twice.

    Raises:
        InputError: nobody in the set has a name. WeightsError, DeviceError, StorageError.
    """
    people = list(faces.people)
    if not people:
        raise InputError("Nobody in this set has a name, so nobody can be drawn.")
    folder = out / "drawn" / f"{drawing.name}-{_model_of(engine)}"
    mine = people[shard.index :: shard.count]
    for done, person in enumerate(mine):
        photo = _photo_of(faces, person, drawing.seed)
        _draw(engine, photo, person, drawing, folder / _folder_of(person))
        if on_progress is not None:
            on_progress(done + 1, len(mine))
    if any(not (folder / _folder_of(person) / "done").is_file() for person in people):
        return None
    samples = [
        sample
        for person in people
        for sample in _samples(_photo_of(faces, person, drawing.seed), person, drawing, folder / _folder_of(person))
    ]
    return faces.joined(FaceSet(faces.name, tuple(samples)))


def _draw(engine: Engine, photo: Sample, person: str, drawing: Drawing, folder: Path) -> None:
    """One person's pictures; the file `done` is written last and holds the embedding, or the reason for none."""
    if (folder / "done").is_file():
        return
    try:
        assert photo.open is not None
        identity = engine.identify(photo.open()).identity
    except InputError as error:
        _write_done(folder, None, str(error))
        return
    request = GenerationRequest(
        identity=identity, num_images=drawing.pictures, seed=_seed(drawing.seed, person), steps=drawing.steps,
        guidance_scale=drawing.guidance, fast=drawing.fast, score=False,
    )  # fmt: skip
    result = engine.generate(request)
    for number, image in enumerate(result.images):
        save_png(image, result, folder / f"{number}.png")
    _write_done(folder, identity, "")


def _write_done(folder: Path, identity: IdentityEmbedding | None, reason: str) -> None:
    vector = np.zeros(0, np.float32) if identity is None else identity.vector
    with replace_with(folder / "done") as temporary, temporary.open("wb") as stream:
        np.savez(stream, vector=vector, reason=np.array(reason))


def _samples(photo: Sample, person: str, drawing: Drawing, folder: Path) -> Iterator[Sample]:
    try:
        with np.load(folder / "done", allow_pickle=False) as stored:
            vector, reason = stored["vector"], str(stored["reason"])
    except (OSError, ValueError, KeyError) as error:
        raise StorageError(f"{folder / 'done'} is damaged; delete {folder} and run again.") from error
    asked = Asked(photo.key, vector if len(vector) else None, error=reason or None)
    for number in range(drawing.pictures):
        path = None if reason else partial(Path, folder / f"{number}.png")
        yield Sample(f"drawn/{person}/{number}", person, path, "drawn", photo.labels, asked)


def _photo_of(faces: FaceSet, person: str, seed: int) -> Sample:
    photos = [sample for sample in faces.samples if sample.person == person]
    return min(photos, key=lambda sample: hashlib.sha256(f"{seed}:input:{sample.key}".encode()).digest())


def _seed(seed: int, person: str) -> int:
    """Of the person, not of their place in the set."""
    digest = hashlib.sha256(f"{seed}:draw:{person}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % (MAX_SEED - MAX_PICTURES)


def _folder_of(person: str) -> str:
    """A name that every file system takes, and that two people never share."""
    digest = hashlib.sha256(person.encode("utf-8", "surrogatepass")).hexdigest()[:10]
    return f"{_PLAIN.sub('_', person)[:60].strip('.')}-{digest}"


def _model_of(engine: Engine) -> str:
    """The first digits of the UNet's hash: pictures of other models are drawn anew."""
    from arc2face.weights.store import checkpoint_sha256

    return checkpoint_sha256(engine.models.need("unet"))[:8]
