"""What several endpoints share: from the values of their fields to sources, and how a run is answered."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from arc2face import checks
from arc2face.errors import SettingsError
from arc2face.types import Progress
from arc2face_app.api.fields import Field, any_json
from arc2face_app.api.tables import FACE_RANGE, SETTINGS
from arc2face_app.runs import runner
from arc2face_app.runs.errors import as_gradio_error
from arc2face_app.runs.pictures import Picture, save_pictures
from arc2face_app.runs.shell import FACES, GPU, GPU_WAITING, Shell, session_of
from arc2face_app.runs.words import progress_words

if TYPE_CHECKING:
    from arc2face.engine import Engine
    from arc2face.faces.photo import Photo
    from arc2face.sources import Person, PoseSource
    from arc2face.types import NegativeIdentity

Answer = tuple[Any, dict[str, Any]]
HEAVY: dict[str, Any] = {"concurrency_id": GPU, "concurrency_limit": GPU_WAITING}
LIGHT: dict[str, Any] = {"concurrency_id": FACES, "concurrency_limit": 2}
Finish = Callable[["Engine", runner.Results, list[Picture]], tuple[list[Path], dict[str, Any]]]
"""What a run adds once its pictures are saved: more files, and more facts for the answer."""


def settings_of(values: dict[str, Any]) -> dict[str, Any]:
    """Request fields from the values of SETTINGS, checked before anything is read. Raises SettingsError."""
    from arc2face.sources import check_settings

    return check_settings(**{field.name: values[field.name] for field in SETTINGS})


def person_of(shell: Shell, session: str, engine: Engine, values: dict[str, Any]) -> Person:
    """The person that the values of PERSON and COMBINING describe; what was found in a photo before is used."""
    from arc2face.sources import find_person

    paths = [str(path) for path in values["photos"] or ()]
    photos = [shell.photos.get(session, path) for path in paths]
    return find_person(
        engine,
        photos,
        picks=picks_of(values["faces"], len(paths)),
        identity_file=values["identity_file"],
        method=values["method"],
        drop_outliers=values["drop_outliers"],
    )


def negative_of(shell: Shell, session: str, engine: Engine, values: dict[str, Any]) -> NegativeIdentity | None:
    """Whom the values of NEGATIVE lead away from, None for nobody."""
    from arc2face_app.runs.negative import handed_over

    return handed_over(shell, session, engine, values["not_like"], values["not_like_strength"])


def picks_of(faces: Any, photos: int) -> list[int] | None:
    """One face number per photo. Raises SettingsError for anything else."""
    if faces is None:
        return None
    if not isinstance(faces, list) or len(faces) != photos:
        raise SettingsError(f"`faces` needs one number per photo: {photos}, not {checks.shown(faces)}.")
    return [checks.whole("A face number", face, FACE_RANGE) for face in faces]


def pose_source(shell: Shell, session: str, values: dict[str, Any], acting: Sequence[Field] = ()) -> PoseSource:
    """The pose that the values of POSE and `acting` describe: map, else photo, else angles, else frontal."""
    from arc2face.sources import PoseSource

    how = {field.name: values[field.name] for field in acting}
    if values["normal_map"]:
        return PoseSource(normal_map=values["normal_map"], **how)
    if values["reference"]:
        photo = photo_of(shell, session, values["reference"])
        return PoseSource(photo=photo, face=checks.whole("A face", values["reference_face"], FACE_RANGE), **how)
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
    enlarge: int | None = None,
) -> Iterator[Answer]:
    """One run as (files, JSON) pairs: progress first, the pictures last. A run of several results is a series.

    `enlarge`: how many times as large each picture is given, too.
    """
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
                larger = enlarged(pictures, enlarge)
                facts = {**facts, **({"enlarged": [path.name for path in larger]} if larger else {})}
                paths = [*(picture.path for picture in pictures), *map(str, files), *map(str, larger)]
                yield paths, {**result_json(event, pictures), **facts}
    except Exception as error:
        raise as_gradio_error(error) from None


def enlarged(pictures: Sequence[Picture], factor: int | None) -> list[Path]:
    """Larger copies beside the pictures; none without a factor."""
    if factor is None:
        return []
    from arc2face.pictures.enlarge import enlarge_png

    return [enlarge_png(picture.path, int(factor)) for picture in pictures]


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
