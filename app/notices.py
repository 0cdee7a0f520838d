"""What a tab lacks on this machine, said before somebody fills in a form in vain."""

from __future__ import annotations

import gradio as gr

from app import snippets
from app.shell import LIGHT, Shell
from arc2face.errors import Arc2FaceError


def missing_notice(shell: Shell, *features: str) -> None:
    """A place at the top of a tab that names missing model files once the tab is opened."""
    place = gr.HTML("")

    def look() -> str:
        return snippets.notes([(line, True) for line in missing_lines(shell, *features)])

    shell.here.select(look, None, place, **LIGHT)


def missing_lines(shell: Shell, *features: str) -> list[str]:
    """One sentence per feature that lacks files; empty when all is there or the models are not open yet."""
    if not shell.backend.ready:
        return []
    engine = shell.backend.engine()
    lines: list[str] = []
    for feature in features:
        try:
            missing = engine.missing(feature)
        except Arc2FaceError as error:
            lines.append(str(error))
            continue
        if missing:
            files = ", ".join(missing[:3]) + (" and more" if len(missing) > 3 else "")
            lines.append(f"Not on this machine yet: {files}. Fetch with: arc2face download {feature}")
    return lines
