"""Pose options that `arc2face pose` and `arc2face expression` share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from arc2face.settings import CONTROL_STRENGTH_RANGE, PITCH_LIMIT, ROLL_LIMIT, YAW_LIMIT, span
from arc2face_app.cli import console

if TYPE_CHECKING:
    from arc2face.engine import Engine
    from arc2face.sources import Person, Posed, PoseSource

_PANEL = "The pose"

PosePhoto = Annotated[
    Path | None,
    typer.Option("--pose-photo", help="Photo whose head pose is taken.", rich_help_panel=_PANEL, show_default=False),
]
PoseFace = Annotated[
    int | None,
    typer.Option(
        "--pose-face", min=1, help="Which face of it, 1 the best.", rich_help_panel=_PANEL, show_default=False
    ),
]
Yaw = Annotated[
    float | None,
    typer.Option(
        help=f"Degrees, {-YAW_LIMIT:g} to {YAW_LIMIT:g}; to the picture's right.",
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]
Pitch = Annotated[
    float | None,
    typer.Option(
        help=f"Degrees, {-PITCH_LIMIT:g} to {PITCH_LIMIT:g}; down.", rich_help_panel=_PANEL, show_default=False
    ),
]
Roll = Annotated[
    float | None,
    typer.Option(
        help=f"Degrees, {-ROLL_LIMIT:g} to {ROLL_LIMIT:g}; top to the picture's left.",
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]
MapIn = Annotated[
    Path | None,
    typer.Option("--normal-map", help="A saved normal map instead.", rich_help_panel=_PANEL, show_default=False),
]
Strength = Annotated[
    float,
    typer.Option(
        "--pose-strength", help=f"ControlNet strength, {span(CONTROL_STRENGTH_RANGE)}.", rich_help_panel=_PANEL
    ),
]
Start = Annotated[float, typer.Option("--pose-start", help="Share of the steps it begins at.", rich_help_panel=_PANEL)]
End = Annotated[float, typer.Option("--pose-end", help="Share of the steps it ends at.", rich_help_panel=_PANEL)]


def pose_source(
    photo: Path | None = None,
    face: int | None = None,
    yaw: float | None = None,
    pitch: float | None = None,
    roll: float | None = None,
    normal_map: Path | None = None,
    strength: float = 1.0,
    start: float = 0.0,
    end: float = 1.0,
) -> PoseSource:
    """The pose that the options of one call describe; faces are counted from 1 here."""
    from arc2face.sources import PoseSource

    return PoseSource(
        photo=photo,
        face=None if face is None else face - 1,
        yaw=yaw,
        pitch=pitch,
        roll=roll,
        normal_map=normal_map,
        strength=strength,
        start=start,
        end=end,
    )


def find_pose(engine: Engine, source: PoseSource, person: Person | None) -> Posed | None:
    """The pose, None when none was asked for. Warnings are shown. Raises Arc2FaceError."""
    from arc2face import sources

    posed = sources.find_pose(engine, source, person)
    for text in posed.warnings if posed is not None else ():
        console.warn(text)
    return posed
