"""Who: photos of one person, or a saved identity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arc2face import checks
from arc2face.errors import InputError, MissingWeightsError, SettingsError
from arc2face.faces.identities import IdentityReport, load_identity
from arc2face.faces.photo import Photo
from arc2face.pictures.loading import ImageSource
from arc2face.settings import MAX_PHOTOS
from arc2face.types import IdentityEmbedding

if TYPE_CHECKING:
    from arc2face.engine import Engine

NOBODY = "Add a photo of a person first, or a saved identity."


@dataclass(frozen=True, slots=True, eq=False)
class Person:
    """Who is to be shown.

    `photos`: as given; empty for a saved identity alone. `pick`: face of the first photo, from 0, None for the best.
    `report`: how well the photos agree, None for a saved identity. `warnings`: sentences for the user.
    """

    identity: IdentityEmbedding
    photos: tuple[Photo, ...] = ()
    pick: int | None = None
    report: IdentityReport | None = None
    warnings: tuple[str, ...] = ()

    @property
    def facts(self) -> dict[str, Any]:
        """JSON-ready facts, without the embedding itself."""
        facts: dict[str, Any] = {
            "photos": self.identity.photos,
            "norm": self.identity.norm,
            "recogniser_sha256": self.identity.recogniser_sha256,
            "warnings": list(self.warnings),
        }
        if self.report is not None:
            facts |= {
                "cosines": [float(cosine) for cosine in self.report.cosines],
                "outliers": [int(place) for place in self.report.outliers],
                "used": [int(place) for place in self.report.used],
            }
        return facts

    def photo(self, purpose: str) -> Photo:
        """The first photo. Raises InputError, which says what for, when there is none."""
        if not self.photos:
            raise InputError(f"{purpose} needs a photo of the person; a saved identity holds no picture.")
        return self.photos[0]


def find_person(
    engine: Engine,
    photos: Sequence[Photo | ImageSource] = (),
    *,
    picks: Sequence[int | None] | None = None,
    identity_file: Path | str | None = None,
    embedding: IdentityEmbedding | None = None,
    method: str = "mean",
    drop_outliers: bool = False,
) -> Person:
    """The person from an embedding, else a saved identity, else photos.

    With an embedding or a file, photos only lend their look and their head shape.

    Args:
        engine: reads the photos; its recogniser is compared with the file's.
        photos: files, pictures, or `Photo` objects, whose earlier findings are used.
        picks: which face of each photo, from 0, None for the best; shorter lists leave the rest at None.
        identity_file: `.npz` or `.npy`.
        embedding: a ready identity embedding.
        method: `mean` or `median`.
        drop_outliers: leave out photos that seem to show somebody else.

    Raises:
        InputError: nobody was given, a photo is unreadable or shows no face, or a file is no identity.
        SettingsError: too many photos, more picks than photos, or an unknown method.
    """
    names = ["the photo"] if len(photos) == 1 else [f"photo {k + 1}" for k in range(len(photos))]
    found = tuple(Photo.of(photo, name) for photo, name in zip(photos, names, strict=True))
    places = check_picks(picks, len(found))
    pick = places[0] if places else None
    if embedding is not None:
        return Person(embedding, found, pick)
    if identity_file is not None:
        identity, warnings = load_identity(Path(identity_file).expanduser(), recogniser_in_use(engine))
        return Person(identity, found, pick, warnings=warnings)
    if not found:
        raise InputError(NOBODY)
    report = engine.identify(found, picks=places, method=method, drop_outliers=drop_outliers)
    return Person(report.identity, found, pick, report, report.warnings)


def check_picks(picks: Sequence[int | None] | None, photos: int) -> list[int | None]:
    """One face number (from 0) or None per photo. Raises SettingsError."""
    if photos > MAX_PHOTOS:
        raise SettingsError(f"At most {MAX_PHOTOS} photos are combined, not {photos}. Choose the clearest ones.")
    given = list(picks or ())
    if len(given) > photos:
        raise SettingsError(f"A face is named for {len(given)} photos, but there are {photos}; name at most one each.")
    chosen = [None if pick is None else checks.whole("A face number", pick, (0, 1000)) for pick in given]
    return [*chosen, *[None] * (photos - len(chosen))]


def recogniser_in_use(engine: Engine) -> str | None:
    """Hash to compare an identity file with; None when there is no recogniser, which generating does not need."""
    try:
        return str(engine.faces.recogniser_sha256)
    except MissingWeightsError:
        return None
