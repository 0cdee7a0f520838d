"""Photos of many people to one embedding each, photo by photo, so that one bad photo costs no person."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from arc2face.dataset.people import Found, Unread
from arc2face.errors import InputError, SettingsError
from arc2face.faces.identities import OUTLIER_COSINE, IdentityReport, combine
from arc2face.faces.photo import Photo
from arc2face.settings import MAX_PHOTOS, one_of
from arc2face.types import IdentityEmbedding

if TYPE_CHECKING:
    from arc2face.engine import Engine

__all__ = ["OUTLIERS", "Outliers", "PhotoOf", "combine_photos"]

Outliers = Literal["drop", "keep", "refuse"]
OUTLIERS: dict[Outliers, str] = {
    "drop": "leave them out, with a warning",
    "keep": "use them all the same, with a warning",
    "refuse": "the person counts as unreadable",
}
SHOWN = 5


@dataclass(frozen=True, slots=True, eq=False)
class PhotoOf:
    """One photo of a person. `name`: what messages call it. `picture`: a path, or the file's contents."""

    person: str
    name: str
    picture: Path | bytes


@dataclass(slots=True, eq=False)
class _Person:
    """What was found of a person so far; photos are forgotten once they are read."""

    names: list[str] = field(default_factory=list[str])
    embeddings: list[IdentityEmbedding] = field(default_factory=list[IdentityEmbedding])
    bad: list[str] = field(default_factory=list[str])
    crowded: list[str] = field(default_factory=list[str])
    more: int = 0
    unread: str = ""


def combine_photos(
    photos: Iterable[PhotoOf | Unread], engine: Engine, outliers: Outliers, progress: Callable[[int], None]
) -> Iterator[Found | Unread]:
    """Read every photo as it comes, then give everybody in the order in which they first came.

    At most MAX_PHOTOS readable photos of a person are used; what is kept of a photo is its embedding.

    Raises:
        SettingsError: unknown word for outliers.
        WeightsError: the face networks are not there. A photo's own faults are told with the person.
    """
    if outliers not in OUTLIERS:
        raise SettingsError(f"What to do with photos that do not agree must be {one_of(OUTLIERS)}.")
    people: dict[str, _Person] = {}
    done = 0
    for photo in photos:
        person = people.setdefault(photo.name if isinstance(photo, Unread) else photo.person, _Person())
        if isinstance(photo, Unread):
            person.unread = photo.reason
            continue
        if len(person.embeddings) < MAX_PHOTOS:
            _read(person, photo, engine)
        else:
            person.more += 1
        done += 1
        progress(done)
    for key, person in people.items():
        yield _together(key, person, outliers)


def _read(person: _Person, photo: PhotoOf, engine: Engine) -> None:
    perception = engine.perception
    try:
        seen = Photo.of(photo.picture, photo.name)
        faces = seen.faces(perception.faces)
        person.embeddings.append(perception.embed(seen))
        person.names.append(photo.name)
        if len(faces) > 1:
            person.crowded.append(photo.name)
    except InputError as error:
        person.bad.append(f"{photo.name} ({str(error).rstrip('.')})")


def _together(key: str, person: _Person, outliers: Outliers) -> Found | Unread:
    if not person.embeddings:
        return Unread(key, person.unread or f"no photo could be used: {_some(person.bad)}.")
    report = combine(person.embeddings, drop_outliers=outliers == "drop")
    odd = _disagreement(person, report)
    if odd and (outliers == "refuse" or (outliers == "drop" and _two_people(person, report))):
        return Unread(key, f"the photos do not show one person: {odd}")
    warnings: list[str] = []
    if odd:
        left = "left out" if outliers == "drop" and report.outliers else "used all the same"
        warnings.append(f"photos that do not agree with the others were {left}: {odd}")
    if person.bad:
        warnings.append(f"{len(person.bad)} of {_many(person)} photos could not be used: {_some(person.bad)}.")
    if person.crowded:
        warnings.append(f"several faces, the likeliest was taken: {_some(person.crowded)}.")
    if person.more:
        warnings.append(f"the first {MAX_PHOTOS} of {_many(person)} photos were used.")
    return Found(key, report.identity, f"photos: {len(report.used)}", tuple(warnings))


def _disagreement(person: _Person, report: IdentityReport) -> str:
    """The photos that do not agree, with their cosine to the others; empty when all do."""
    odd = list(report.outliers)
    kept = [place for place in range(len(person.names)) if place not in report.outliers]
    if len(kept) == 2 and report.cosines[kept[0]] < OUTLIER_COSINE:
        odd += kept
    return _some([f"{person.names[place]} (cosine {report.cosines[place]:.2f})" for place in sorted(odd)])


def _two_people(person: _Person, report: IdentityReport) -> bool:
    """Whether nobody can say who the person is: no two photos agree, or hardly more of them agree than do not."""
    kept = [place for place in range(len(person.names)) if place not in report.outliers]
    if len(kept) == 2 and report.cosines[kept[0]] < OUTLIER_COSINE:
        return True
    return len(report.outliers) >= len(kept)


def _many(person: _Person) -> int:
    return len(person.names) + len(person.bad) + person.more


def _some(words: list[str]) -> str:
    return ", ".join(words[:SHOWN]) + (f" and {len(words) - SHOWN} more" if len(words) > SHOWN else "")
