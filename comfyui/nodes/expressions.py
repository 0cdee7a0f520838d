"""Which expression: from a photo, from a preset, from numbers; and two of them blended."""

from __future__ import annotations

import json
from typing import Any

import torch
from comfy_api.latest import io

from .common import CATEGORY, Engine, Expression, face_input, one_picture, pick

FACE = f"{CATEGORY}/expression"


def _strength() -> Any:
    return io.Float.Input("strength", default=1.0, min=0.0, max=2.0, step=0.05, tooltip="1 is as trained.")


def _amount() -> Any:
    return io.Float.Input(
        "amount", default=1.0, min=0.0, max=1.5, step=0.05, tooltip="0 neutral, 1 as found, above 1 exaggerated."
    )


def _found(models: Any, strength: float, **source: Any) -> Any:
    """An ExpressionCondition from a source; the library checks every number."""
    from arc2face import ExpressionCondition
    from arc2face.sources import ExpressionSource, find_expression

    return ExpressionCondition(find_expression(models, ExpressionSource(**source)), strength)


class ExpressionFromPhoto(io.ComfyNode):
    """The expression of a face in a photo."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Needs the expression reader."""
        return io.Schema(
            node_id="Arc2FaceExpressionFromPhoto",
            display_name="Expression from photo",
            category=FACE,
            inputs=[Engine.Input("models"), io.Image.Input("photo"), face_input(), _amount(), _strength()],
            outputs=[Expression.Output("expression"), io.String.Output("values", tooltip="JSON: the 55 numbers.")],
        )

    @classmethod
    def execute(cls, models: Any, photo: torch.Tensor, face: int, amount: float, strength: float) -> io.NodeOutput:
        """No face raises."""
        from arc2face.sources import Mixed

        picture = one_picture(photo, "The expression photo")
        found = _found(models, strength, photo=picture, face=pick(face), edits=Mixed(amount=amount))
        return io.NodeOutput(found, json.dumps([float(value) for value in found.expression.values]))


class ExpressionValues(io.ComfyNode):
    """An expression by numbers."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Eyelids and jaw as sliders, everything as JSON."""
        return io.Schema(
            node_id="Arc2FaceExpressionValues",
            display_name="Expression from values",
            category=FACE,
            inputs=[
                Engine.Input("models"),
                io.String.Input(
                    "values",
                    default="",
                    multiline=True,
                    tooltip='JSON: 55 numbers, or named parts such as {"jaw": {"open": 0.3}}. Empty is neutral.',
                ),
                io.Float.Input("left_eyelid", default=-1.0, min=-1.0, max=1.0, step=0.05, tooltip="-1 leaves it."),
                io.Float.Input("right_eyelid", default=-1.0, min=-1.0, max=1.0, step=0.05, tooltip="-1 leaves it."),
                io.Float.Input(
                    "jaw_open", default=-1.0, min=-1.0, max=0.9, step=0.05, tooltip="Radians; -1 leaves it."
                ),
                _strength(),
            ],
            outputs=[Expression.Output("expression")],
        )

    @classmethod
    def execute(
        cls, models: Any, values: str, left_eyelid: float, right_eyelid: float, jaw_open: float, strength: float
    ) -> io.NodeOutput:
        """Numbers outside their ranges raise."""
        from arc2face.sources import Mixed

        try:
            given = json.loads(values) if values.strip() else None
        except ValueError as error:
            raise ValueError(f"The values are no JSON: {error}") from error
        kept = {"left_eyelid": left_eyelid, "right_eyelid": right_eyelid, "jaw_open": jaw_open}
        edits = Mixed(**{name: None if value < 0 else value for name, value in kept.items()})
        return io.NodeOutput(_found(models, strength, values=given, edits=edits))


class ExpressionPreset(io.ComfyNode):
    """An expression by name."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Which names there are depends on the models; a wrong one lists them."""
        return io.Schema(
            node_id="Arc2FaceExpressionPreset",
            display_name="Expression preset",
            category=FACE,
            inputs=[
                Engine.Input("models"),
                io.String.Input("preset", default="smile", tooltip="A wrong name lists those that the models know."),
                _amount(),
                _strength(),
            ],
            outputs=[Expression.Output("expression")],
        )

    @classmethod
    def execute(cls, models: Any, preset: str, amount: float, strength: float) -> io.NodeOutput:
        """Raises with the list of names for an unknown one."""
        from arc2face.sources import Mixed

        return io.NodeOutput(_found(models, strength, preset=preset.strip(), edits=Mixed(amount=amount)))


class BlendExpressions(io.ComfyNode):
    """Something between two expressions."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """0 is the first, 1 the second."""
        return io.Schema(
            node_id="Arc2FaceBlendExpressions",
            display_name="Blend expressions",
            category=FACE,
            inputs=[
                Expression.Input("first"),
                Expression.Input("second"),
                io.Float.Input("share", default=0.5, min=0.0, max=1.0, step=0.05, tooltip="Share of the second."),
            ],
            outputs=[Expression.Output("expression")],
        )

    @classmethod
    def execute(cls, first: Any, second: Any, share: float) -> io.NodeOutput:
        """The strengths are blended like the numbers."""
        from arc2face import ExpressionCondition
        from arc2face.expression.values import blend

        strength = (1 - share) * first.strength + share * second.strength
        return io.NodeOutput(ExpressionCondition(blend(first.expression, second.expression, share), strength))
