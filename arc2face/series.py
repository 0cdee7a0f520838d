"""One person many times: turntables and expression strips, as requests, pictures, contact sheet and animation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arc2face import checks
from arc2face.errors import SettingsError
from arc2face.expression.values import amplify
from arc2face.pictures.animation import save_animation
from arc2face.pictures.saving import save_picture
from arc2face.pictures.sheets import contact_sheet
from arc2face.pose.values import turntable_angles
from arc2face.settings import (
    PITCH_LIMIT,
    STRIP_COUNT_RANGE,
    TURNTABLE_COUNT_RANGE,
    TURNTABLE_WIDEST,
    YAW_LIMIT,
)
from arc2face.types import (
    Expression,
    ExpressionCondition,
    GenerationRequest,
    PoseCondition,
    RgbU8,
)

if TYPE_CHECKING:
    from arc2face.engine import Engine


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture of a series. `name`: what sets it apart, for captions. `facts`: JSON-ready, such as the angle."""

    name: str
    request: GenerationRequest
    facts: dict[str, Any] = field(default_factory=dict[str, Any])


def turntable(
    engine: Engine,
    base: GenerationRequest,
    count: int = 7,
    widest: float = TURNTABLE_WIDEST,
    pitch: float = 0.0,
    *,
    strength: float = 1.0,
    start: float = 0.0,
    end: float = 1.0,
) -> list[Frame]:
    """The person at evenly spaced angles from the picture's left to its right, with one seed.

    Args:
        engine: draws the normal maps.
        base: person and settings; number of pictures and keep-best are replaced by one each.
        count: how many angles; one alone is frontal.
        widest: the outermost yaw in degrees.
        pitch: degrees, the same for all.
        strength: as in `PoseCondition`.
        start: as in `PoseCondition`.
        end: as in `PoseCondition`.

    Raises:
        SettingsError: a number outside its range. MissingWeightsError: no head model.
    """
    count = checks.whole("The number of angles", count, TURNTABLE_COUNT_RANGE)
    widest = checks.number("The widest angle in degrees", widest, (0.0, YAW_LIMIT))
    pitch = checks.number("The nod (pitch) in degrees", pitch, (-PITCH_LIMIT, PITCH_LIMIT))
    one = single(base)
    frames: list[Frame] = []
    for angles in turntable_angles(count, widest, pitch):
        pose = PoseCondition(engine.normal_map(*angles), strength, start, end, angles)
        frames.append(Frame(f"{angles[0]:.0f}°", one.with_(pose=pose), {"yaw": angles[0], "pitch": pitch}))
    return frames


def expression_strip(
    base: GenerationRequest, expression: Expression, count: int = 5, *, strength: float = 1.0
) -> list[Frame]:
    """The person from neutral to an expression in equal amounts, with one seed. Raises SettingsError."""
    count = checks.whole("The number of amounts", count, STRIP_COUNT_RANGE)
    amounts = [step / (count - 1) for step in range(count)]
    one = single(base)
    return [
        Frame(
            f"{amount:.0%}",
            one.with_(expression=ExpressionCondition(amplify(expression, amount), strength)),
            {"amount": amount},
        )
        for amount in amounts
    ]


def expression_gallery(
    base: GenerationRequest, expressions: Sequence[Expression], names: Sequence[str], *, strength: float = 1.0
) -> list[Frame]:
    """The person once per expression, with one seed. Raises SettingsError when there is none."""
    if not expressions:
        raise SettingsError("A series of expressions needs at least one.")
    one = single(base)
    return [
        Frame(name, one.with_(expression=ExpressionCondition(expression, strength)), {"expression": name})
        for name, expression in zip(names, expressions, strict=True)
    ]


def single(base: GenerationRequest) -> GenerationRequest:
    """The request for one picture alone."""
    return base.with_(num_images=1, keep_best=0)


def save_series(pictures: Sequence[RgbU8], sheet: Path, animation: Path) -> tuple[Path, Path]:
    """Contact sheet (PNG) and animation (WebP, GIF or MP4 by its suffix) of a series. Raises StorageError."""
    return save_picture(contact_sheet(pictures), sheet), save_animation(pictures, animation)
