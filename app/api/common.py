"""What several endpoints share: the fields of person, pose, look and settings, and how a run is answered."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from app.api.fields import (
    Field,
    any_json,
    file_field,
    files_field,
    flag_field,
    json_field,
    number_field,
    text_field,
)
from app.runs import runner
from app.runs.errors import as_gradio_error
from app.runs.pictures import Picture, save_pictures
from app.runs.shell import FACES, GPU, GPU_WAITING, Shell, session_of
from app.runs.words import progress_words
from arc2face import checks
from arc2face.errors import SettingsError
from arc2face.settings import (
    CHOOSABLE_SCHEDULERS,
    CONTROL_STRENGTH_RANGE,
    DECODERS,
    DEFAULT_IMAGES,
    DEFAULT_SCHEDULER,
    FAST,
    FULL,
    MAX_IMAGES,
    MAX_SEED,
    PITCH_LIMIT,
    ROLL_LIMIT,
    SCHEDULERS,
    YAW_LIMIT,
    one_of,
    span,
)
from arc2face.types import Progress

if TYPE_CHECKING:
    from arc2face.engine import Engine
    from arc2face.faces.photo import Photo
    from arc2face.sources import Person, PoseSource

Answer = tuple[Any, dict[str, Any]]
HEAVY: dict[str, Any] = {"concurrency_id": GPU, "concurrency_limit": GPU_WAITING}
LIGHT: dict[str, Any] = {"concurrency_id": FACES, "concurrency_limit": 2}
Finish = Callable[["Engine", runner.Results, list[Picture]], tuple[list[Path], dict[str, Any]]]
"""What a run adds once its pictures are saved: more files, and more facts for the answer."""

_FACE = (0, 1000)
PERSON: tuple[Field, ...] = (
    files_field("photos", "One or more pictures of one person; the first one gives the look when it is kept."),
    file_field("identity_file", "A saved identity (.npz, or a .npy of 512 numbers), used instead of photos."),
    json_field("faces", "Which face counts in each photo, 0 is the best, for example [0, 1]."),
)
POSE: tuple[Field, ...] = (
    file_field("reference", "A photo that shows the pose."),
    number_field(
        "reference_face", "Which face of that photo counts.", 0, partial(checks.whole, "A face", limits=_FACE)
    ),
    file_field("normal_map", "A square normal map saved by this app, instead of a pose photo."),
    number_field("yaw", f"Degrees to the picture's right, {-YAW_LIMIT:g} to {YAW_LIMIT:g}."),
    number_field("pitch", f"Degrees downwards, {-PITCH_LIMIT:g} to {PITCH_LIMIT:g}."),
    number_field("roll", f"Degrees, {-ROLL_LIMIT:g} to {ROLL_LIMIT:g}; the top of the head to the picture's left."),
)


def _strength(name: str) -> Callable[[Any], float]:
    return partial(checks.number, name, limits=CONTROL_STRENGTH_RANGE)


ACTING: tuple[Field, ...] = (
    number_field(
        "strength",
        f"How firmly the pose acts, {span(CONTROL_STRENGTH_RANGE)}; 1 is as trained.",
        1,
        _strength("The strength"),
    ),
    number_field("start", "Share of the steps at which the pose begins to act.", 0),
    number_field("end", "Share of the steps at which it ends.", 1),
)
SETTINGS: tuple[Field, ...] = (
    number_field(
        "num_images",
        f"How many pictures, 1 to {MAX_IMAGES}.",
        DEFAULT_IMAGES,
        partial(checks.whole, "The number of pictures", limits=(1, MAX_IMAGES)),
    ),
    number_field(
        "seed",
        "Picture k uses seed + k; the same request gives the same pictures.",
        0,
        partial(checks.whole, "The seed", limits=(0, MAX_SEED)),
    ),
    number_field(
        "steps",
        f"Denoising steps, {span(FULL.steps_range)}, usually {FULL.steps}; in fast mode {span(FAST.steps_range)}, "
        f"usually {FAST.steps}.",
    ),
    number_field(
        "guidance_scale",
        f"{span(FULL.guidance_range)}, usually {FULL.guidance_scale:g}; 1 switches it off, as fast mode does.",
        None,
        partial(checks.number, "The guidance scale", limits=FULL.guidance_range),
    ),
    flag_field("fast", "Few-step sampling with the LCM adapter."),
    text_field(
        "scheduler",
        f"{one_of(CHOOSABLE_SCHEDULERS)}; ignored in fast mode.",
        DEFAULT_SCHEDULER,
        partial(checks.choice, "The scheduler", options=SCHEDULERS),
    ),
    number_field("keep_best", "Keep only the k pictures most similar to the person; 0 keeps all.", 0),
    text_field(
        "decoder",
        f"{one_of(DECODERS)}; small is quicker, its quality unverified.",
        "auto",
        partial(checks.choice, "The decoder", options=DECODERS),
    ),
    number_field("guidance_start", "Share of the steps at which guidance begins; quality unverified above 0.", 0),
    number_field("guidance_end", "Share of the steps at which guidance ends; quality unverified below 1.", 1),
)


def settings_of(values: dict[str, Any]) -> dict[str, Any]:
    """Request fields from the values of SETTINGS, checked before anything is read. Raises SettingsError."""
    from arc2face.sources import check_settings

    return check_settings(**{field.name: values[field.name] for field in SETTINGS})


def person_of(shell: Shell, session: str, engine: Engine, values: dict[str, Any]) -> Person:
    """The person that the values of PERSON describe; photos looked at before are not looked at again."""
    from arc2face.sources import find_person

    paths = [str(path) for path in values["photos"] or ()]
    photos = [shell.photos.get(session, path) for path in paths]
    return find_person(
        engine, photos, picks=picks_of(values["faces"], len(paths)), identity_file=values["identity_file"]
    )


def picks_of(faces: Any, photos: int) -> list[int] | None:
    """One face number per photo. Raises SettingsError for anything else."""
    if faces is None:
        return None
    if not isinstance(faces, list) or len(faces) != photos:
        raise SettingsError(f"`faces` needs one number per photo: {photos}, not {checks.shown(faces)}.")
    return [checks.whole("A face number", face, _FACE) for face in faces]


def pose_source(shell: Shell, session: str, values: dict[str, Any], acting: Sequence[Field] = ()) -> PoseSource:
    """The pose that the values of POSE and `acting` describe: map, else photo, else angles, else frontal."""
    from arc2face.sources import PoseSource

    how = {field.name: values[field.name] for field in acting}
    if values["normal_map"]:
        return PoseSource(normal_map=values["normal_map"], **how)
    if values["reference"]:
        photo = photo_of(shell, session, values["reference"])
        return PoseSource(photo=photo, face=checks.whole("A face", values["reference_face"], _FACE), **how)
    yaw, pitch, roll = (values[name] or 0.0 for name in ("yaw", "pitch", "roll"))
    return PoseSource(yaw=yaw, pitch=pitch, roll=roll, **how)


def photo_of(shell: Shell, session: str, path: Any) -> Photo:
    """A photo from the visitor's shelf."""
    return shell.photos.get(session, str(path))


