"""Endpoints of the Pose tab."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import gradio as gr
from PIL import Image

from app.api import common
from app.page.parts.pose import Posed, read_pose, square_map
from app.runs.errors import shows_errors
from app.runs.shell import FACES, GPU, GPU_WAITING, Shell, session_of
from arc2face.pictures.loading import load_rgb_u8
from arc2face.types import GenerationRequest, PoseCondition

if TYPE_CHECKING:
    from arc2face.engine import Engine


class PoseFields:
    """Components that say where the head looks, in the order of `posed`."""

    def __init__(self) -> None:
        self.inputs: list[Any] = [
            gr.File(label="Photo with the pose", type="filepath"),
            gr.Number(0, label="Which face of that photo, 0 is the largest"),
            gr.File(label="Normal map, instead of a photo", type="filepath"),
            gr.Number(0, label="Yaw in degrees, -75 to 75, used without photo and normal map"),
            gr.Number(0, label="Pitch in degrees, -40 to 40"),
            gr.Number(0, label="Roll in degrees, -30 to 30"),
        ]


def posed(
    engine: Engine,
    photos: list[str] | None,
    faces: list[int] | None,
    reference: str | None,
    reference_face: float,
    normal_map: str | None,
    angles: tuple[float, float, float],
) -> Posed:
    """The pose of API values: a normal map, else a photo, else angles. Raises Arc2FaceError."""
    if normal_map:
        return Posed(square_map(load_rgb_u8(normal_map), engine.native_size))
    if reference:
        person = ([(path, None) for path in photos or ()], common.picks_of(photos, faces))
        return read_pose(engine, person, load_rgb_u8(reference), common.whole("A face number", reference_face))
    return Posed(engine.normal_map(*angles))


def build(shell: Shell) -> None:
    """Add the endpoints to the page that is being built."""
    person, pose, settings = common.PersonFields(), PoseFields(), common.SettingFields()
    acting: list[Any] = [
        gr.Number(1, label="Strength, 0 to 2"),
        gr.Number(0, label="Start, as a share of the steps"),
        gr.Number(1, label="End, as a share of the steps"),
    ]

    def generate_pose(  # noqa: D417 - the request is Gradio's, not the caller's
        request: gr.Request,
        photos: list[str] | None,
        identity_file: str | None = None,
        faces: list[int] | None = None,
        reference: str | None = None,
        reference_face: float = 0,
        normal_map: str | None = None,
        yaw: float = 0,
        pitch: float = 0,
        roll: float = 0,
        strength: float = 1,
        start: float = 0,
        end: float = 1,
        num_images: float = 4,
        seed: float = 0,
        steps: float = 25,
        guidance_scale: float = 3.0,
        fast: bool = False,
        scheduler: str = "dpm++",
        keep_best: float = 0,
    ) -> Iterator[common.Answer]:
        """Make pictures of a person with the head turned as a photo, a normal map or angles say.

        Args:
            photos: one or more pictures of one person.
            identity_file: a saved identity (.npz or .npy), used instead of photos.
            faces: which face counts in each photo; 0 is the largest.
            reference: a photo that shows the pose.
            reference_face: which face of that photo counts.
            normal_map: a square normal map saved by this app, used instead of a photo.
            yaw: degrees to the picture's right, -75 to 75; used without photo and normal map.
            pitch: degrees downwards, -40 to 40.
            roll: degrees, -30 to 30; positive tilts the head's top to the picture's left.
            strength: 0 to 2; 1 is as trained.
            start: share of the steps from which the pose acts, 0 to 1.
            end: share of the steps until which the pose acts, 0 to 1.
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
            found = posed(engine, photos, faces, reference, reference_face, normal_map, (yaw, pitch, roll))
            condition = PoseCondition(found.normal_map, strength, start, end)
            return [GenerationRequest(identity=identity, pose=condition, **fields)]

        yield from common.stream(shell, request, "pose", prepare)

    gr.Button(visible=False).click(
        generate_pose,
        [*person.inputs, *pose.inputs, *acting, *settings.inputs],
        common.picture_outputs(),
        api_name="generate_pose",
        concurrency_id=GPU,
        concurrency_limit=GPU_WAITING,
        validator=lambda *values: common.checked(12, *values[12:]),
    )
    _normal_map(shell)


def _normal_map(shell: Shell) -> None:
    angles = [gr.Number(0, label=f"{name} in degrees") for name in ("Yaw", "Pitch", "Roll")]

    @shows_errors
    def normal_map(  # noqa: D417 - as above
        request: gr.Request, yaw: float = 0, pitch: float = 0, roll: float = 0
    ) -> str:
        """Draw the normal map of an average head at given angles.

        Args:
            yaw: degrees to the picture's right, -75 to 75.
            pitch: degrees downwards, -40 to 40.
            roll: degrees, -30 to 30.

        Returns:
            A PNG file that generate_pose accepts.
        """
        target = shell.files.new_run(session_of(request)) / "normal-map.png"
        Image.fromarray(shell.backend.engine().normal_map(yaw, pitch, roll)).save(target)
        return str(target)

    gr.Button(visible=False).click(
        normal_map,
        angles,
        gr.File(label="Normal map"),
        api_name="normal_map",
        concurrency_id=FACES,
        concurrency_limit=2,
    )
