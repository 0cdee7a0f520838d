"""Whose look: a new picture, or the photo's own look kept and the result blended back into the photo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from arc2face import checks
from arc2face.errors import SettingsError
from arc2face.settings import DEFAULT_LOOK_STRENGTH, LOOK_STRENGTH_RANGE, PASTE_MASKS, PasteMask
from arc2face.types import ReferenceCondition, RgbU8

if TYPE_CHECKING:
    from arc2face.engine import Engine
    from arc2face.sources.person import Person


@dataclass(frozen=True, slots=True, kw_only=True)
class LookSource:
    """`keep`: keep look and background of the person's first photo. `strength`: how much, 0 to 1.

    `paste`: blend each result back into the full photo with this mask, face or head; None does not.
    """

    keep: bool = False
    strength: float = DEFAULT_LOOK_STRENGTH
    paste: PasteMask | None = None

    def check(self) -> LookSource:
        """The look itself, once it is usable. Raises SettingsError."""
        checks.flag("Keeping the look", self.keep)
        checks.number("The look strength", self.strength, LOOK_STRENGTH_RANGE)
        if self.paste is not None:
            checks.choice("The paste-back mask", self.paste, PASTE_MASKS)
            if not self.keep:
                raise SettingsError("Pasting back needs the photo's look kept: only then does the result fit into it.")
        return self


def find_look(engine: Engine, source: LookSource, person: Person) -> ReferenceCondition | None:
    """The request's reference: the person's first photo, aligned; None for a new picture. Raises InputError."""
    if not source.check().keep:
        return None
    photo = person.photo("Keeping the photo's look")
    return ReferenceCondition(engine.align(photo, person.pick), source.strength)


def paste_all(engine: Engine, person: Person, pictures: Sequence[RgbU8], mask: PasteMask | str) -> list[RgbU8]:
    """Each (S, S, 3) result blended back into the person's first photo, at the photo's full size.

    The landmarks of each result widen the mask where the mouth now opens further (see `paste_back`).

    Raises:
        InputError: there is no photo. SettingsError: unknown mask.
    """
    from arc2face.faces.pasteback import paste_back  # scipy: not for a page that only starts

    photo = person.photo("Pasting back")
    checks.choice("The paste-back mask", mask, PASTE_MASKS)
    points = engine.landmarks(photo, person.pick)
    return [
        paste_back(
            photo.rgb_u8,
            picture,
            points,
            cast("PasteMask", mask),
            generated_landmarks=engine.landmarks_or_none(picture),
            aligned_size=engine.native_size,
        )
        for picture in pictures
    ]
