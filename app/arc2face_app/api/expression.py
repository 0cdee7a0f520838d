"""Endpoints of the Expression tab."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from arc2face.errors import SettingsError
from arc2face.expression.values import to_dict
from arc2face.settings import STRIP_COUNT_RANGE
from arc2face.types import ExpressionCondition, GenerationRequest
from arc2face_app.api import common
from arc2face_app.api.common import PICTURES, SERIES, person_of, settings_of, stream
from arc2face_app.api.fields import Field, any_json, file_field, files_field, publish, whole_field
from arc2face_app.api.pose import MAX_ANGLES, sheet_and_animation
from arc2face_app.api.tables import (
    COMBINING,
    EDITS,
    ENLARGE,
    EXPRESSION,
    KEEP_LOOK,
    NEGATIVE,
    PASTE,
    PERSON,
    POSE,
    SETTINGS,
    STRENGTH,
    TURN_HEAD,
    face_field,
)
from arc2face_app.runs.errors import errors_shown
from arc2face_app.runs.pictures import Picture, save_pasted
from arc2face_app.runs.runner import Results
from arc2face_app.runs.shell import Shell, session_of

if TYPE_CHECKING:
    from arc2face.engine import Engine
    from arc2face.series import Frame
    from arc2face.sources import ExpressionSource, Person

EVERYTHING: tuple[Field, ...] = (*PERSON, *EXPRESSION, STRENGTH, KEEP_LOOK, TURN_HEAD, *POSE)
"""What a picture with an expression is made of, besides settings and edits."""


def build(shell: Shell) -> None:
    """Add the endpoints to the page that is being built."""
    _generate(shell)
    _strip(shell)
    _read(shell)
    _edit(shell)
    _presets(shell)


def expression_source(shell: Shell, session: str, values: dict[str, Any]) -> ExpressionSource:
    """The expression that the values of EXPRESSION and EDITS describe. Raises SettingsError when they describe none."""
    from arc2face.sources import ExpressionSource, Mixed

    photo, second = values["expression_photo"], values["second_photo"]
    edits = ("left_eyelid", "right_eyelid", "jaw_open", "jaw_side", "jaw_roll")
    given = [photo, values["expression"], values["preset"], *(values[name] for name in edits)]
    if all(value is None or value == "" for value in given):
        raise SettingsError("Give an expression photo, a preset, or the numbers of an expression.")
    return ExpressionSource(
        photo=common.photo_of(shell, session, photo) if photo else None,
        face=int(values["expression_face"]),
        second=common.photo_of(shell, session, second) if second else None,
        second_face=int(values["second_face"]),
        values=values["expression"],
        preset=values["preset"] or None,
        edits=Mixed(share=values["blend"], amount=values["amount"], **{name: values[name] for name in edits}),
    )


def _base(
    shell: Shell, request: gr.Request, engine: Engine, values: dict[str, Any]
) -> tuple[Person, GenerationRequest]:
    from arc2face.sources import LookSource, find_look, find_pose

    session = session_of(request)
    fields = settings_of(values)
    look = LookSource(
        keep=bool(values["keep_look"]), strength=values["keep_look"] or 0.8, paste=values.get("paste_back") or None
    ).check()
    person = person_of(shell, session, engine, values)
    posed = find_pose(engine, common.pose_source(shell, session, values), person) if values["turn_head"] else None
    reference = find_look(engine, look, person)
    pose = posed.condition if posed is not None else None
    return person, GenerationRequest(identity=person.identity, reference=reference, pose=pose, **fields)


def _generate(shell: Shell) -> None:
    def run(request: gr.Request, values: dict[str, Any]) -> Iterator[common.Answer]:
        from arc2face.sources import find_expression

        people: list[Person] = []

        def prepare(engine: Engine) -> list[GenerationRequest]:
            source = expression_source(shell, session_of(request), values)
            person, base = _base(shell, request, engine, values)
            people.append(person)
            target = find_expression(engine, source)
            negative = common.negative_of(shell, session_of(request), engine, values)
            return [base.with_(expression=ExpressionCondition(target, values["strength"]), negative=negative)]

        def paste(engine: Engine, results: Results, pictures: list[Picture]) -> tuple[list[Path], dict[str, Any]]:
            if not values["paste_back"]:
                return [], {}
            pasted = save_pasted(engine, people[0], values["paste_back"], results, pictures)
            files = [Path(picture.path) for picture in pasted]
            return files, {"pasted": [path.name for path in files]}

        yield from stream(shell, request, "expression", prepare, finish=paste, enlarge=values["enlarge"])

    publish(
        "generate_expression",
        "Make pictures of a person with another expression.",
        [*EVERYTHING, *SETTINGS, *EDITS, PASTE, *COMBINING, ENLARGE, *NEGATIVE],
        f"{PICTURES} With paste_back also the full photos.",
        common.picture_outputs(),
        run,
        **common.HEAVY,
    )


def _strip(shell: Shell) -> None:
    count = whole_field(
        "count",
        f"How many amounts, from neutral to the expression, up to {MAX_ANGLES}.",
        5,
        "The number of amounts",
        (STRIP_COUNT_RANGE[0], MAX_ANGLES),
    )
    targets = files_field("targets", "Photos with an expression each: one picture per photo, instead of amounts.")
    kept = common.without(SETTINGS, "num_images", "keep_best")

    def run(request: gr.Request, values: dict[str, Any]) -> Iterator[common.Answer]:
        names: list[str] = []

        def prepare(engine: Engine) -> list[GenerationRequest]:
            session = session_of(request)
            source = None if values["targets"] else expression_source(shell, session, values)
            _, base = _base(shell, request, engine, {**values, "num_images": 1, "keep_best": 0})
            frames = (
                _amounts(engine, base, values, source) if source else _gallery(shell, session, engine, base, values)
            )
            names.extend(frame.name for frame in frames)
            return [frame.request for frame in frames]

        yield from stream(shell, request, "strip", prepare, names=names, finish=sheet_and_animation)

    publish(
        "expression_strip",
        "Make one picture of a person per amount of an expression, from neutral, or per target photo, with one seed.",
        [*PERSON, *EXPRESSION, count, STRENGTH, KEEP_LOOK, TURN_HEAD, *POSE, *kept, *EDITS, targets, *COMBINING],
        SERIES,
        common.picture_outputs(),
        run,
        **common.HEAVY,
    )


def _amounts(engine: Engine, base: GenerationRequest, values: dict[str, Any], source: ExpressionSource) -> list[Frame]:
    from arc2face.series import expression_strip
    from arc2face.sources import find_expression

    target = find_expression(engine, source)
    return expression_strip(base, target, int(values["count"]), strength=values["strength"])


def _gallery(
    shell: Shell, session: str, engine: Engine, base: GenerationRequest, values: dict[str, Any]
) -> list[Frame]:
    from arc2face.series import expression_gallery

    paths = values["targets"]
    if len(paths) > MAX_ANGLES:
        raise SettingsError(f"At most {MAX_ANGLES} target photos, not {len(paths)}.")
    photos = [common.photo_of(shell, session, path) for path in paths]
    found = [engine.read_expression(photo) for photo in photos]
    names = [Path(path).stem[:40] for path in paths]
    return expression_gallery(base, found, names, strength=values["strength"])


def _read(shell: Shell) -> None:
    def run(request: gr.Request, values: dict[str, Any]) -> dict[str, Any]:
        with errors_shown():
            if not values["photo"]:
                raise SettingsError("Give a photo with a face.")
            photo = common.photo_of(shell, session_of(request), values["photo"])
            return to_dict(shell.backend.engine().read_expression(photo, int(values["face"])))

    publish(
        "read_expression",
        "Read the expression of a face as numbers.",
        [file_field("photo", "A picture with a face."), face_field("face", "Which face; 0 is the best.")],
        "50 components, two eyelids and three jaw rotations, with their units.",
        [any_json("Expression")],
        run,
        **common.LIGHT,
    )


def _edit(shell: Shell) -> None:
    def run(request: gr.Request, values: dict[str, Any]) -> dict[str, Any]:
        from arc2face.sources import find_expression

        with errors_shown():
            source = expression_source(shell, session_of(request), values)
            return to_dict(find_expression(shell.backend.engine(), source))

    publish(
        "edit_expression",
        "Blend, amplify and edit an expression; the answer is what generate_expression takes as `expression`.",
        [*EXPRESSION, *EDITS],
        "50 components, two eyelids and three jaw rotations, with their units.",
        [any_json("Expression")],
        run,
        **common.LIGHT,
    )


def _presets(shell: Shell) -> None:
    def run(request: gr.Request, values: dict[str, Any]) -> dict[str, Any]:
        from arc2face.expression.presets import load_presets

        del request, values
        with errors_shown():
            presets = load_presets(shell.backend.engine().models.root)
            return {name: to_dict(expression) for name, expression in presets.items()}

    publish(
        "presets",
        "List the named expressions of the models in use.",
        [],
        "A JSON object: name to numbers, as generate_expression takes them.",
        [any_json("Expressions")],
        run,
        **common.LIGHT,
    )
