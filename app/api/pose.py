"""Endpoints of the Pose tab."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from app.api import common
from app.api.common import ACTING, PERSON, PICTURES, POSE, SERIES, SETTINGS, person_of, settings_of, stream
from app.api.fields import number_field, publish
from app.runs.errors import errors_shown
from app.runs.pictures import Picture
from app.runs.runner import Results
from app.runs.shell import Shell, session_of
from arc2face import checks
from arc2face.settings import TURNTABLE_COUNT_RANGE, TURNTABLE_WIDEST, YAW_LIMIT
from arc2face.types import GenerationRequest

if TYPE_CHECKING:
    from arc2face.engine import Engine

MAX_ANGLES = 16
"""Most pictures of one series over the network, where each request is somebody's turn."""
COUNT = number_field(
    "count",
    f"How many angles, from left to right, up to {MAX_ANGLES}.",
    7,
    partial(checks.whole, "The number of angles", limits=(TURNTABLE_COUNT_RANGE[0], MAX_ANGLES)),
)
WIDEST = number_field(
    "widest",
    f"The outermost angle in degrees, up to {YAW_LIMIT:g}.",
    TURNTABLE_WIDEST,
    partial(checks.number, "The widest angle in degrees", limits=(0.0, YAW_LIMIT)),
)


def build(shell: Shell) -> None:
    """Add the endpoints to the page that is being built."""
    _generate(shell)
    _turntable(shell)
    _normal_map(shell)


def _generate(shell: Shell) -> None:
    def run(request: gr.Request, values: dict[str, Any]) -> Iterator[common.Answer]:
        from arc2face.sources import find_pose

        session = session_of(request)

        def prepare(engine: Engine) -> list[GenerationRequest]:
            fields = settings_of(values)
            person = person_of(shell, session, engine, values)
            posed = find_pose(engine, common.pose_source(shell, session, values, ACTING), person)
            assert posed is not None
            return [GenerationRequest(identity=person.identity, pose=posed.condition, **fields)]

        yield from stream(shell, request, "pose", prepare)

    publish(
        "generate_pose",
        "Make pictures of a person with the head pose of another photo, of a normal map, or of given angles.",
        [*PERSON, *POSE, *ACTING, *SETTINGS],
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
            POSE[4],
            *ACTING,
            *common.without(SETTINGS, "num_images", "keep_best"),
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
    def run(request: gr.Request, values: dict[str, Any]) -> str:
        from arc2face.pictures.saving import save_picture
        from arc2face.sources import PoseSource, find_pose

        with errors_shown():
            angles: dict[str, Any] = {name: values[name] or 0.0 for name in ("yaw", "pitch", "roll")}
            posed = find_pose(shell.backend.engine(), PoseSource(**angles))
            assert posed is not None
            target = shell.files.new_run(session_of(request)) / "normal-map.png"
            return str(save_picture(posed.condition.normal_map, target))

    publish(
        "normal_map",
        "Draw the normal map of an average head at given angles.",
        POSE[3:],
        "A PNG file that generate_pose accepts.",
        [gr.File(label="Normal map")],
        run,
        **common.LIGHT,
    )
