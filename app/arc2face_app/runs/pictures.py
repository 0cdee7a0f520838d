"""What a run leaves behind: saved pictures with their recipes. What a visitor has made is in
`arc2face_app.runs.store`.
"""

from __future__ import annotations

import functools
import os
import time
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arc2face_app.runs.files import zip_files

if TYPE_CHECKING:
    from arc2face.engine import Engine
    from arc2face.sources import Person
    from arc2face_app.runs.runner import Results
    from arc2face_app.runs.shell import Shell

PASTED, FILM, SHEET = "pasted", "film", "sheet"
"""Kinds of pictures besides those that were drawn: a photo with one in it, several as a film, several on one sheet."""
ENCODERS = max(1, min(4, os.cpu_count() or 1))
"""Pictures that are encoded at the same time, over all visitors; zlib works outside Python's lock."""


def _name() -> str:
    return uuid.uuid4().hex[:16]


@dataclass(frozen=True, slots=True)
class Picture:
    """One saved picture. `path`: PNG with its recipe inside. `similarity`: cosine, None when unknown.

    `name`: what sets it apart within its run, such as an angle; empty for pictures that differ by seed only.
    `kind`: empty, PASTED, FILM (WebP) or SHEET. `size`: (width, height) in pixels.
    `before`: the photo to compare it with, where that is not the run's. `saved`: its name in the outputs folder.
    `seam`: where the two meet at first, as a share of the width, so that the change is seen.
    """

    path: str
    seed: int
    similarity: float | None
    face_found: bool | None
    name: str = ""
    kind: str = ""
    size: tuple[int, int] = (0, 0)
    before: str = ""
    saved: str = ""
    seam: float = 0.5
    id: str = field(default_factory=_name, compare=False)

    @property
    def caption(self) -> str:
        """What stands under the picture in a gallery."""
        if self.kind in (FILM, SHEET):
            return self.name
        if self.similarity is not None:
            score = f"Similarity {self.similarity:.2f}"
        else:
            score = "No face found" if self.face_found is False else "Not compared"
        return f"{self.name or score} · {self.short if self.name else f'seed {self.seed}'}"

    @property
    def short(self) -> str:
        """The score alone."""
        return "no face" if self.similarity is None else f"{self.similarity:.2f}"


@dataclass(frozen=True, slots=True)
class Run:
    """One finished generation. `when`: seconds since 1970, for the visitor's own clock to show.

    `person`: who, as the page calls them. `before`: the photo's face, to compare pictures with; may be empty.
    `folded`: the pictures are moments of its film, which stands for them in the history.
    """

    tab: str
    when: float
    pictures: tuple[Picture, ...]
    person: str = ""
    before: str = ""
    folded: bool = False
    id: str = field(default_factory=_name, compare=False)

    @classmethod
    def now(cls, tab: str, pictures: Sequence[Picture], person: str = "", before: str = "") -> Run:
        """A run that has just finished."""
        return cls(tab, time.time(), tuple(pictures), person, before)

    def with_more(self, pictures: Sequence[Picture]) -> Run:
        """The same run with further pictures."""
        return replace(self, pictures=(*self.pictures, *pictures))


def noted(results: Results, notes: Mapping[str, Any]) -> Results:
    """The results, with JSON-ready facts in their recipes under `page`, for whoever restores them there."""
    return tuple(replace(result, recipe={**result.recipe, "page": dict(notes)}) for result in results)


def save_pictures(
    shell: Shell, session: str, results: Results, prefix: str, names: Sequence[str] = ()
) -> list[Picture]:
    """Write every picture of the results as a PNG that carries its recipe. `names`: one per picture, or none.

    Raises:
        StorageError: the disk is full or not writable.
    """
    from arc2face.pictures.recipes import save_png

    folder = shell.files.new_run(session)
    made = [(image, result) for result in results for image in result.images]
    paths = [folder / f"{prefix}-{number}-seed-{image.seed}.png" for number, (image, _) in enumerate(made, 1)]
    list(_encoders().map(save_png, [image for image, _ in made], [result for _, result in made], paths))
    pictures: list[Picture] = []
    for number, ((image, _), path) in enumerate(zip(made, paths, strict=True)):
        name = names[number] if number < len(names) else ""
        height, width = image.rgb_u8.shape[:2]
        picture = Picture(str(path), image.seed, image.similarity, image.face_found, name, size=(width, height))
        pictures.append(picture)
    return pictures


def rank(picture: Picture) -> float:
    """What pictures are sorted by: similarity; those without a face, or not compared, come last."""
    return -2.0 if picture.similarity is None else picture.similarity


def made_of(run: Run) -> list[Picture]:
    """The pictures that a run drew: no pasted photos, no film, no sheet."""
    return [picture for picture in run.pictures if not picture.kind]


def bound(path: Path, pictures: Sequence[Picture]) -> Picture:
    """The film, or the contact sheet, of several pictures, as results show it."""
    from PIL import Image

    kind, name = (FILM, "Film") if path.suffix == ".webp" else (SHEET, "Contact sheet")
    with Image.open(path) as opened:
        size = opened.size
    return Picture(str(path), pictures[0].seed, None, None, f"{name} · {len(pictures)} pictures", kind, size)


def best_of(pictures: Sequence[Picture]) -> Picture:
    """The picture most similar to the person, the first of several."""
    return max(pictures, key=rank)


def pack(paths: Sequence[Path | str], name: str = "pictures.zip") -> Path:
    """A zip of files, beside the first of them."""
    return zip_files(paths, Path(paths[0]).parent / name)


def save_pasted(
    engine: Engine, person: Person, mask: str, results: Results, pictures: Sequence[Picture]
) -> list[Picture]:
    """Every picture blended into the person's full photo, beside it, with its recipe.

    Raises:
        InputError: there is no photo. StorageError: the disk is full or not writable.
    """
    from arc2face.pictures.recipes import save_png
    from arc2face.sources import paste_all

    images = [(image, result) for result in results for image in result.images]
    whole = paste_all(engine, person, [image.rgb_u8 for image, _ in images], mask)
    photo = person.photo("Comparing with the photo")
    before, seam = str(photo.path), photo.face(engine.faces, person.pick).centre[0] / photo.rgb_u8.shape[1]
    full = [replace(image, rgb_u8=pasted) for (image, _), pasted in zip(images, whole, strict=True)]
    targets = [Path(picture.path).with_name(f"full-{Path(picture.path).name}") for picture in pictures]
    list(_encoders().map(save_png, full, [result for _, result in images], targets))
    return [
        replace(
            picture,
            path=str(target),
            name=f"Pasted {number}",
            kind=PASTED,
            size=(image.rgb_u8.shape[1], image.rgb_u8.shape[0]),
            before=before,
            seam=min(max(seam, 0.02), 0.98),
            saved="",
            id=_name(),
        )
        for number, (image, target, picture) in enumerate(zip(full, targets, pictures, strict=True), 1)
    ]


@functools.cache
def _encoders() -> ThreadPoolExecutor:
    """The pool that encodes for everybody; its threads start with the first picture."""
    return ThreadPoolExecutor(ENCODERS, thread_name_prefix="arc2face-png")
