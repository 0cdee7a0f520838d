"""Who: from photos, from a file, somebody new; and whom the pictures should not look like."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from comfy_api.latest import io

from .common import CATEGORY, Engine, Identity, Negative, face_input, pick, score, to_pictures

WHO = f"{CATEGORY}/who"


class IdentityFromPhotos(io.ComfyNode):
    """One person from one photo or several."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """A batch of photos of the same person."""
        return io.Schema(
            node_id="Arc2FaceIdentityFromPhotos",
            display_name="Identity from photos",
            category=WHO,
            description="Reads who is in a photo. Several photos (a batch) of one person give a steadier identity.",
            inputs=[
                Engine.Input("models"),
                io.Image.Input("photos"),
                io.Combo.Input("method", options=["mean", "median"], tooltip="How several photos are combined."),
                io.Boolean.Input("drop_outliers", default=False, tooltip="Leave out photos of somebody else."),
                face_input(),
            ],
            outputs=[
                Identity.Output("identity"),
                io.String.Output("report", tooltip="JSON: how well each photo agrees with the others, and warnings."),
            ],
        )

    @classmethod
    def execute(cls, models: Any, photos: torch.Tensor, method: str, drop_outliers: bool, face: int) -> io.NodeOutput:
        """No face raises; nothing is made up."""
        from arc2face.sources import find_person

        pictures = to_pictures(photos)
        person = find_person(
            models, pictures, picks=[pick(face)] * len(pictures), method=method, drop_outliers=drop_outliers
        )
        return io.NodeOutput(person.identity, json.dumps(person.facts))


class LoadIdentity(io.ComfyNode):
    """A saved identity."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """The path of a file."""
        return io.Schema(
            node_id="Arc2FaceLoadIdentity",
            display_name="Load identity",
            category=WHO,
            inputs=[Engine.Input("models"), io.String.Input("file", default="", tooltip=".npz or .npy")],
            outputs=[Identity.Output("identity"), io.String.Output("warnings")],
        )

    @classmethod
    def execute(cls, models: Any, file: str) -> io.NodeOutput:
        """Warnings say where the file looks foreign."""
        from arc2face.sources import find_person

        person = find_person(models, identity_file=Path(file.strip()).expanduser())
        return io.NodeOutput(person.identity, " ".join(person.warnings))


class SaveIdentity(io.ComfyNode):
    """Keeps an identity as a small file."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """It goes into ComfyUI's output folder."""
        return io.Schema(
            node_id="Arc2FaceSaveIdentity",
            display_name="Save identity",
            category=WHO,
            description="Saves an identity (.npz, numbers only, no picture; biometric data) into the output folder.",
            inputs=[Identity.Input("identity"), io.String.Input("name", default="person")],
            outputs=[io.String.Output("file")],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, identity: Any, name: str) -> io.NodeOutput:
        """The name may not lead out of the output folder."""
        import folder_paths

        from arc2face import save_identity

        folder = Path(folder_paths.get_output_directory()).resolve()
        target = (folder / f"{name.strip() or 'person'}.npz").resolve()
        if folder not in target.parents:
            raise ValueError("The name of an identity stays inside the output folder; leave out '..'.")
        target.parent.mkdir(parents=True, exist_ok=True)
        save_identity(target, identity)
        return io.NodeOutput(str(target))


class NewIdentity(io.ComfyNode):
    """Somebody who does not exist."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """From the people given, by a seed."""
        return io.Schema(
            node_id="Arc2FaceNewIdentity",
            display_name="New identity",
            category=WHO,
            description="Somebody new between the people in the photos: a mixture of their identities, by a seed.",
            inputs=[
                Engine.Input("models"),
                io.Image.Input("photos", tooltip="Photos of two or more different people, one face each."),
                io.Int.Input("seed", default=0, min=0, max=2**32 - 1, control_after_generate=True),
            ],
            outputs=[
                Identity.Output("identity"),
                io.Float.Output("nearest", tooltip="Cosine to the most similar one."),
            ],
        )

    @classmethod
    def execute(cls, models: Any, photos: torch.Tensor, seed: int) -> io.NodeOutput:
        """Random shares of everybody; the length stays that of a real embedding."""
        import numpy as np

        from arc2face import IdentityEmbedding

        people = [models.identify([one]).identity for one in to_pictures(photos)]
        if len(people) < 2:
            raise ValueError("Somebody new is mixed from at least two people; give a batch of photos.")
        shares = np.random.default_rng(seed).dirichlet(np.full(len(people), 0.7)).astype(np.float32)
        mixed = sum(share * person.normalized for share, person in zip(shares, people, strict=True))
        length = float(np.mean([person.norm for person in people]))
        new = IdentityEmbedding(length * mixed / np.linalg.norm(mixed), people[0].recogniser_sha256)
        return io.NodeOutput(new, score(max(new.cosine(person) for person in people)))


class NotLike(io.ComfyNode):
    """Whom the pictures should not look like."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """An identity and a strength."""
        return io.Schema(
            node_id="Arc2FaceNotLike",
            display_name="Not like this person",
            category=WHO,
            description="Guidance leads away from this person. It needs a guidance scale above 1.",
            inputs=[
                Identity.Input("identity"),
                io.Float.Input("strength", default=0.5, min=0.0, max=1.0, step=0.05),
            ],
            outputs=[Negative.Output("not_like")],
        )

    @classmethod
    def execute(cls, identity: Any, strength: float) -> io.NodeOutput:
        """Checked by the library."""
        from arc2face import NegativeIdentity

        return io.NodeOutput(NegativeIdentity(identity, strength))
