"""Which pose: from a photo, from angles, from a normal map. Each also gives the normal map as a picture."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io

from .common import CATEGORY, Engine, Pose, face_input, one_picture, pick, to_images

HOW = f"{CATEGORY}/pose"


def _acting() -> list[Any]:
    return [
        io.Float.Input("strength", default=1.0, min=0.0, max=2.0, step=0.05, tooltip="1 is as trained."),
        io.Float.Input("start", default=0.0, min=0.0, max=1.0, step=0.05, tooltip="Share of the steps it begins at."),
        io.Float.Input("end", default=1.0, min=0.0, max=1.0, step=0.05, tooltip="Share of the steps it ends at."),
    ]


def _posed(models: Any, **source: Any) -> tuple[Any, torch.Tensor]:
    """The pose and its normal map as a picture."""
    from arc2face.sources import PoseSource, find_pose

    posed = find_pose(models, PoseSource(**source))
    assert posed is not None
    return posed, to_images([posed.condition.normal_map])


class PoseFromPhoto(io.ComfyNode):
    """The pose of a face in a photo."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Needs the head reader."""
        return io.Schema(
            node_id="Arc2FacePoseFromPhoto",
            display_name="Pose from photo",
            category=HOW,
            inputs=[Engine.Input("models"), io.Image.Input("photo"), face_input(), *_acting()],
            outputs=[
                Pose.Output("pose"),
                io.Image.Output("normal_map"),
                io.Float.Output("yaw", tooltip="Degrees, to the picture's right."),
                io.Float.Output("pitch", tooltip="Degrees, downwards."),
                io.Float.Output("roll", tooltip="Degrees, the top of the head to the picture's left."),
            ],
        )

    @classmethod
    def execute(
        cls, models: Any, photo: torch.Tensor, face: int, strength: float, start: float, end: float
    ) -> io.NodeOutput:
        """No face raises."""
        picture = one_picture(photo, "The pose photo")
        posed, drawn = _posed(models, photo=picture, face=pick(face), strength=strength, start=start, end=end)
        angles = posed.condition.angles or (0.0, 0.0, 0.0)
        return io.NodeOutput(posed.condition, drawn, *(float(angle) for angle in angles))


class PoseFromAngles(io.ComfyNode):
    """A head turned by angles."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Needs the head model."""
        return io.Schema(
            node_id="Arc2FacePoseFromAngles",
            display_name="Pose from angles",
            category=HOW,
            inputs=[
                Engine.Input("models"),
                io.Float.Input("yaw", default=0.0, min=-75.0, max=75.0, step=1.0, tooltip="To the picture's right."),
                io.Float.Input("pitch", default=0.0, min=-40.0, max=40.0, step=1.0, tooltip="Downwards."),
                io.Float.Input("roll", default=0.0, min=-30.0, max=30.0, step=1.0, tooltip="Tilt of the head."),
                *_acting(),
            ],
            outputs=[Pose.Output("pose"), io.Image.Output("normal_map")],
        )

    @classmethod
    def execute(
        cls, models: Any, yaw: float, pitch: float, roll: float, strength: float, start: float, end: float
    ) -> io.NodeOutput:
        """Drawn by the head model."""
        angles = {"yaw": yaw, "pitch": pitch, "roll": roll}
        posed, drawn = _posed(models, **angles, strength=strength, start=start, end=end)
        return io.NodeOutput(posed.condition, drawn)


class PoseFromMap(io.ComfyNode):
    """A normal map that was made before."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """A square picture."""
        return io.Schema(
            node_id="Arc2FacePoseFromMap",
            display_name="Pose from normal map",
            category=HOW,
            inputs=[Engine.Input("models"), io.Image.Input("normal_map"), *_acting()],
            outputs=[Pose.Output("pose")],
        )

    @classmethod
    def execute(cls, models: Any, normal_map: torch.Tensor, strength: float, start: float, end: float) -> io.NodeOutput:
        """Refused when it is plainly no normal map."""
        picture = one_picture(normal_map, "A normal map")
        posed, _ = _posed(models, normal_map=picture, strength=strength, start=start, end=end)
        return io.NodeOutput(posed.condition)
