"""Who the pictures should not look like: a photo or a saved identity, and how firmly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gradio as gr

from arc2face.settings import DEFAULT_NEGATIVE_STRENGTH, FULL, NEGATIVE_STRENGTH_RANGE
from arc2face.sources.negative import IDENTITY_SUFFIXES
from arc2face_app.page.parts.keyed import Component, Values
from arc2face_app.runs.given import taken_as_it_lies
from arc2face_app.runs.negative import handed_over
from arc2face_app.runs.shell import Shell

if TYPE_CHECKING:
    from arc2face.engine import Engine
    from arc2face.types import NegativeIdentity

FAST_GUIDANCE = 1.5
"""What guidance rises to in fast mode, where it is off otherwise; more than 2 burns the pictures out."""


class NotLike:
    """A file and a strength, in the folded settings of every tab."""

    def __init__(self) -> None:
        self.file = taken_as_it_lies(
            gr.File(
                label="Not like this person",
                file_types=["image", *IDENTITY_SUFFIXES],
                height=96,
                elem_classes=["not-like"],
            )
        )
        self.strength = gr.Slider(
            *NEGATIVE_STRENGTH_RANGE,
            value=DEFAULT_NEGATIVE_STRENGTH,
            step=0.05,
            label="How firmly",
            info="Guidance leads away from the face in that photo or saved identity.",
            buttons=[],
        )

    def hide(self) -> None:
        """Leave it out of this tab."""
        self.file.visible = self.strength.visible = False

    @property
    def inputs(self) -> set[Component]:
        """Both."""
        return {self.file, self.strength}

    def guided(self, fields: dict[str, Any], values: Values) -> dict[str, Any]:
        """The settings with guidance switched on where somebody is to be avoided."""
        guidance = fields["guidance_scale"]
        if values[self.file] is None or (guidance is not None and guidance > 1.0):
            return fields
        return {**fields, "guidance_scale": FAST_GUIDANCE if fields["fast"] else FULL.guidance_scale}

    def find(self, shell: Shell, session: str, engine: Engine, values: Values) -> NegativeIdentity | None:
        """The person to be avoided, None for nobody. Raises InputError or SettingsError."""
        return handed_over(shell, session, engine, values[self.file], values[self.strength])