def stream(
    shell: Shell,
    request: gr.Request,
    prefix: str,
    prepare: runner.Prepare,
    *,
    names: Sequence[str] = (),
    finish: Finish | None = None,
) -> Iterator[Answer]:
    """One run as (files, JSON) pairs: progress first, the pictures last. A run of several results is a series."""
    session = session_of(request)
    opened: list[Engine] = []

    def remembered(engine: Engine) -> Any:
        opened.append(engine)
        return prepare(engine)

    try:
        for event in runner.follow(shell, session, remembered):
            if isinstance(event, Progress):
                yield None, progress_json(event)
            else:
                pictures = save_pictures(shell, session, event, prefix, names)
                files, facts = finish(opened[0], event, pictures) if finish is not None else ([], {})
                paths = [*(picture.path for picture in pictures), *map(str, files)]
                yield paths, {**result_json(event, pictures), **facts}
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


def result_json(results: runner.Results, pictures: Sequence[Picture]) -> dict[str, Any]:
    """What is known about the pictures besides their pixels. `recipe`: of the first request."""
    rows = [
        {"seed": picture.seed, "similarity": picture.similarity, "face_found": picture.face_found}
        | ({"name": picture.name} if picture.name else {})
        for picture in pictures
    ]
    seconds: dict[str, float] = {}
    for result in results:
        for stage, value in result.seconds.items():
            seconds[stage] = seconds.get(stage, 0.0) + value
    return {"stage": "done", "pictures": rows, "recipe": dict(results[0].recipe), "seconds": seconds}


def picture_outputs() -> list[Any]:
    """Components for what `stream` yields."""
    files = gr.File(label="Pictures (PNG with recipe)", file_count="multiple")
    return [files, any_json("Progress, then the result")]


def without(fields: Sequence[Field], *names: str) -> tuple[Field, ...]:
    """Fields except some."""
    return tuple(field for field in fields if field.name not in names)


PICTURES = "The pictures as PNG files, and a JSON object with seeds, similarity scores and the recipe."
SERIES = (
    "The pictures, a contact sheet (PNG) and an animation (WebP), and a JSON object with one row per picture and the "
    "recipe."
)
