"""Expression options, and the source they describe."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from arc2face.errors import SettingsError

if TYPE_CHECKING:
    from arc2face.sources import ExpressionSource

_PANEL = "The expression"

Targets = Annotated[
    list[Path] | None,
    typer.Option(
        "--target",
        "-t",
        help="Photo whose expression is taken; a second one is mixed in by --blend.",
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]
TargetFaces = Annotated[
    list[int] | None,
    typer.Option("--target-face", min=1, help="Which face of it.", rich_help_panel=_PANEL, show_default=False),
]
Blend = Annotated[float, typer.Option(help="0 first target, 1 second target.", rich_help_panel=_PANEL)]
ExpressionFile = Annotated[
    Path | None,
    typer.Option("--expression", help="A saved expression (JSON).", rich_help_panel=_PANEL, show_default=False),
]
Preset = Annotated[
    str | None,
    typer.Option(help="A preset by name; --preset list shows them.", rich_help_panel=_PANEL, show_default=False),
]
Amplitude = Annotated[float, typer.Option(help="0 neutral, 1 as read, up to 1.5 exaggerated.", rich_help_panel=_PANEL)]
LeftEyelid = Annotated[
    float | None, typer.Option(help="The person's left: 0 open, 1 closed.", rich_help_panel=_PANEL, show_default=False)
]
RightEyelid = Annotated[
    float | None, typer.Option(help="The person's right: 0 open, 1 closed.", rich_help_panel=_PANEL, show_default=False)
]
JawOpen = Annotated[float | None, typer.Option(help="Radians, 0 to 0.9.", rich_help_panel=_PANEL, show_default=False)]
JawSide = Annotated[
    float | None, typer.Option(help="Radians, -0.3 to 0.3.", rich_help_panel=_PANEL, show_default=False)
]
JawRoll = Annotated[
    float | None, typer.Option(help="Radians, -0.3 to 0.3.", rich_help_panel=_PANEL, show_default=False)
]
Strength = Annotated[
    float,
    typer.Option("--strength", help="How strongly it acts: 0 not, 1 as trained, up to 2.", rich_help_panel=_PANEL),
]

EyesFrom = Annotated[
    str | None,
    typer.Option(
        help="Eyes and lids from here: a photo, a saved expression (.json) or a preset. Gaze is not among the numbers.",
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]
BrowsFrom = Annotated[str | None, typer.Option(help="Brows from here.", rich_help_panel=_PANEL, show_default=False)]
MouthFrom = Annotated[
    str | None, typer.Option(help="Mouth, cheeks and jaw from here.", rich_help_panel=_PANEL, show_default=False)
]


def source_named(text: str) -> ExpressionSource:
    """A preset by name, a saved expression (.json), or a photo: a name with a suffix is a file."""
    from arc2face.sources import ExpressionSource

    path = Path(text).expanduser()
    if path.suffix.lower() == ".json":
        return ExpressionSource(file=path)
    return ExpressionSource(photo=path) if path.suffix else ExpressionSource(preset=text)


def preset_names(models: Path | None) -> list[str]:
    """Names of the built-in presets and those of the models folder."""
    from arc2face.expression.presets import load_presets
    from arc2face.weights.folder import best_bundle

    return list(load_presets(best_bundle(models).root))


def expression_source(
    targets: Sequence[Path],
    faces: Sequence[int],
    blend: float,
    file: Path | None,
    preset: str | None,
    amplitude: float,
    eyelids: tuple[float | None, float | None],
    jaw: tuple[float | None, float | None, float | None],
) -> ExpressionSource:
    """The expression that the options of one call describe; faces are counted from 1 here. Raises SettingsError."""
    from arc2face.sources import ExpressionSource, Mixed

    if len(targets) > 2:
        raise SettingsError("At most two target photos can be mixed.")
    photos: list[Path | None] = [*targets, None, None]
    picks = [*[face - 1 for face in faces], None, None]
    edits = Mixed(
        share=blend,
        amount=amplitude,
        left_eyelid=eyelids[0],
        right_eyelid=eyelids[1],
        jaw_open=jaw[0],
        jaw_side=jaw[1],
        jaw_roll=jaw[2],
    )
    return ExpressionSource(
        photo=photos[0],
        face=picks[0],
        second=photos[1],
        second_face=picks[1],
        file=file,
        preset=preset,
        edits=edits,
    )


def source_words(source: ExpressionSource) -> str:
    """Where an expression came from, for the answer."""
    if source.preset is not None:
        return f"preset {source.preset}"
    photos = " and ".join(str(photo) for photo in (source.photo, source.second) if photo is not None)
    return photos or (str(source.file) if source.file is not None else "neutral")
