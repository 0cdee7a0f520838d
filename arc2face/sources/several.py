"""Several people in one photo: each keeps who they are, gets an expression of their own, and goes back into the photo.

Each face is a request of its own: its embedding says who, its aligned square is the look that is kept, and the result
is pasted back over it. Faces that are given no expression stay as they are, pixel by pixel.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from arc2face import checks
from arc2face.errors import SettingsError
from arc2face.faces.pasteback import paste_back
from arc2face.faces.photo import Photo
from arc2face.pictures.loading import ImageSource
from arc2face.settings import DEFAULT_LOOK_STRENGTH, LOOK_STRENGTH_RANGE, PASTE_MASKS, PasteMask
from arc2face.sources.expression import ExpressionSource, find_expression
from arc2face.types import Expression, ExpressionCondition, GenerationRequest, ReferenceCondition, RgbU8

if TYPE_CHECKING:
    from arc2face.engine import Engine

MAX_GROUP = 8
"""Most faces of one photo that are changed at once."""


@dataclass(frozen=True, slots=True, eq=False)
class Wish:
    """What one person of a photo is to look like.

    `face`: which one, from 0, in the order of `Photo.faces`. `expression`: where it comes from. `strength`: as in
    `ExpressionCondition`.
    """

    face: int
    expression: ExpressionSource | Expression
    strength: float = 1.0


def group_requests(
    engine: Engine,
    photo: Photo | ImageSource,
    wishes: Sequence[Wish],
    settings: Mapping[str, Any] | None = None,
    *,
    look: float = DEFAULT_LOOK_STRENGTH,
) -> list[GenerationRequest]:
    """One request per wish, in their order: this person, this expression, the photo's look.

    Args:
        engine: reads the photo.
        photo: shows the people.
        wishes: at most one per face.
        settings: further fields of `GenerationRequest`, the same for all; one picture each.
        look: how much of the photo's look is kept, 0 to 1.

    Raises:
        SettingsError: no wish, two for one face, too many, or a face that is not there.
        InputError, WeightsError: as for a request with one person.
    """
    look = checks.number("The look strength", look, LOOK_STRENGTH_RANGE)
    faces = _check(wishes)
    photo = Photo.of(photo, "the photo of several people")
    fields: dict[str, Any] = {**(settings or {}), "num_images": 1, "keep_best": 0}
    embeddings = [engine.perception.embed(photo, face) for face in faces]
    requests: list[GenerationRequest] = []
    for wish, person in zip(wishes, embeddings, strict=True):
        wanted = wish.expression
        found = find_expression(engine, wanted) if isinstance(wanted, ExpressionSource) else wanted
        requests.append(
            GenerationRequest(
                identity=person,
                expression=ExpressionCondition(found, wish.strength),
                reference=ReferenceCondition(engine.align(photo, wish.face), look),
                **fields,
            )
        )
    return requests


def paste_group(
    engine: Engine,
    photo: Photo | ImageSource,
    faces: Sequence[int],
    pictures: Sequence[RgbU8],
    mask: PasteMask | str = "face",
) -> RgbU8:
    """The photo, (H, W, 3) at its full size, with every picture blended over the face it belongs to.

    Larger faces come last, since those stand in front. Raises SettingsError for an unknown mask, InputError.
    """
    checks.choice("The paste-back mask", mask, PASTE_MASKS)
    photo = Photo.of(photo, "the photo of several people")
    points = {face: engine.landmarks(photo, face) for face in faces}
    height = {face: float(found[:, 1].max() - found[:, 1].min()) for face, found in points.items()}
    whole = photo.rgb_u8
    for face, picture in sorted(zip(faces, pictures, strict=True), key=lambda pair: height[pair[0]]):
        whole = paste_back(
            whole,
            picture,
            points[face],
            cast("PasteMask", mask),
            generated_landmarks=engine.landmarks_or_none(picture),
            aligned_size=engine.native_size,
        )
    return whole


def _check(wishes: Sequence[Wish]) -> list[int]:
    if not wishes:
        raise SettingsError("Choose an expression for at least one person of the photo.")
    if len(wishes) > MAX_GROUP:
        raise SettingsError(f"At most {MAX_GROUP} people of a photo are changed at once, not {len(wishes)}.")
    faces = [checks.whole("A face number", wish.face, (0, 1000)) for wish in wishes]
    twice = sorted(face for face in set(faces) if faces.count(face) > 1)
    if twice:
        raise SettingsError(f"Face {twice[0] + 1} was given two expressions; give each person one.")
    return faces
