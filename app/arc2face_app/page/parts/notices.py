"""What a tab lacks on this machine, said before somebody fills in a form in vain."""

from __future__ import annotations

from typing import TYPE_CHECKING

import gradio as gr

from arc2face.advice import command
from arc2face_app.page import markup
from arc2face_app.runs.shell import LIGHT, Shell

if TYPE_CHECKING:
    from arc2face.engine import Engine

OPTIONAL = ("smirk/face_landmarker.task",)
"""Expressions are read without MediaPipe's landmarks too."""
LICENSED = "emoca/"


def missing_notice(shell: Shell, *features: str) -> None:
    """A place at the top of a tab that names missing model files once the tab is opened."""
    place = gr.HTML("")

    def look() -> str:
        return markup.notes([(line, True) for line in missing_lines(shell, *features)])

    shell.here.select(look, None, place, **LIGHT)


def missing_lines(shell: Shell, *features: str) -> list[str]:
    """One sentence per feature that lacks files; empty when all is there or the models are not open yet."""
    if not shell.backend.ready:
        return []
    engine = shell.backend.engine()
    lines: list[str] = []
    for feature in features:
        missing = [path for path in engine.missing(feature) if path not in OPTIONAL]
        licensed = [path for path in missing if path.startswith(LICENSED)]
        plain = [path for path in missing if path not in licensed]
        if plain:
            files = ", ".join(plain[:3]) + (" and more" if len(plain) > 3 else "")
            lines.append(f"Not on this machine yet: {files}. Fetch with: {command(f'download {feature}')}")
        if licensed:
            lines.append(_without_head(engine))
    return [line for line in lines if line]


def _without_head(engine: Engine) -> str:
    """What the head model's licensed files would add; empty when what is there is enough."""
    photos, angles = engine.perception.pose_reader.available()
    if photos:
        return ""
    where = command("doctor")
    if angles:
        return f"Poses from photos need EMOCA, which wants a registration ({where} says where). Sliders work."
    return f"Poses need EMOCA and FLAME, which want a registration ({where} says where). Normal maps work."
