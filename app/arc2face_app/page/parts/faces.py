"""The people of one photo as rows, from left to right: a face, and the expression that is wanted of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import gradio as gr
import numpy as np

from arc2face.errors import InputError
from arc2face.expression.presets import BUILT_IN, load_presets
from arc2face.sources import ExpressionSource, Wish
from arc2face.sources.several import MAX_GROUP
from arc2face_app.page import markup
from arc2face_app.page.parts.face_order import left_to_right
from arc2face_app.page.parts.keyed import Component, Rules, Updates, Values
from arc2face_app.runs.given import taken_as_it_lies
from arc2face_app.runs.shell import INSTANT, Shell

if TYPE_CHECKING:
    from arc2face.engine import Engine
    from arc2face.faces.face import Face
    from arc2face.faces.photo import Photo
    from arc2face.types import RgbU8

LEAVE, AS_PHOTO = "Leave as it is", "As in a photo"
NOBODY = "Choose an expression for at least one person of the photo."
NO_PHOTO = "Face {} is to look as in a photo: add that photo, or choose a name."
FACE_PIXELS, ROOM = 96, 0.3


class FaceRows:
    """One row per face, at most MAX_GROUP; those that are not needed are hidden."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._rows: list[gr.Row] = []
        self._faces: list[gr.HTML] = []
        self._wanted: list[gr.Dropdown] = []
        self._photos: list[gr.UploadButton] = []
        for number in range(1, MAX_GROUP + 1):
            with gr.Row(visible=False, elem_classes=["face-row"]) as row:
                face = gr.HTML("", elem_classes=["face-cell"])
                wanted = gr.Dropdown(
                    [LEAVE, AS_PHOTO, *BUILT_IN], value=LEAVE, label=f"Face {number}", scale=4, min_width=150
                )
                photo = gr.UploadButton("Photo", size="sm", file_types=["image"], scale=0, min_width=92)
                taken_as_it_lies(photo)
            self._rows.append(row)
            self._faces.append(face)
            self._wanted.append(wanted)
            self._photos.append(photo)
            photo.upload(lambda: AS_PHOTO, None, [wanted], **INSTANT)

    @property
    def inputs(self) -> set[Component]:
        """What is wanted of each face."""
        return {*self._wanted, *self._photos}

    @property
    def outputs(self) -> set[Component]:
        """What `shown` and `hidden` update."""
        return {*self._rows, *self._faces, *self._wanted}

    @property
    def rules(self) -> Rules:
        """Rules for a validator: somebody changes, and every photo that is named is there."""
        return {self._wanted[0]: self._somebody}

    def shown(self, engine: Engine, photo: Photo) -> Updates:
        """One row per face of the photo. What was chosen for another photo is forgotten. Raises InputError."""
        faces = _of(engine, photo)
        if not faces:
            raise InputError("No face was found in the photo above. Choose one in which faces are large and clear.")
        choices = [LEAVE, AS_PHOTO, *load_presets(engine.models.root)]
        updates: Updates = {}
        for number, (row, cell, wanted) in enumerate(zip(self._rows, self._faces, self._wanted, strict=True)):
            there = number < len(faces)
            updates[row] = gr.update(visible=there)
            updates[wanted] = gr.update(choices=choices, value=LEAVE)
            if there:
                updates[cell] = _cell(photo.rgb_u8, faces[number], number + 1)
        return updates

    def hidden(self) -> Updates:
        """No rows."""
        return {row: gr.update(visible=False) for row in self._rows}

    def wishes(self, engine: Engine, photo: Photo, values: Values, session: str) -> dict[str, Wish]:
        """What is wanted, for the faces that change, by what it is called in captions. Raises InputError."""
        faces = _of(engine, photo)
        chosen = [number for number, wanted in enumerate(self._wanted) if values[wanted] != LEAVE]
        return {
            f"Face {number + 1}: {values[self._wanted[number]]}": Wish(
                faces[number].index, self._source(values, number, session)
            )
            for number in chosen
            if number < len(faces)
        }

    def _source(self, values: Values, number: int, session: str) -> ExpressionSource:
        wanted = values[self._wanted[number]]
        if wanted != AS_PHOTO:
            return ExpressionSource(preset=wanted)
        path = values[self._photos[number]]
        if not path:
            raise InputError(NO_PHOTO.format(number + 1))
        return ExpressionSource(photo=self._shell.photos.get(session, str(path)))

    def _somebody(self, values: Values) -> None:
        chosen = [number for number, wanted in enumerate(self._wanted) if values[wanted] != LEAVE]
        if not chosen:
            raise InputError(NOBODY)
        for number in chosen:
            if values[self._wanted[number]] == AS_PHOTO and not values[self._photos[number]]:
                raise InputError(NO_PHOTO.format(number + 1))


def _of(engine: Engine, photo: Photo) -> list[Face]:
    """The faces of a photo that can change, from left to right."""
    faces = photo.faces(engine.faces)[:MAX_GROUP]
    return [faces[place] for place in left_to_right(faces)]


def _cell(rgb_u8: RgbU8, face: Face, number: int) -> str:
    """The face cut out, as markup."""
    from PIL import Image

    x0, y0, x1, y1 = (float(value) for value in face.box)
    room = ROOM * max(x1 - x0, y1 - y0)
    height, width = rgb_u8.shape[:2]
    left, right = max(0, round(x0 - room)), min(width, round(x1 + room))
    top, bottom = max(0, round(y0 - room)), min(height, round(y1 + room))
    cut = Image.fromarray(rgb_u8[top:bottom, left:right])
    cut.thumbnail((FACE_PIXELS, FACE_PIXELS))
    return f'<img alt="Face {number} of the photo" src="{markup.data_uri(np.asarray(cut))}">'
