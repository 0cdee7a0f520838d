"""Who the pictures should not look like: a photo or a saved identity of another person."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from arc2face.faces.photo import Photo
from arc2face.pictures.loading import ImageSource
from arc2face.settings import DEFAULT_NEGATIVE_STRENGTH
from arc2face.sources.person import find_person
from arc2face.types import IdentityEmbedding, NegativeIdentity

if TYPE_CHECKING:
    from arc2face.engine import Engine

IDENTITY_SUFFIXES = (".npz", ".npy")


def find_negative(
    engine: Engine,
    somebody: Photo | ImageSource | IdentityEmbedding | None,
    strength: float = DEFAULT_NEGATIVE_STRENGTH,
) -> NegativeIdentity | None:
    """The person whom guidance leads away from; None when nobody is given.

    `somebody`: a photo (its likeliest face counts), the path of a saved identity (`.npz`, `.npy`), or an embedding.
    `strength`: see `NegativeIdentity`.

    Raises:
        InputError: the photo is unreadable or shows no face, or the file is no identity.
        SettingsError: a strength outside 0 to 1.
    """
    if somebody is None:
        return None
    if isinstance(somebody, IdentityEmbedding):
        return NegativeIdentity(somebody, strength)
    if isinstance(somebody, str | Path) and Path(somebody).suffix.lower() in IDENTITY_SUFFIXES:
        return NegativeIdentity(find_person(engine, identity_file=somebody).identity, strength)
    photo = Photo.of(somebody, "the photo of the person to keep away from")
    return NegativeIdentity(find_person(engine, [photo]).identity, strength)
