"""Endpoints of the Pose tab."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from arc2face.errors import SettingsError
from arc2face.settings import TURNTABLE_COUNT_RANGE, TURNTABLE_WIDEST, YAW_LIMIT
from arc2face.types import GenerationRequest
from arc2face_app.api import common
from arc2face_app.api.common import PICTURES, SERIES, person_of, settings_of, stream
from arc2face_app.api.fields import any_json, file_field, publish, real_field, whole_field
from arc2face_app.api.tables import (
    ACTING,
    ANGLES,
    COMBINING,
    ENLARGE,
    NEGATIVE,
    PERSON,
    PITCH,
    POSE,
    SETTINGS,
    expression_field,
    face_field,
)
from arc2face_app.runs.errors import errors_shown
from arc2face_app.runs.pictures import Picture
from arc2face_app.runs.runner import Results
from arc2face_app.runs.shell import Shell, session_of

if TYPE_CHECKING:
    from arc2face.engine import Engine

MAX_ANGLES = 16
"""Most pictures of one series over the network, where each request is somebody's turn."""
COUNT = whole_field(
    "count",
    f"How many angles, from left to right, up to {MAX_ANGLES}.",
    7,
    "The number of angles",
    (TURNTABLE_COUNT_RANGE[0], MAX_ANGLES),
)
WIDEST = real_field(
    "widest",
    f"The outermost angle in degrees, up to {YAW_LIMIT:g}.",
    TURNTABLE_WIDEST,
    "The widest angle in degrees",
    (0.0, YAW_LIMIT),
)


def build(shell: Shell) -> None:
    """Add the endpoints to the page that is being built."""
    _generate(shell)
    _turntable(shell)
    _normal_map(shell)
    _read(shell)


def _generate(shell: Shell) -> None:
    def run(request: gr.Request, values: dict[str, Any]) -> Iterator[common.Answer]:
        from arc2face.sources import find_pose

        session = session_of(request)

        def prepare(engine: Engine) -> list[GenerationRequest]:
            fields = settings_of(values)
            person = person_of(shell, session, engine, values)
            posed = find_pose(engine, common.pose_source(shell, session, values, ACTING), person)
            assert posed is not None
            negative = common.negative_of(shell, session, engine, values)
            return [GenerationRequest(identity=person.identity, pose=posed.condition, negative=negative, **fields)]

        yield from stream(shell, request, "pose", prepare, enlarge=values["enlarge"])

    publish(
        "generate_pose",
        "Make pictures of a person with the head pose of another photo, of a normal map, or of given angles.",
        [*PERSON, *POSE, *ACTING, *SETTINGS, *COMBINING, ENLARGE, *NEGATIVE],
        PICTURES,
        common.picture_outputs(),
        run,
        **common.HEAVY,
    )


def _turntable(shell: Shell) -> None:
    def run(request: gr.Request, values: dict[str, Any]) -> Iterator[common.Answer]:
        from arc2face.series import turntable

        names: list[str] = []

        def prepare(engine: Engine) -> list[GenerationRequest]:
            base = settings_of({**values, "num_images": 1, "keep_best": 0})
            person = person_of(shell, session_of(request), engine, values)
            acting = {name: values[name] for name in ("strength", "start", "end")}
            first = GenerationRequest(identity=person.identity, **base)
            frames = turntable(engine, first, int(values["count"]), values["widest"], values["pitch"] or 0.0, **acting)
            names.extend(frame.name for frame in frames)
            return [frame.request for frame in frames]

        yield from stream(shell, request, "turntable", prepare, names=names, finish=sheet_and_animation)

    publish(
        "turntable",
        "Make one picture of a person per angle, from left to right, with one seed.",
        [
            *PERSON,
            COUNT,
            WIDEST,
            PITCH,
            *ACTING,
            *common.without(SETTINGS, "num_images", "keep_best"),
            *COMBINING,
        ],
        SERIES,
        common.picture_outputs(),
        run,
        **common.HEAVY,
    )


def sheet_and_animation(engine: Engine, results: Results, pictures: list[Picture]) -> tuple[list[Path], dict[str, Any]]:
    """Contact sheet and animation of a series, beside its pictures."""
    from arc2face.series import save_series

    del engine
    folder = Path(pictures[0].path).parent
    frames = [result.images[0].rgb_u8 for result in results]
    sheet, animation = save_series(frames, folder / "contact-sheet.png", folder / "animation.webp")
    return [sheet, animation], {"sheet": sheet.name, "animation": animation.name}


def _normal_map(shell: Shell) -> None:
    shape = expression_field("expression", "Numbers of an expression that the head wears, as read_expression gives.")

    def run(request: gr.Request, values: dict[str, Any]) -> str:
        from arc2face.expression.values import from_dict
        from arc2face.pictures.saving import save_picture

        with errors_shown():
            worn = None if values["expression"] is None else from_dict(values["expression"])
            angles = (values[field.name] or 0.0 for field in ANGLES)
            drawn = shell.backend.engine().normal_map(*angles, expression=worn)
            return str(save_picture(drawn, shell.files.new_run(session_of(request)) / "normal-map.png"))

    publish(
        "normal_map",
        "Draw the normal map of an average head at given angles, with or without an expression.",
        [*ANGLES, shape],
        "A PNG file that generate_pose accepts.",
        [gr.File(label="Normal map")],
        run,
        **common.LIGHT,
    )


def _read(shell: Shell) -> None:
    def run(request: gr.Request, values: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
        from arc2face.pictures.saving import save_picture
        from arc2face.sources import PoseSource, find_pose

        with errors_shown():
            session = session_of(request)
            if not values["photo"]:
                raise SettingsError("Give a photo with a face.")
            source = PoseSource(photo=common.photo_of(shell, session, values["photo"]), face=int(values["face"]))
            posed = find_pose(shell.backend.engine(), source)
            assert posed is not None
            folder = shell.files.new_run(session)
            files = [save_picture(posed.condition.normal_map, folder / "normal-map.png")]
            if posed.aligned is not None:
                files.append(save_picture(posed.aligned, folder / "aligned.png"))
            return [str(file) for file in files], dict(posed.facts or {})

    publish(
        "read_pose",
        "Read the head pose of a face: its angles and the normal map that generate_pose accepts.",
        [file_field("photo", "A picture with a face."), face_field("face", "Which face; 0 is the best.")],
        "The normal map and the aligned photo as PNG files, and a JSON object with yaw, pitch and roll in degrees.",
        [gr.File(label="Normal map, aligned photo", file_count="multiple"), any_json("Angles")],
        run,
        **common.LIGHT,
    )
