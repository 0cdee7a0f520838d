"""Named endpoints for HTTP clients and MCP. They mirror the library: same names, same bounds, same messages.

Each endpoint has invisible components as its signature, since those carry types and upload handling for both kinds
of client. Progress arrives as intermediate values of the last output.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np

from app.page.parts.person import Identified, resolve_identity
from app.runs import runner
from app.runs.errors import as_gradio_error, shows_errors
from app.runs.pictures import save_pictures
from app.runs.shell import FACES, GPU, GPU_WAITING, Shell, session_of
from app.runs.words import progress_words
from arc2face.errors import Arc2FaceError, SettingsError
from arc2face.types import EMBEDDING_SIZE, GenerationRequest, GenerationResult, IdentityEmbedding, Progress

if TYPE_CHECKING:
    from arc2face.engine import Engine

Answer = tuple[Any, dict[str, Any]]
ANYONE = IdentityEmbedding(np.ones(EMBEDDING_SIZE, np.float32))
"""Stands in for the person while only the settings of a request are checked."""


def build(shell: Shell) -> None:
    """Add the endpoints to the page that is being built."""
    _generate_identity(shell)
    _identify(shell)
    _housekeeping(shell)


DEFAULTS = (4, 0, 25, 3.0, False, "dpm++", 0)
"""Number of pictures, seed, steps, guidance scale, fast mode, scheduler, keep best."""


class PersonFields:
    """Components that say who, in the order of `resolve`."""

    def __init__(self) -> None:
        self.photos = gr.File(label="Photos of one person", file_count="multiple", type="filepath")
        self.identity_file = gr.File(label="Saved identity (.npz or .npy), instead of photos", type="filepath")
        self.faces = gr.JSON(None, label="Which face counts in each photo, 0 is the largest, e.g. [0, 1]")

    @property
    def inputs(self) -> list[Any]:
        """The components."""
        return [self.photos, self.identity_file, self.faces]


class SettingFields:
    """Components for the settings of a generation, in the order of `settings_of`."""

    def __init__(self) -> None:
        self.inputs: list[Any] = [
            gr.Number(4, label="Number of pictures, 1 to 8"),
            gr.Number(0, label="Seed; picture k uses seed + k"),
            gr.Number(25, label="Denoising steps, 1 to 100; 1 to 8 in fast mode"),
            gr.Number(3.0, label="Guidance scale, 1 to 10; 1 switches guidance off"),
            gr.Checkbox(False, label="Fast mode (LCM)"),
            gr.Textbox("dpm++", label="Scheduler: dpm++, dpm++-karras, unipc, euler or ddim"),
            gr.Number(0, label="Keep only the k most similar pictures, 0 keeps all"),
        ]


def settings_of(
    num_images: float, seed: float, steps: float, guidance_scale: float, fast: bool, scheduler: str, keep_best: float
) -> dict[str, Any]:
    """Request fields from API values.

    Raises:
        SettingsError: a number that must be whole is not.
    """
    return {
        "num_images": whole("The number of pictures", num_images),
        "seed": whole("The seed", seed),
        "steps": whole("The number of steps", steps),
        "guidance_scale": guidance_scale,
        "fast": bool(fast),
        "scheduler": scheduler,
        "keep_best": whole("keep_best", keep_best),
    }


def whole(name: str, value: Any) -> int:
    """`value` as an int if it is a whole number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value or value % 1:
        raise SettingsError(f"{name} must be a whole number, not {value}.")
    return int(value)


def checked(count: int, *settings: Any) -> list[dict[str, Any]]:
    """Verdicts for a validator: the first `count` inputs pass, the settings are checked by the library.

    The settings are taken up one by one, so that the message stands at the one that does not fit.
    """
    verdicts = [gr.validate(True, "") for _ in range(count + len(settings))]
    for number in range(1, len(settings) + 1):
        try:
            GenerationRequest(identity=ANYONE, **settings_of(*settings[:number], *DEFAULTS[number:]))
        except Arc2FaceError as error:
            verdicts[count + number - 1] = gr.validate(False, str(error))
            break
    return verdicts


def stream(shell: Shell, request: gr.Request, prefix: str, prepare: runner.Prepare) -> Iterator[Answer]:
    """One run as (files, JSON) pairs: progress first, the pictures last."""
    session = session_of(request)
    try:
        for event in runner.follow(shell, session, prepare):
            if isinstance(event, Progress):
                yield None, progress_json(event)
            else:
                pictures = save_pictures(shell, session, event, prefix)
                yield [picture.path for picture in pictures], result_json(event[0])
    except Exception as error:
        raise as_gradio_error(error) from None


def progress_json(event: Progress) -> dict[str, Any]:
    """A progress event without its preview."""
    return {
        "stage": event.stage,
        "step": event.step,
        "total": event.total,
        "queue_position": event.queue_position,
        "seconds_left": event.seconds_left,
        "message": progress_words(event),
    }


def result_json(result: GenerationResult) -> dict[str, Any]:
    """What is known about the pictures besides their pixels."""
    pictures = [
        {"seed": image.seed, "similarity": image.similarity, "face_found": image.face_found} for image in result.images
    ]
    return {"stage": "done", "pictures": pictures, "recipe": dict(result.recipe), "seconds": dict(result.seconds)}


def picture_outputs() -> list[Any]:
    """Components for what `stream` yields."""
    files = gr.File(label="Pictures (PNG with recipe)", file_count="multiple")
    return [files, gr.JSON(label="Progress, then the result")]


