"""Arc2Face Studio as a Cog runner: one run is one request, with any of pose, expression and the photo's look.

The server does not enforce the bounds below (they are for Replicate's form), so the library's own checks decide; what
they say becomes the error of the prediction.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import tempfile
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any

from cog import BaseModel, BaseRunner, Input, Path

if TYPE_CHECKING:
    from arc2face.engine import Engine
    from arc2face.sources import Person
    from arc2face.types import GenerationRequest, GenerationResult

FEATURES = ("identity", "fast", "pose", "expression", "reference")
NONE = "none"


class Output(BaseModel):
    """What a run gives. `scores`: a JSON file: seed and similarity of every picture, warnings, and the recipe."""

    pictures: list[Path]
    scores: Path


def models_folder() -> str | None:
    """The folder named by ARC2FACE_MODELS, filled first where ARC2FACE_FETCH says so; None finds the best one.

    Raises Arc2FaceError when the weights cannot be fetched: a run with other models than promised is worse than none.
    """
    folder, wanted = os.environ.get("ARC2FACE_MODELS"), os.environ.get("ARC2FACE_FETCH", "")
    if wanted:
        from arc2face.weights.download.command import DownloadRequest, run

        features = FEATURES if wanted == "all" else tuple(wanted.split())
        run(DownloadRequest(features, FilePath(folder or "models"), yes=True), sys.stdout)
        folder = folder or "models"
    return folder


class Runner(BaseRunner):
    """Keeps one engine; every run is a request of its own."""

    def setup(self) -> None:
        """Weights into memory, once."""
        from scripts.checkout import add_to_path

        add_to_path()
        from arc2face import Engine

        self.engine = Engine.open(models_folder(), device=os.environ.get("ARC2FACE_DEVICE", "auto"), preload=True)

    def run(
        self,
        photo: Path = Input(description="A photo of one person."),
        more_photos: list[Path] = Input(
            description="More photos of the same person, for a steadier identity.", default=[]
        ),
        num_images: int = Input(description="How many pictures.", default=4, ge=1, le=8),
        seed: int = Input(description="Picture k uses seed + k; empty draws one.", default=None),
        fast: bool = Input(description="Four steps (LCM) instead of 25.", default=False),
        steps: int = Input(description="Denoising steps; empty takes the usual number.", default=None, ge=1, le=100),
        guidance_scale: float = Input(description="Empty takes the usual value.", default=None, ge=1, le=10),
        scheduler: str = Input(
            description="Unused in fast mode.",
            default="dpm++",
            choices=["dpm++", "dpm++-karras", "unipc", "euler", "ddim"],
        ),
        keep_best: int = Input(
            description="Keep only the k most similar pictures; 0 keeps all.", default=0, ge=0, le=8
        ),
        pose_photo: Path = Input(description="Take the head pose of this photo.", default=None),
        yaw: float = Input(
            description="Or turn the head: degrees to the picture's right.", default=None, ge=-75, le=75
        ),
        pitch: float = Input(description="Degrees downwards.", default=None, ge=-40, le=40),
        roll: float = Input(description="Degrees of tilt.", default=None, ge=-30, le=30),
        pose_strength: float = Input(description="1 is as trained.", default=1.0, ge=0, le=2),
        expression_photo: Path = Input(description="Take the expression of this photo.", default=None),
        expression_preset: str = Input(description="Or a named one, for example smile.", default=""),
        expression_amount: float = Input(description="0 neutral, 1 as found, above 1 more.", default=1.0, ge=0, le=1.5),
        keep_look: float = Input(
            description="0 makes a new picture; 0.8 keeps the photo's look and background.", default=0.0, ge=0, le=1
        ),
        paste_back: str = Input(
            description="Blend each picture into the whole photo; needs keep_look.",
            default=NONE,
            choices=[NONE, "face", "head"],
        ),
        not_like: Path = Input(description="A photo of somebody the pictures should not look like.", default=None),
    ) -> Output:
        """One request; the library's error is the prediction's."""
        values = {name: value for name, value in locals().items() if name != "self"}
        person, request = prepare(self.engine, values)
        result = self.engine.generate(request)
        self.record_metric("pictures", len(result.images))
        return write(self.engine, person, result, None if paste_back == NONE else paste_back)


def prepare(engine: Engine, values: dict[str, Any]) -> tuple[Person, GenerationRequest]:
    """The request that the inputs describe. Numbers are checked before any photo is read. Raises Arc2FaceError."""
    from arc2face import ExpressionCondition, GenerationRequest
    from arc2face.sources import (
        ExpressionSource,
        LookSource,
        Mixed,
        PoseSource,
        check_settings,
        find_expression,
        find_look,
        find_negative,
        find_person,
        find_pose,
    )

    names = ("num_images", "fast", "steps", "guidance_scale", "scheduler", "keep_best")
    seed = secrets.randbelow(2**31) if values["seed"] is None else values["seed"]
    settings = check_settings(seed=seed, **{name: values[name] for name in names})
    paste = None if values["paste_back"] == NONE else values["paste_back"]
    look = LookSource(keep=values["keep_look"] > 0, strength=values["keep_look"], paste=paste).check()
    angles = {name: values[name] for name in ("yaw", "pitch", "roll")}
    pose = PoseSource(photo=_text(values["pose_photo"]), strength=values["pose_strength"], **angles)
    face = ExpressionSource(
        photo=_text(values["expression_photo"]),
        preset=values["expression_preset"].strip() or None,
        edits=Mixed(amount=values["expression_amount"]),
    )
    wanted = pose.given, face.photo is not None or face.preset is not None
    person = find_person(engine, [str(one) for one in (values["photo"], *values["more_photos"])])
    posed = find_pose(engine, pose, person) if wanted[0] else None
    condition = ExpressionCondition(find_expression(engine, face)) if wanted[1] else None
    return person, GenerationRequest(
        identity=person.identity,
        pose=None if posed is None else posed.condition,
        expression=condition,
        reference=find_look(engine, look, person),
        negative=find_negative(engine, _text(values["not_like"])),
        **settings,
    )


def write(engine: Engine, person: Person, result: GenerationResult, paste: str | None) -> Output:
    """The pictures as PNG with their recipes, pasted ones after them, and the scores."""
    from dataclasses import replace

    from arc2face import save_png
    from arc2face.sources import paste_all

    folder = FilePath(tempfile.mkdtemp(prefix="arc2face-"))
    paths = [save_png(one, result, folder / f"{one.seed}.png") for one in result.images]
    if paste is not None:
        whole = paste_all(engine, person, [one.rgb_u8 for one in result.images], paste)
        for one, pasted in zip(result.images, whole, strict=True):
            paths.append(save_png(replace(one, rgb_u8=pasted), result, folder / f"{one.seed}-photo.png"))
    scores = folder / "scores.json"
    rows = [{"seed": one.seed, "similarity": one.similarity, "face_found": one.face_found} for one in result.images]
    facts = {"pictures": rows, "warnings": list(person.warnings), "recipe": dict(result.recipe)}
    scores.write_text(json.dumps(facts, indent=1), encoding="utf-8")
    return Output(pictures=[Path(path) for path in paths], scores=Path(scores))


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
