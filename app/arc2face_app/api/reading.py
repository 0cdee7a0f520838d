"""Endpoints that look at a picture: who is in it, how like a person, how it was made; and a face to begin with."""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from arc2face.errors import SettingsError
from arc2face_app.api import common
from arc2face_app.api.fields import any_json, file_field, publish, whole_field
from arc2face_app.api.tables import COMBINING, PERSON, face_field
from arc2face_app.runs.errors import errors_shown
from arc2face_app.runs.shell import Shell, session_of

if TYPE_CHECKING:
    from arc2face.faces.face import Face

PHOTO = file_field("photo", "A picture.")


def build(shell: Shell) -> None:
    """Add the endpoints to the page that is being built."""
    _find_faces(shell)
    _compare(shell)
    _read_recipe(shell)
    _draw_person(shell)


def _find_faces(shell: Shell) -> None:
    def run(request: gr.Request, values: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        from arc2face.faces.boxes import draw_boxes
        from arc2face.pictures.saving import save_picture

        with errors_shown():
            session = session_of(request)
            photo = common.photo_of(shell, session, _needed(values["photo"]))
            engine = shell.backend.engine()
            engine.perception.face(photo)  # the sentence that says why there is none
            faces = photo.faces(engine.faces)
            drawn = draw_boxes(photo.rgb_u8, faces)
            target = save_picture(drawn, shell.files.new_run(session) / "faces.png")
            height, width = photo.rgb_u8.shape[:2]
            return str(target), {"width": width, "height": height, "faces": [_face_json(face) for face in faces]}

    publish(
        "find_faces",
        "Find the faces in a picture, likeliest first; their numbers are what `faces` of the other endpoints takes.",
        [PHOTO],
        "The picture with numbered boxes (from 1), and a JSON object: size, and per face its number, box and score.",
        [gr.File(label="Faces"), any_json("Faces")],
        run,
        **common.LIGHT,
    )


def _compare(shell: Shell) -> None:
    def run(request: gr.Request, values: dict[str, Any]) -> dict[str, Any]:
        with errors_shown():
            session = session_of(request)
            picture = common.photo_of(shell, session, _needed(values["photo"]))
            engine = shell.backend.engine()
            person = common.person_of(shell, session, engine, values)
            found = engine.identify(picture, picks=int(values["face"])).identity
            return {"similarity": float(found.cosine(person.identity)), "person": person.facts}

    publish(
        "compare",
        "Say how like a person the face in a picture is: 1 is the same face to the recogniser, strangers are near 0.",
        [PHOTO, face_field("face", "Which face of that picture; 0 is the best."), *PERSON, *COMBINING],
        "A JSON object with the similarity (cosine of the two identity embeddings) and facts about the person.",
        [any_json("Similarity")],
        run,
        **common.LIGHT,
    )


def _read_recipe(shell: Shell) -> None:
    del shell

    def run(request: gr.Request, values: dict[str, Any]) -> dict[str, Any]:
        from arc2face.pictures.recipes import read_recipe

        del request
        with errors_shown():
            return read_recipe(Path(_needed(values["picture"])))

    publish(
        "read_recipe",
        "Read how a picture was made, from a PNG that was saved here.",
        [file_field("picture", "A PNG that was saved here.")],
        "A JSON object: settings, seed, model hashes, pose, expression and look of the run.",
        [any_json("Recipe")],
        run,
        **common.LIGHT,
    )


def _draw_person(shell: Shell) -> None:
    seed = whole_field("seed", "Which person; a new one each time when left out.", None, "The seed", (0, 2**31 - 1))

    def run(request: gr.Request, values: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        from arc2face.faces.made_up import made_up_person
        from arc2face.pictures.saving import save_picture

        with errors_shown():
            seed = random.randrange(2**31) if values["seed"] is None else int(values["seed"])
            target = shell.files.new_run(session_of(request)) / "somebody-new.png"
            return str(save_picture(made_up_person(seed), target)), {"seed": seed}

    publish(
        "draw_person",
        "A photo of somebody who does not exist, to start with.",
        [seed],
        "A PNG file that the other endpoints take as a photo, and a JSON object with the seed.",
        [gr.File(label="Photo"), any_json("Seed")],
        run,
        **common.LIGHT,
    )


def _face_json(face: Face) -> dict[str, Any]:
    return {
        "face": face.index,
        "box": [round(float(edge), 1) for edge in face.box],
        "score": round(float(face.score), 4),
    }


def _needed(path: Any) -> str:
    if not path:
        raise SettingsError("Give a picture.")
    return str(path)