def _generate_identity(shell: Shell) -> None:
    person, settings = PersonFields(), SettingFields()

    def generate_identity(  # noqa: D417 - the request is Gradio's, not the caller's
        request: gr.Request,
        photos: list[str] | None,
        identity_file: str | None = None,
        faces: list[int] | None = None,
        num_images: float = 4,
        seed: float = 0,
        steps: float = 25,
        guidance_scale: float = 3.0,
        fast: bool = False,
        scheduler: str = "dpm++",
        keep_best: float = 0,
    ) -> Iterator[Answer]:
        """Make new pictures of the person in the photos.

        Args:
            photos: one or more pictures of one person.
            identity_file: a saved identity (.npz, or a .npy of 512 numbers), used instead of photos.
            faces: which face counts in each photo; 0 is the largest.
            num_images: how many pictures, 1 to 8.
            seed: picture k uses seed + k; the same request gives the same pictures.
            steps: denoising steps, 1 to 100; in fast mode 1 to 8.
            guidance_scale: 1 to 10; 1 switches guidance off, as fast mode wants it.
            fast: few-step sampling with the LCM adapter.
            scheduler: dpm++, dpm++-karras, unipc, euler or ddim; ignored in fast mode.
            keep_best: keep only the k pictures most similar to the person; 0 keeps all.

        Returns:
            The pictures as PNG files, and a JSON object with seeds, similarity scores and the recipe.
        """
        fields = settings_of(num_images, seed, steps, guidance_scale, fast, scheduler, keep_best)

        def prepare(engine: Engine) -> list[GenerationRequest]:
            found = resolve(engine, photos, identity_file, faces)
            return [GenerationRequest(identity=found.identity, **fields)]

        yield from stream(shell, request, "identity", prepare)

    gr.Button(visible=False).click(
        generate_identity,
        [*person.inputs, *settings.inputs],
        picture_outputs(),
        api_name="generate_identity",
        concurrency_id=GPU,
        concurrency_limit=GPU_WAITING,
        validator=lambda *values: checked(3, *values[3:]),
    )


def resolve(
    engine: Engine, photos: Sequence[str] | None, identity_file: str | None, faces: Sequence[int] | None
) -> Identified:
    """Identity, report and warnings for API values; see `app.page.parts.person.resolve_identity`."""
    return resolve_identity(engine, [(path, None) for path in photos or ()], picks_of(photos, faces), identity_file)


def picks_of(photos: Sequence[str] | None, faces: Sequence[int] | None) -> dict[str, int]:
    """Which face counts in each photo, by path.

    Raises:
        SettingsError: not one whole number per photo.
    """
    if faces is None:
        return {}
    if len(faces) != len(photos or ()):
        raise SettingsError(f"`faces` needs one number per photo: {len(photos or ())}, not {len(faces)}.")
    return {path: whole("A face number", face) for path, face in zip(photos or (), faces, strict=True)}


def _identify(shell: Shell) -> None:
    photos = gr.File(label="Photos of one person", file_count="multiple", type="filepath")
    method = gr.Textbox("mean", label="mean or median")
    drop = gr.Checkbox(False, label="Leave out photos that look like someone else")
    outputs = [gr.File(label="Identity (.npz)"), gr.JSON(label="Report")]

    @shows_errors
    def identify(  # noqa: D417 - as above
        request: gr.Request, photos: list[str], method: str = "mean", drop_outliers: bool = False
    ) -> Any:
        """Turn photos of one person into a reusable identity file.

        Args:
            photos: one or more pictures of one person.
            method: mean or median.
            drop_outliers: leave out photos that do not fit the others.

        Returns:
            A small file of numbers (no picture in it), and how well the photos agree: cosine of each to the group.
        """
        from arc2face.faces.identities import save_identity

        pairs = [(path, None) for path in photos or ()]
        identity, report, _ = resolve_identity(shell.backend.engine(), pairs, None, None, method, drop_outliers)
        target = shell.files.new_run(session_of(request)) / "identity.npz"
        save_identity(target, identity)
        return str(target), {
            "photos": identity.photos,
            "norm": identity.norm,
            "cosines": [float(cosine) for cosine in report.cosines] if report else [],
            "outliers": [int(number) for number in report.outliers] if report else [],
        }

    gr.Button(visible=False).click(
        identify, [photos, method, drop], outputs, api_name="identify", concurrency_id=FACES, concurrency_limit=2
    )


def _housekeeping(shell: Shell) -> None:
    answer = gr.JSON(label="Answer")

    @shows_errors
    def status() -> dict[str, Any]:
        """Say which models are in use, whether they are loaded, and what is missing."""
        backend = shell.backend
        if not backend.wait(0):
            return {"ready": False, "kind": backend.kind, "components": []}
        engine = backend.engine()
        runtime = asdict(engine.runtime)
        parts = [asdict(row) for row in engine.status()]
        return {"ready": True, "kind": backend.kind, "runtime": runtime, "components": parts}

    def cancel(request: gr.Request) -> dict[str, int]:
        """Stop what this client has running or waiting; other clients are not affected."""
        return {"stopped": shell.jobs.cancel(session_of(request))}

    gr.Button(visible=False).click(status, None, answer, api_name="status", queue=False)
    gr.Button(visible=False).click(cancel, None, answer, api_name="cancel", queue=False)
