"""Endpoints of the Video and Group tabs: films, several people in one photo, and one face from several."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import gradio as gr

from arc2face import checks
from arc2face.driving import Shot, check_piece, driven, paste_shot, replay
from arc2face.errors import CancelledError, SettingsError
from arc2face.expression.shapes import REGIONS
from arc2face.expression.values import to_dict
from arc2face.settings import (
    DEFAULT_LOOK_STRENGTH,
    DRIVE_MOST,
    DRIVE_RATE,
    DRIVE_RATE_RANGE,
    LOOK_STRENGTH_RANGE,
    PASTE_MASKS,
    one_of,
    span,
)
from arc2face.types import GenerationRequest, Progress
from arc2face_app.api import common
from arc2face_app.api.common import person_of, progress_json, settings_of, stream
from arc2face_app.api.expression import expression_source
from arc2face_app.api.fields import (
    Field,
    any_json,
    file_field,
    files_field,
    json_field,
    publish,
    real_field,
    text_field,
)
from arc2face_app.api.tables import (
    COMBINING,
    EDITS,
    EXPRESSION,
    KEEP_LOOK,
    PASTE,
    PERSON,
    SETTINGS,
    STRENGTH,
    expression_field,
    face_field,
)
from arc2face_app.runs import driving
from arc2face_app.runs.errors import as_gradio_error, errors_shown
from arc2face_app.runs.pictures import Picture
from arc2face_app.runs.runner import Results
from arc2face_app.runs.shell import Shell, session_of

if TYPE_CHECKING:
    from arc2face.engine import Engine
    from arc2face.sources import ExpressionSource, Person, Wish

GAZE = "Where the eyes look is not among an expression's 55 numbers and does not follow."
SECONDS = (0.0, 36_000.0)
MOTION: tuple[Field, ...] = (
    file_field("video", f"A video of a face (MP4, MOV, WebM, MKV, AVI, GIF), read frame by frame. {GAZE}"),
    file_field("blendshapes", "A CSV table with ARKit's 52 names instead of a video; for heads that know them."),
    real_field(
        "rate",
        f"Pictures per second, {span(DRIVE_RATE_RANGE)}; at most {DRIVE_MOST} pictures.",
        DRIVE_RATE,
        "The number of pictures per second",
        DRIVE_RATE_RANGE,
    ),
    real_field("start", "Seconds at which to begin.", 0, "The start in seconds", SECONDS),
    real_field("end", "Seconds at which to end; the end of the recording when left out.", None, "The end", SECONDS),
)
_WISHES: dict[str, Any] = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {
            "face": {"type": "integer", "minimum": 0},
            "preset": {"type": "string"},
            "expression": {"type": "object", "additionalProperties": True},
            "photo": {"type": "integer", "minimum": 0},
        },
        "required": ["face"],
    },
}
WISHES = json_field(
    "wishes",
    'One entry per person who changes: {"face": 0, "preset": "Smile"}; instead of a preset `expression` (numbers), or '
    "`photo` (a place in expression_photos, from 0).",
    schema=_WISHES,
)


def build(shell: Shell) -> None:
    """Add the endpoints to the page that is being built."""
    _drive(shell)
    _group(shell)
    _mix(shell)


def _drive(shell: Shell) -> None:
    kept = common.without(SETTINGS, "num_images", "keep_best")

    def run(request: gr.Request, values: dict[str, Any]) -> Iterator[common.Answer]:
        session = session_of(request)
        people: list[tuple[Engine, Person]] = []

        def take(engine: Engine) -> driving.Takes:
            base = _base(shell, session, engine, values, people)
            seen = yield from _performance(engine, values)
            return driving.Take(performance=seen, frames=tuple(driven(base, seen, values["strength"])))

        takes: list[driving.Take] = []
        shots: list[Shot] = []
        try:
            try:
                for event in driving.follow(shell, session, take, ""):
                    if isinstance(event, Progress):
                        yield None, progress_json(event)
                    elif isinstance(event, Shot):
                        shots.append(event)
                    else:
                        takes.append(event)
            except CancelledError:
                if not shots:
                    raise
            yield _film(*people[0], takes[0], shots, values["paste_back"])
        except Exception as error:
            raise as_gradio_error(error) from None

    publish(
        "drive",
        "Make a film of a person: the expression follows a face in a video. Stopped, it answers with what is finished; "
        "the same call again goes on behind it.",
        [*PERSON, *MOTION, STRENGTH, KEEP_LOOK, PASTE, *kept, *COMBINING],
        "The pictures in their order and, last, the film (WebP); a JSON object with one row per picture, `complete`, "
        "the seconds without a face, and warnings.",
        common.picture_outputs(),
        run,
        **common.HEAVY,
    )


def _base(
    shell: Shell, session: str, engine: Engine, values: dict[str, Any], people: list[tuple[Engine, Person]]
) -> GenerationRequest:
    from arc2face.sources import LookSource, find_look

    if bool(values["video"]) == bool(values["blendshapes"]):
        raise SettingsError("Say what moves: `video` with a face, or `blendshapes` with a recording.")
    check_piece(values["rate"], values["start"], values["end"])
    fields = settings_of({**values, "num_images": 1, "keep_best": 0})
    look = LookSource(
        keep=bool(values["keep_look"]),
        strength=values["keep_look"] or DEFAULT_LOOK_STRENGTH,
        paste=values["paste_back"] or None,
    ).check()
    person = person_of(shell, session, engine, values)
    people.append((engine, person))
    return GenerationRequest(identity=person.identity, reference=find_look(engine, look, person), **fields)


def _performance(engine: Engine, values: dict[str, Any]) -> Any:
    piece = check_piece(values["rate"], values["start"], values["end"])
    if values["video"]:
        return (yield from driving.watched(engine, Path(values["video"]), *piece, DRIVE_MOST))
    return replay(engine, values["blendshapes"], *piece)


def _film(
    engine: Engine, person: Person, take: driving.Take, shots: Sequence[Shot], mask: str | None
) -> tuple[list[str], dict[str, Any]]:
    pictures = [driving.picture_of(shot) for shot in shots]
    paths = [str(paste_shot(engine, person, shot, mask)) if mask else str(shot.path) for shot in shots]
    film = driving.save_film_of(take, paths)
    rows = [
        {"seed": picture.seed, "similarity": picture.similarity, "made": shot.result is not None, **shot.frame.facts}
        for picture, shot in zip(pictures, shots, strict=True)
    ]
    complete = len(shots) == len(take.frames)
    seen = take.performance
    facts = {"film": film.name, "faceless": list(seen.faceless), "warnings": list(seen.warnings)}
    done = {"stage": "done" if complete else "stopped", "complete": complete, "frames": len(take.frames)}
    return [*paths, str(film)], {**done, "pictures": rows, **facts}


def _group(shell: Shell) -> None:
    kept = common.without(SETTINGS, "num_images", "keep_best")
    look = real_field(
        "keep_look", "How much of the photo's look is kept.", DEFAULT_LOOK_STRENGTH, "The look", LOOK_STRENGTH_RANGE
    )
    mask = text_field(
        "paste_back",
        f"What is blended back: {one_of(PASTE_MASKS)}.",
        "face",
        partial(checks.choice, "The paste-back mask", options=PASTE_MASKS),
    )

    def run(request: gr.Request, values: dict[str, Any]) -> Iterator[common.Answer]:
        from arc2face.sources import group_requests, paste_group

        session = session_of(request)
        wishes: list[Wish] = []

        def prepare(engine: Engine) -> list[GenerationRequest]:
            fields = settings_of({**values, "num_images": 1, "keep_best": 0})
            if not values["photo"]:
                raise SettingsError("Give a photo of several people.")
            wishes.extend(_wishes(shell, session, values))
            photo = common.photo_of(shell, session, values["photo"])
            return group_requests(engine, photo, wishes, fields, look=values["keep_look"])

        def paste(engine: Engine, results: Results, pictures: list[Picture]) -> tuple[list[Path], dict[str, Any]]:
            from arc2face.pictures.recipes import save_png

            photo = common.photo_of(shell, session, values["photo"])
            drawn = [result.images[0] for result in results]
            faces, whole = [wish.face for wish in wishes], [image.rgb_u8 for image in drawn]
            together = paste_group(engine, photo, faces, whole, values["paste_back"])
            target = Path(pictures[0].path).with_name("group.png")
            save_png(replace(drawn[0], rgb_u8=together), results[0], target)
            return [target], {"group": target.name, "faces": faces}

        yield from stream(shell, request, "face", prepare, finish=paste)

    publish(
        "group_expressions",
        "Give several people in one photo an expression of their own; nobody becomes another. find_faces numbers them.",
        [
            file_field("photo", "A photo of several people."),
            WISHES,
            files_field("expression_photos", "Photos that show expressions, for wishes with `photo`."),
            STRENGTH,
            look,
            mask,
            *kept,
        ],
        "One picture per face, then the photo with all of them pasted in (group.png), and a JSON object.",
        common.picture_outputs(),
        run,
        **common.HEAVY,
    )


def _wishes(shell: Shell, session: str, values: dict[str, Any]) -> list[Wish]:
    """The entries of `wishes`. Raises SettingsError for anything that is none."""
    from arc2face.sources import ExpressionSource, Wish

    given: Any = values["wishes"]
    if not isinstance(given, list) or not all(isinstance(one, dict) for one in cast("list[Any]", given)):
        raise SettingsError('`wishes` needs one object per person, such as [{"face": 0, "preset": "Smile"}].')
    photos = [str(path) for path in values["expression_photos"] or ()]
    wishes: list[Wish] = []
    for one in cast("list[dict[str, Any]]", given):
        known = {"face", "preset", "expression", "photo"}
        if unknown := sorted(one.keys() - known):
            raise SettingsError(f"A wish has no {checks.shown(unknown[0])}; it takes {one_of(sorted(known))}.")
        photo = None
        if one.get("photo") is not None:
            place = checks.whole("A wish's photo", one["photo"], (0, max(len(photos) - 1, 0)))
            if not photos:
                raise SettingsError("A wish names a photo, but expression_photos is empty.")
            photo = common.photo_of(shell, session, photos[place])
        source = ExpressionSource(photo=photo, values=one.get("expression"), preset=one.get("preset"))
        if (photo, one.get("expression"), one.get("preset")) == (None, None, None):
            raise SettingsError("Each wish needs a preset, an expression or a photo.")
        wishes.append(Wish(one.get("face"), source, values["strength"]))  # type: ignore[arg-type]  # checked there
    return wishes


def _mix(shell: Shell) -> None:
    parts: list[Field] = []
    for region, text in REGIONS.items():
        parts += [
            file_field(f"{region}_photo", f"A photo that gives {text}."),
            face_field(f"{region}_face", "Which face of that photo counts."),
            expression_field(f"{region}_expression", f"Numbers that give {text}."),
            text_field(f"{region}_preset", f"A named expression that gives {text}."),
        ]

    def source(session: str, values: dict[str, Any], region: str) -> ExpressionSource | None:
        from arc2face.sources import ExpressionSource

        photo = values[f"{region}_photo"]
        numbers, preset = values[f"{region}_expression"], values[f"{region}_preset"] or None
        if not photo and numbers is None and preset is None:
            return None
        return ExpressionSource(
            photo=common.photo_of(shell, session, photo) if photo else None,
            face=int(values[f"{region}_face"]),
            values=numbers,
            preset=preset,
        )

    def run(request: gr.Request, values: dict[str, Any]) -> dict[str, Any]:
        from arc2face.sources import mix_expressions
        from arc2face.types import Expression

        with errors_shown():
            session = session_of(request)
            found = {region: source(session, values, region) for region in REGIONS}
            wanted = {region: one for region, one in found.items() if one is not None}
            if not wanted:
                raise SettingsError("Say which part comes from where: a photo, numbers or a preset for one region.")
            given = any(values[name] for name in ("expression_photo", "expression", "preset"))
            base = expression_source(shell, session, values) if given else Expression.neutral()
            mixed = mix_expressions(shell.backend.engine(), base, wanted)
            return {**to_dict(mixed.expression), "exact": mixed.exact, "fit": dict(mixed.fit)}

    publish(
        "mix_expressions",
        "One expression from several: eyes, brows and mouth may each come from elsewhere. Exact where the head names "
        f"its numbers, else fitted on the head's vertices. {GAZE}",
        [*EXPRESSION, *EDITS, *parts],
        "What generate_expression takes as `expression`; `exact`, and how much of each region is met (`fit`).",
        [any_json("Expression")],
        run,
        **common.LIGHT,
    )
