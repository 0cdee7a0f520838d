"""Parts of a second photo's expression instead of a blend: its eyes, its brows, its mouth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import gradio as gr

from arc2face.errors import InputError
from arc2face.expression.shapes import REGIONS
from arc2face.sources import mix_expressions
from arc2face_app.page import markup

if TYPE_CHECKING:
    from arc2face.engine import Engine
    from arc2face.expression.regions import Mixture
    from arc2face.types import Expression

NONE = "Choose which parts to take: brows, eyes or mouth."
GAZE = "Where the eyes look cannot be taken over: it is not among an expression's 55 numbers."


class RegionMixer:
    """A choice of parts, a button, and a sentence on how well they could be taken over."""

    def __init__(self) -> None:
        choices = [(text[:1].upper() + text[1:], region) for region, text in REGIONS.items()]
        self.parts = gr.CheckboxGroup(choices, label="Or take parts of the second photo alone")
        self.take = gr.Button("Take these parts", size="sm")
        self.said = gr.HTML(markup.hint(GAZE))

    def mixed(self, engine: Engine, base: Expression, other: Expression, parts: list[str]) -> Mixture:
        """`base` with the chosen parts of `other`. Raises InputError, WeightsError."""
        if not parts:
            raise InputError(NONE)
        return mix_expressions(engine, base, dict.fromkeys(parts, other))

    @staticmethod
    def words(mixture: Mixture) -> str:
        """How well it went, for people."""
        if mixture.exact:
            return markup.hint("Taken over number by number.")
        met = ", ".join(f"{region} {max(share, 0.0):.0%}" for region, share in mixture.fit.items())
        return markup.hint(f"Fitted on the head's surface; of the motion that was wanted is met: {met}.")
