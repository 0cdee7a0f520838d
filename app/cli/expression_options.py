"""Expression options, and how they become the 55 numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.session import photo
from arc2face.errors import SettingsError

if TYPE_CHECKING:
    from arc2face.engine import Engine
    from arc2face.types import Expression

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


@dataclass(frozen=True, slots=True)
class ExpressionChoice:
    """The expression options of one call: one source, then edits."""

    targets: Sequence[Path] = ()
    faces: Sequence[int] = ()
    blend: float = 0.5
    file: Path | None = None
    preset: str | None = None
    amplitude: float = 1.0
    eyelids: tuple[float | None, float | None] = (None, None)
    jaw: tuple[float | None, float | None, float | None] = (None, None, None)


def preset_names(models: Path | None) -> list[str]:
    """Names of the built-in presets and those of the models folder."""
    from arc2face.expression.presets import load_presets
    from arc2face.weights.folder import best_bundle

    return list(load_presets(best_bundle(models).root))


def find_expression(engine: Engine, choice: ExpressionChoice) -> tuple[Expression, dict[str, Any]]:
    """The expression and where it came from. Without any source it is neutral. Raises Arc2FaceError."""
    from arc2face.expression.values import amplify, with_eyelids, with_jaw

    if sum([bool(choice.targets), choice.file is not None, choice.preset is not None]) > 1:
        raise SettingsError("Give one source of the expression: --target, --expression or --preset.")
    found, source = _source(engine, choice)
    edited = amplify(found, choice.amplitude)
    edited = with_eyelids(edited, *choice.eyelids)
    return with_jaw(edited, *choice.jaw), {"source": source, "amplitude": choice.amplitude}


def _source(engine: Engine, choice: ExpressionChoice) -> tuple[Expression, str]:
    from arc2face.expression.presets import load_presets
    from arc2face.expression.values import blend, load_expression
    from arc2face.types import Expression

    if choice.file is not None:
        return load_expression(choice.file), str(choice.file)
    if choice.preset is not None:
        presets = {name.lower(): value for name, value in load_presets(engine.models.root).items()}
        if choice.preset.lower() not in presets:
            raise SettingsError(f"There is no preset {choice.preset!r}; --preset list shows them.")
        return presets[choice.preset.lower()], f"preset {choice.preset}"
    if not choice.targets:
        return Expression.neutral(), "neutral"
    if len(choice.targets) > 2:
        raise SettingsError("At most two target photos can be mixed.")
    picks = [*choice.faces, *[0] * len(choice.targets)]
    read = [
        engine.read_expression(photo(path), pick - 1 if pick else None)
        for path, pick in zip(choice.targets, picks, strict=False)
    ]
    names = " and ".join(str(path) for path in choice.targets)
    return (read[0], names) if len(read) == 1 else (blend(read[0], read[1], choice.blend), names)
