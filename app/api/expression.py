"""Endpoints of the Expression tab."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import gradio as gr

from app.api import common
from app.api.pose import PoseFields, posed
from app.page.parts.look import KEEP, NEW, LookControls
from app.runs.errors import shows_errors
from app.runs.shell import FACES, GPU, GPU_WAITING, Shell
from arc2face.errors import InputError
from arc2face.expression.values import amplify, from_dict, to_dict
from arc2face.pictures.loading import load_rgb_u8
from arc2face.types import Expression, ExpressionCondition, GenerationRequest, PoseCondition

if TYPE_CHECKING:
    from arc2face.engine import Engine


def expression_from(engine: Engine, photo: str | None, face: float, values: Any, amount: float) -> Expression:
    """The expression of API values: numbers, else a photo. Raises Arc2FaceError with the range that was left."""
    if values is not None:
        return amplify(from_dict(values), amount)
    if not photo:
        raise InputError("Give an expression photo, or the numbers of an expression.")
    return amplify(engine.read_expression(load_rgb_u8(photo), common.whole("A face number", face)), amount)


def build(shell: Shell) -> None:
    """Add the endpoints to the page that is being built."""
    _generate_expression(shell)
    _read_expression(shell)


def _generate_expression(shell: Shell) -> None:
    person, pose, settings = common.PersonFields(), PoseFields(), common.SettingFields()
    wanted: list[Any] = [
        gr.File(label="Photo with the expression", type="filepath"),
        gr.Number(0, label="Which face of that photo, 0 is the largest"),
        gr.JSON(None, label="Expression numbers, instead of a photo: as read_expression returns them, or a list of 55"),
        gr.Number(1, label="Amount, 0 to 1.5"),
        gr.Number(1, label="Strength, 0 to 2"),
        gr.Number(0, label="Keep the photo's look, 0 to 1; 0 makes a new picture"),
        gr.Checkbox(False, label="Also turn the head, by the pose fields"),
    ]

    def generate_expression(  # noqa: D417 - the request is Gradio's, not the caller's
        request: gr.Request,
        photos: list[str] | None,
        identity_file: str | None = None,
        faces: list[int] | None = None,
        expression_photo: str | None = None,
        expression_face: float = 0,
        expression: Any = None,
        amount: float = 1,
        strength: float = 1,
        keep_look: float = 0,
        turn_head: bool = False,
        reference: str | None = None,
        reference_face: float = 0,
        normal_map: str | None = None,
        yaw: float = 0,
        pitch: float = 0,
        roll: float = 0,
        num_images: float = 4,
        seed: float = 0,
        steps: float = 25,
        guidance_scale: float = 3.0,
        fast: bool = False,
        scheduler: str = "dpm++",
        keep_best: float = 0,
    ) -> Iterator[common.Answer]:
        """Make pictures of a person with another expression.

        Args:
            photos: one or more pictures of one person; the first one gives the look when it is kept.
            identity_file: a saved identity (.npz or .npy), used instead of photos.
            faces: which face counts in each photo; 0 is the largest.
            expression_photo: a photo that shows the expression.
            expression_face: which face of that photo counts.
            expression: numbers instead of a photo, as read_expression returns them, or a list of 55.
            amount: 0 neutral, 1 as found, up to 1.5 exaggerated.
            strength: how firmly the pictures follow the expression, 0 to 2; 1 is as trained.
            keep_look: 0 makes a new picture; 0.8 keeps the photo's look and background, 1 nearly copies it.
            turn_head: also turn the head, as reference, normal_map or yaw, pitch and roll say.
            reference: a photo that shows the pose.
            reference_face: which face of that photo counts.
            normal_map: a square normal map saved by this app.
            yaw: degrees to the picture's right, -75 to 75.
            pitch: degrees downwards, -40 to 40.
            roll: degrees, -30 to 30.
            num_images: how many pictures, 1 to 8.
            seed: picture k uses seed + k.
            steps: denoising steps, 1 to 100; in fast mode 1 to 8.
            guidance_scale: 1 to 10.
            fast: few-step sampling.
            scheduler: dpm++, dpm++-karras, unipc, euler or ddim.
            keep_best: keep only the k most similar pictures; 0 keeps all.

        Returns:
            The pictures as PNG files, and a JSON object with seeds, similarity scores and the recipe.
        """

        def prepare(engine: Engine) -> list[GenerationRequest]:
            identity = common.resolve(engine, photos, identity_file, faces).identity
            fields = common.settings_of(num_images, seed, steps, guidance_scale, fast, scheduler, keep_best)
            target = expression_from(engine, expression_photo, expression_face, expression, amount)
            whom = ([(path, None) for path in photos or ()], common.picks_of(photos, faces))
            look = LookControls.condition(engine, whom, (KEEP if keep_look else NEW, keep_look))
            pose = None
            if turn_head:
                turned = posed(engine, photos, faces, reference, reference_face, normal_map, (yaw, pitch, roll))
                pose = PoseCondition(turned.normal_map)
            condition = ExpressionCondition(target, strength)
            return [GenerationRequest(identity=identity, expression=condition, reference=look, pose=pose, **fields)]

        yield from common.stream(shell, request, "expression", prepare)

    gr.Button(visible=False).click(
        generate_expression,
        [*person.inputs, *wanted, *pose.inputs, *settings.inputs],
        common.picture_outputs(),
        api_name="generate_expression",
        concurrency_id=GPU,
        concurrency_limit=GPU_WAITING,
        validator=lambda *values: common.checked(16, *values[16:]),
    )


def _read_expression(shell: Shell) -> None:
    photo = gr.File(label="Photo", type="filepath")
    face = gr.Number(0, label="Which face, 0 is the largest")

    @shows_errors
    def read_expression(photo: str, face: float = 0) -> dict[str, Any]:
        """Read the expression of a face as numbers.

        Args:
            photo: a picture with a face.
            face: which face counts; 0 is the largest.

        Returns:
            50 components, two eyelids and three jaw rotations, with their units.
        """
        if not photo:
            raise InputError("Give a photo with a face.")
        engine = shell.backend.engine()
        return to_dict(engine.read_expression(load_rgb_u8(photo), common.whole("A face number", face)))

    gr.Button(visible=False).click(
        read_expression,
        [photo, face],
        gr.JSON(label="Expression"),
        api_name="read_expression",
        concurrency_id=FACES,
        concurrency_limit=2,
    )
