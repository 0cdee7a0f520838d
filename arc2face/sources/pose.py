"""Which pose: another photo, angles, or a saved normal map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from arc2face.errors import InputError, SettingsError
from arc2face.faces.photo import Photo
from arc2face.pictures.loading import ImageSource, resize_square
from arc2face.pose.values import check_angles, check_normal_map
from arc2face.types import PoseCondition, RgbU8

if TYPE_CHECKING:
    from arc2face.engine import Engine
    from arc2face.sources.person import Person

BORROWED_SHAPE = "Without a photo of the person, the pose photo's own head shape is used."


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class PoseSource:
    """Where a pose comes from: exactly one of photo, normal map, and angles.

    `face`: which face of the photo, from 0, None for the best. `yaw`, `pitch`, `roll`: degrees; to the picture's
    right, down, and the top of the head to the picture's left. One angle alone leaves the others at 0.
    `strength`, `start`, `end`: see `PoseCondition`.
    """

    photo: Photo | ImageSource | None = None
    face: int | None = None
    normal_map: Photo | ImageSource | None = None
    yaw: float | None = None
    pitch: float | None = None
    roll: float | None = None
    strength: float = 1.0
    start: float = 0.0
    end: float = 1.0

    @property
    def angles(self) -> tuple[float, float, float] | None:
        """Yaw, pitch and roll, or None when no angle was given."""
        if self.yaw is None and self.pitch is None and self.roll is None:
            return None
        return self.yaw or 0.0, self.pitch or 0.0, self.roll or 0.0

    @property
    def given(self) -> bool:
        """Whether any pose was asked for. Raises SettingsError for more than one kind."""
        kinds = [self.photo is not None, self.normal_map is not None, self.angles is not None]
        if sum(kinds) > 1:
            raise SettingsError("Give one pose: a pose photo, angles (yaw, pitch, roll), or a normal map.")
        return any(kinds)


@dataclass(frozen=True, slots=True, eq=False)
class Posed:
    """A pose ready for a request. `aligned`: (512, 512, 3) the aligned pose photo, None without one.

    `facts`: JSON-ready; the angles that were read or given. `warnings`: sentences for the user.
    """

    condition: PoseCondition
    aligned: RgbU8 | None = None
    facts: dict[str, Any] | None = None
    warnings: tuple[str, ...] = ()


def find_pose(engine: Engine, source: PoseSource, person: Person | None = None) -> Posed | None:
    """The pose that a source describes, None when it describes none.

    A pose photo gives rotation, jaw and camera; the head's shape comes from the person's first photo, or from the
    pose photo where the person is known by numbers only.

    Raises:
        SettingsError: two kinds of pose, an unusable strength. PoseError: an angle out of range.
        InputError: a photo without a face, or a picture that is no normal map.
        MissingWeightsError: the head model or EMOCA is not there.
    """
    if not source.given:
        return None
    if source.normal_map is not None:
        return _posed(source, square_map(Photo.of(source.normal_map, "the normal map").rgb_u8, engine.native_size))
    if source.photo is None:
        angles = check_angles(*(source.angles or (0.0, 0.0, 0.0)))
        facts: dict[str, Any] = dict(zip(("yaw", "pitch", "roll"), angles, strict=True))
        return _posed(source, engine.normal_map(*angles), facts=facts, angles=angles)
    return _from_photo(engine, source, person)


def square_map(rgb_u8: RgbU8, size: int) -> RgbU8:
    """A normal map at `size` pixels. Raises InputError when it is not square or plainly no normal map."""
    height, width = rgb_u8.shape[:2]
    if abs(height - width) > 0.02 * max(height, width):
        raise InputError(f"A normal map is square; this one is {width} x {height}. Use one that was saved here.")
    check_normal_map(rgb_u8)
    return resize_square(rgb_u8, size)


def _from_photo(engine: Engine, source: PoseSource, person: Person | None) -> Posed:
    assert source.photo is not None
    pose_photo = Photo.of(source.photo, "the pose photo")
    shape, shape_face, notes = pose_photo, source.face, (BORROWED_SHAPE,)
    if person is not None and person.photos:
        shape, shape_face, notes = person.photos[0], person.pick, ()
    reading = engine.read_pose(shape, pose_photo, shape_face, source.face)
    warnings = (*notes, *reading.warnings)
    angles = (reading.yaw, reading.pitch, reading.roll)
    facts: dict[str, Any] = dict(zip(("yaw", "pitch", "roll"), angles, strict=True))
    facts |= {"reprojection_error": reading.reprojection_error, "warnings": list(warnings)}
    return _posed(source, reading.normal_map, reading.aligned_rgb_u8, facts, angles, warnings)


def _posed(
    source: PoseSource,
    normal_map: RgbU8,
    aligned: RgbU8 | None = None,
    facts: dict[str, Any] | None = None,
    angles: tuple[float, float, float] | None = None,
    warnings: tuple[str, ...] = (),
) -> Posed:
    condition = PoseCondition(normal_map, source.strength, source.start, source.end, angles)
    return Posed(condition, aligned, facts or {}, warnings)
