"""Pose options that `arc2face pose` and `arc2face expression` share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli import console
from app.cli.session import Person, photo
from arc2face.errors import SettingsError

if TYPE_CHECKING:
    from arc2face.engine import Engine
    from arc2face.types import PoseCondition, RgbU8

_PANEL = "The pose"

PosePhoto = Annotated[
    Path | None,
    typer.Option("--pose-photo", help="Photo whose head pose is taken.", rich_help_panel=_PANEL, show_default=False),
]
PoseFace = Annotated[
    int | None,
    typer.Option(
        "--pose-face", min=1, help="Which face of it, 1 the largest.", rich_help_panel=_PANEL, show_default=False
    ),
]
Yaw = Annotated[
    float | None,
    typer.Option(help="Degrees, -75 to 75; to the picture's right.", rich_help_panel=_PANEL, show_default=False),
]
Pitch = Annotated[
    float | None, typer.Option(help="Degrees, -40 to 40; down.", rich_help_panel=_PANEL, show_default=False)
]
Roll = Annotated[
    float | None,
    typer.Option(help="Degrees, -30 to 30; top to the picture's left.", rich_help_panel=_PANEL, show_default=False),
]
MapIn = Annotated[
    Path | None,
    typer.Option("--normal-map", help="A saved normal map instead.", rich_help_panel=_PANEL, show_default=False),
]
Strength = Annotated[
    float, typer.Option("--pose-strength", help="ControlNet strength, 0 to 2.", rich_help_panel=_PANEL)
]
Start = Annotated[float, typer.Option("--pose-start", help="Share of the steps it begins at.", rich_help_panel=_PANEL)]
End = Annotated[float, typer.Option("--pose-end", help="Share of the steps it ends at.", rich_help_panel=_PANEL)]


@dataclass(frozen=True, slots=True)
class PoseChoice:
    """The pose options of one call. At most one of photo, angles and normal map."""

    photo: Path | None = None
    face: int | None = None
    yaw: float | None = None
    pitch: float | None = None
    roll: float | None = None
    normal_map: Path | None = None
    strength: float = 1.0
    start: float = 0.0
    end: float = 1.0

    @property
    def angles(self) -> bool:
        """Whether any angle was given."""
        return any(angle is not None for angle in (self.yaw, self.pitch, self.roll))

    @property
    def given(self) -> bool:
        """Whether any pose was asked for. Raises SettingsError for more than one kind."""
        kinds = [self.photo is not None, self.angles, self.normal_map is not None]
        if sum(kinds) > 1:
            raise SettingsError("Give one pose: --pose-photo, angles (--yaw, --pitch, --roll), or --normal-map.")
        return any(kinds)


@dataclass(frozen=True, slots=True, eq=False)
class Pose:
    """A pose as the ControlNet wants it, with what there is to say about it. `aligned`: the aligned pose photo."""

    condition: PoseCondition
    facts: dict[str, Any]
    aligned: RgbU8 | None = None


def find_pose(engine: Engine, choice: PoseChoice, person: Person | None) -> Pose:
    """The pose from a photo, angles or a file. Warnings are shown. Raises Arc2FaceError."""
    if choice.normal_map is not None:
        return condition_of(choice, photo(choice.normal_map), {"source": str(choice.normal_map)})
    if choice.photo is None:
        yaw, pitch, roll = choice.yaw or 0.0, choice.pitch or 0.0, choice.roll or 0.0
        return condition_of(choice, engine.normal_map(yaw, pitch, roll), {"yaw": yaw, "pitch": pitch, "roll": roll})
    if person is None or not person.photos:
        raise SettingsError("A pose photo needs a photo of the person too; with a saved identity use angles.")
    reading = engine.read_pose(
        person.photos[0], photo(choice.photo), person.pick, choice.face - 1 if choice.face else None
    )
    for text in reading.warnings:
        console.warn(text)
    facts = {
        "source": str(choice.photo),
        "yaw": reading.yaw,
        "pitch": reading.pitch,
        "roll": reading.roll,
        "reprojection_error": reading.reprojection_error,
        "warnings": list(reading.warnings),
    }
    return condition_of(choice, reading.normal_map, facts, reading.aligned_rgb_u8)


def condition_of(choice: PoseChoice, normal_map: RgbU8, facts: dict[str, Any], aligned: RgbU8 | None = None) -> Pose:
    """A pose from a normal map that is there already."""
    from arc2face.types import PoseCondition

    return Pose(PoseCondition(normal_map, choice.strength, choice.start, choice.end), facts, aligned)
