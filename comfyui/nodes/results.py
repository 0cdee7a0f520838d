"""What is done with photos and pictures: keep a look, score, keep the best, paste back."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import torch
from comfy_api.latest import io

from .common import CATEGORY, Engine, Identity, Reference, face_input, one_picture, pick, score, to_images, to_pictures

AFTER = f"{CATEGORY}/pictures"


class Look(io.ComfyNode):
    """The look and background of a photo, to be kept."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Needs the reference adapter when pictures are made."""
        return io.Schema(
            node_id="Arc2FaceLook",
            display_name="Keep the look of a photo",
            category=AFTER,
            inputs=[
                Engine.Input("models"),
                io.Image.Input("photo"),
                face_input(),
                io.Float.Input("strength", default=0.8, min=0.0, max=1.0, step=0.05, tooltip="1 nearly copies it."),
            ],
            outputs=[Reference.Output("look"), io.Image.Output("aligned")],
        )

    @classmethod
    def execute(cls, models: Any, photo: torch.Tensor, face: int, strength: float) -> io.NodeOutput:
        """No face raises."""
        from arc2face import ReferenceCondition

        aligned = models.align(one_picture(photo, "The photo"), pick(face))
        return io.NodeOutput(ReferenceCondition(aligned, strength), to_images([aligned]))


def scores(models: Any, identity: Any, pictures: list[Any]) -> list[float | None]:
    """Cosine of each picture's face to the person, None where no face is found."""
    from arc2face.errors import NoFaceError

    found: list[float | None] = []
    for picture in pictures:
        try:
            found.append(models.identify([picture]).identity.cosine(identity))
        except NoFaceError:
            found.append(None)
    return found


class Score(io.ComfyNode):
    """How similar pictures are to a person."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Any pictures, also of other nodes."""
        return io.Schema(
            node_id="Arc2FaceScore",
            display_name="Score pictures",
            category=AFTER,
            description="Cosine between each picture's face and the person: about 0 for strangers, 1 for equals.",
            inputs=[Engine.Input("models"), Identity.Input("identity"), io.Image.Input("pictures")],
            outputs=[
                io.Float.Output("best", tooltip="NaN when no face was found in any."),
                io.String.Output("scores", tooltip="JSON: one number per picture, null without a face."),
            ],
        )

    @classmethod
    def execute(cls, models: Any, identity: Any, pictures: torch.Tensor) -> io.NodeOutput:
        """A picture without a face is counted as such."""
        found = scores(models, identity, to_pictures(pictures))
        return io.NodeOutput(max((one for one in found if one is not None), default=math.nan), json.dumps(found))


class KeepBest(io.ComfyNode):
    """The most similar pictures of a batch."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The best first."""
        return io.Schema(
            node_id="Arc2FaceKeepBest",
            display_name="Keep the best pictures",
            category=AFTER,
            inputs=[
                Engine.Input("models"),
                Identity.Input("identity"),
                io.Image.Input("pictures"),
                io.Int.Input("count", default=1, min=1, max=64),
                io.Float.Input("least", default=-1.0, min=-1.0, max=1.0, step=0.05, tooltip="Refuse what is below."),
            ],
            outputs=[io.Image.Output("best"), io.Float.Output("similarity")],
        )

    @classmethod
    def execute(cls, models: Any, identity: Any, pictures: torch.Tensor, count: int, least: float) -> io.NodeOutput:
        """Nothing good enough raises, so that a workflow does not go on with the wrong face."""
        found = scores(models, identity, to_pictures(pictures))
        ranked = sorted((place for place, one in enumerate(found) if one is not None), key=lambda k: -score(found[k]))
        kept = [place for place in ranked if score(found[place]) >= least][:count]
        if not kept:
            shown = ", ".join("no face" if one is None else f"{one:.2f}" for one in found)
            raise ValueError(f"No picture reaches {least:g} ({shown}). Make more, or allow less.")
        return io.NodeOutput(pictures[kept], score(found[kept[0]]))


class PasteBack(io.ComfyNode):
    """Pictures made with a photo's look, blended back into the whole photo."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The same photo and face as for the look."""
        return io.Schema(
            node_id="Arc2FacePasteBack",
            display_name="Paste back into the photo",
            category=AFTER,
            inputs=[
                Engine.Input("models"),
                io.Image.Input("photo"),
                io.Image.Input("pictures"),
                face_input(),
                io.Combo.Input("mask", options=["face", "head"]),
            ],
            outputs=[
                io.Image.Output("photos"),
                io.Mask.Output("changed", tooltip="1 where the photo was changed."),
            ],
        )

    @classmethod
    def execute(cls, models: Any, photo: torch.Tensor, pictures: torch.Tensor, face: int, mask: str) -> io.NodeOutput:
        """Pixels outside the mask stay as they are."""
        from arc2face.sources import find_person, paste_all

        whole = one_picture(photo, "The photo")
        person = find_person(models, [whole], picks=[pick(face)])
        pasted = paste_all(models, person, to_pictures(pictures), mask)
        changed = [(one != whole).any(axis=-1).astype(np.float32) for one in pasted]
        return io.NodeOutput(to_images(pasted), torch.from_numpy(np.stack(changed)))
