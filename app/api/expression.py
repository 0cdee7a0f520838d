"""Endpoints of the Expression tab."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from app.api import common
from app.api.common import PERSON, PICTURES, POSE, SERIES, SETTINGS, person_of, settings_of, stream
from app.api.fields import Field, any_json, file_field, flag_field, json_field, number_field, publish, text_field
from app.api.pose import MAX_ANGLES, sheet_and_animation
from app.runs.errors import errors_shown
from app.runs.pictures import Picture, save_pasted
from app.runs.runner import Results
from app.runs.shell import Shell, session_of
from arc2face import checks
from arc2face.errors import SettingsError
from arc2face.expression.values import AMOUNT_RANGE, EYELID_RANGE, JAW_OPEN_RANGE, JAW_TURN_RANGE, to_dict
from arc2face.settings import CONTROL_STRENGTH_RANGE, LOOK_STRENGTH_RANGE, PASTE_MASKS, one_of, span
from arc2face.types import ExpressionCondition, GenerationRequest

if TYPE_CHECKING:
    from arc2face.engine import Engine
    from arc2face.sources import ExpressionSource, Person

_FACE = partial(checks.whole, "A face", limits=(0, 1000))
SOURCE: tuple[Field, ...] = (
    file_field("expression_photo", "A photo that shows the expression."),
    number_field("expression_face", "Which face of that photo counts.", 0, _FACE),
    json_field("expression", "Numbers instead of a photo, as read_expression returns them, or a list of 55."),
    number_field("amount", f"0 neutral, 1 as found, up to {AMOUNT_RANGE[1]:g} exaggerated.", 1),
)
EDITS: tuple[Field, ...] = (
    text_field("preset", "A named expression instead of a photo or numbers; `presets` lists them."),
    file_field("second_photo", "A second photo to blend with."),
    number_field("second_face", "Which face of that photo counts.", 0, _FACE),
    number_field("blend", "Share of the second photo, 0 to 1.", 0.5),
    number_field("left_eyelid", f"The person's left, {span(EYELID_RANGE)}: open to closed; as found when left out."),
    number_field("right_eyelid", "The person's right."),
    number_field("jaw_open", f"Radians, {span(JAW_OPEN_RANGE)}."),
    number_field("jaw_side", f"Radians, {span(JAW_TURN_RANGE)}."),
    number_field("jaw_roll", f"Radians, {span(JAW_TURN_RANGE)}."),
)
STRENGTH = number_field(
    "strength",
    f"How firmly the pictures follow the expression, {span(CONTROL_STRENGTH_RANGE)}; 1 is as trained.",
    1,
    partial(checks.number, "The expression strength", limits=CONTROL_STRENGTH_RANGE),
)
KEEP_LOOK = number_field(
    "keep_look",
    "0 makes a new picture; 0.8 keeps the photo's look and background, 1 nearly copies it.",
    0,
    partial(checks.number, "Keeping the look", limits=LOOK_STRENGTH_RANGE),
)
PASTE = text_field(
    "paste_back",
    f"Also blend each picture into the full photo: {one_of(PASTE_MASKS)}. Needs keep_look.",
    None,
    partial(checks.choice, "The paste-back mask", options=PASTE_MASKS),
)
TURN_HEAD = flag_field("turn_head", "Also turn the head, as reference, normal_map or yaw, pitch and roll say.")


def build(shell: Shell) -> None:
    """Add the endpoints to the page that is being built."""
    _generate(shell)
    _strip(shell)
    _read(shell)
    _edit(shell)
    _presets(shell)


def expression_source(shell: Shell, session: str, values: dict[str, Any]) -> ExpressionSource:
    """The expression that the values of SOURCE and EDITS describe. Raises SettingsError when they describe none."""
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
            return [base.with_(expression=ExpressionCondition(target, values["strength"]))]

        def paste(engine: Engine, results: Results, pictures: list[Picture]) -> tuple[list[Path], dict[str, Any]]:
            if not values["paste_back"]:
                return [], {}
            files = save_pasted(engine, people[0], values["paste_back"], results, pictures)
            return files, {"pasted": [path.name for path in files]}

        yield from stream(shell, request, "expression", prepare, finish=paste)

    publish(
        "generate_expression",
        "Make pictures of a person with another expression.",
        [*PERSON, *SOURCE, STRENGTH, KEEP_LOOK, TURN_HEAD, *POSE, *SETTINGS, *EDITS, PASTE],
        f"{PICTURES} With paste_back also the full photos.",
        common.picture_outputs(),
        run,
        **common.HEAVY,
    )


def _strip(shell: Shell) -> None:
    count = number_field(
        "count",
        f"How many amounts, from neutral to the expression, up to {MAX_ANGLES}.",
        5,
        partial(checks.whole, "The number of amounts", limits=(2, MAX_ANGLES)),
    )
    kept = common.without(SETTINGS, "num_images", "keep_best")

    def run(request: gr.Request, values: dict[str, Any]) -> Iterator[common.Answer]:
        from arc2face.series import expression_strip
        from arc2face.sources import find_expression

        names: list[str] = []

        def prepare(engine: Engine) -> list[GenerationRequest]:
            source = expression_source(shell, session_of(request), values)
            _, base = _base(shell, request, engine, {**values, "num_images": 1, "keep_best": 0})
            target = find_expression(engine, source)
            frames = expression_strip(base, target, int(values["count"]), strength=values["strength"])
            names.extend(frame.name for frame in frames)
            return [frame.request for frame in frames]

        yield from stream(shell, request, "strip", prepare, names=names, finish=sheet_and_animation)

    publish(
        "expression_strip",
        "Make one picture of a person per amount of an expression, from neutral, with one seed.",
        [*PERSON, *SOURCE, count, STRENGTH, KEEP_LOOK, TURN_HEAD, *POSE, *kept, *EDITS],
        SERIES,
        common.picture_outputs(),
        run,
        **common.HEAVY,
    )


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
        [file_field("photo", "A picture with a face."), number_field("face", "Which face; 0 is the best.", 0, _FACE)],
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
        [*SOURCE, *EDITS],
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
