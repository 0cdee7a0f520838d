"""What moves: a video, a recording from the webcam, or a table of blendshapes; and which piece of it."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

import gradio as gr
import numpy as np

from arc2face.driving import check_piece, replay
from arc2face.errors import Arc2FaceError, InputError
from arc2face.settings import DRIVE_MOST, DRIVE_RATE, DRIVE_RATE_RANGE
from arc2face.types import Progress, RgbU8
from arc2face.weights.writing import copy_to
from arc2face_app.page import markup
from arc2face_app.page.messages import shows_errors, words
from arc2face_app.page.parts.keyed import Component, Rules, Updates, Values
from arc2face_app.page.theme import EXAMPLES
from arc2face_app.runs import driving
from arc2face_app.runs.given import taken_as_it_lies
from arc2face_app.runs.shell import LIGHT, Shell, session_of

if TYPE_CHECKING:
    from arc2face.driving import Performance
    from arc2face.engine import Engine

CLIP = EXAMPLES / "clips" / "turn-and-smile.mp4"
"""Somebody who does not exist; `scripts/make_examples.py` draws it."""
NOTHING = "Add a video of a face, film yourself, or add a blendshape recording."
HINT = (
    "Only the expression counts: mouth, jaw, eyelids, brows. Where the eyes look does not follow; it is not among an "
    "expression's 55 numbers. A few seconds with the face large and from the front are best."
)
TABLE = "CSV of Live Link Face or MediaPipe with ARKit's 52 names. Copied number by number, so the head must know them."
SHOWN = 6
"""Frames that are shown of a video."""
CAMERA = """
<div class="film-row"><button type="button" class="film-open">Film yourself</button></div>
<div class="film-stage" hidden>
  <video class="film-view" muted playsinline autoplay aria-label="Your camera"></video>
  <div class="film-row">
    <button type="button" class="film-record">Record</button>
    <button type="button" class="film-close">Close the camera</button>
  </div>
</div>
<span class="film-said" role="status"></span>
"""


class MotionControls:
    """Video or table, pictures per second, start and end. `report` says what a run would make of it."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        # Not gr.Video: it complains of files that this browser cannot play, though they can be read here, and its
        # scissors fetch a program from a foreign host.
        self.video = gr.File(
            label="Video of a face",
            show_label=False,
            file_types=["video", ".mp4", ".mov", ".webm", ".mkv", ".avi", ".gif"],
            height=92,
            elem_classes=["drop", "motion"],
        )
        taken_as_it_lies(self.video)
        with gr.Row(elem_classes=["film-tools"]):
            gr.HTML(CAMERA, js_on_load="window.studio.film(element);", elem_classes=["film"])
            example = gr.Button("Take the example clip", size="sm", scale=0, min_width=180, visible=CLIP.is_file())
        self.report = gr.HTML(markup.hint(HINT))
        self.rate = gr.Slider(
            *DRIVE_RATE_RANGE,
            value=DRIVE_RATE,
            step=0.5,
            label="Pictures per second",
            info=f"More are smoother and take longer; at most {DRIVE_MOST} in one go.",
            buttons=[],
        )
        with gr.Accordion("A piece of it, or a blendshape recording", open=False):
            with gr.Row(elem_classes=["piece"]):
                self.start = gr.Number(0, label="From second", minimum=0, min_width=110)
                self.end = gr.Number(0, label="To second (0: the end)", minimum=0, min_width=110)
            gr.HTML(markup.hint(TABLE))
            self.table = gr.File(
                label="Blendshape recording", show_label=False, file_types=[".csv"], height=72, elem_classes=["drop"]
            )
            taken_as_it_lies(self.table)
        example.click(self._example, None, [self.video], **LIGHT)
        looked: set[Component] = {self.video, self.table, self.rate, self.start, self.end}
        for component in (self.video, self.table, self.rate):
            component.change(self._look, looked, [self.report], trigger_mode="always_last", **LIGHT)
        for number in (self.start, self.end):
            number.blur(self._look, looked, [self.report], **LIGHT)

    @property
    def inputs(self) -> set[Component]:
        """Everything that `performance` needs."""
        return {self.video, self.table, self.rate, self.start, self.end}

    @property
    def rules(self) -> Rules:
        """Rules for a validator: something that moves, and a piece that exists."""
        return {self.video: self._something, self.start: self._piece}

    def performance(self, engine: Engine, values: Values) -> Generator[Progress, None, Performance]:
        """The expressions over time; yields progress. Raises Arc2FaceError."""
        piece = self._wanted(values)
        if values[self.video]:
            return (yield from driving.watched(engine, Path(values[self.video]), *piece, DRIVE_MOST))
        yield Progress("encoding", message="Reading the recording")
        return replay(engine, values[self.table], *piece)

    @shows_errors
    def _example(self, request: gr.Request) -> Updates:
        """A copy, as the visitor's own file: it goes with them."""
        return {self.video: str(copy_to(CLIP, self._shell.files.new_run(session_of(request)) / CLIP.name))}

    def name(self, values: Values) -> str:
        """What moves, for people."""
        return Path(values[self.video] or values[self.table] or "").name

    def _wanted(self, values: Values) -> tuple[float, float, float | None]:
        """The piece that the fields describe; an empty field, which Gradio draws as 0, means all of it."""
        return check_piece(values[self.rate], values[self.start] or 0.0, values[self.end] or None)

    def _something(self, values: Values) -> None:
        if not values[self.video] and not values[self.table]:
            raise InputError(NOTHING)

    def _piece(self, values: Values) -> None:
        self._wanted(values)

    @shows_errors
    def _look(self, values: Values) -> Updates:
        """How many pictures a run would make; what is wrong with the file is said here, before anybody waits."""
        if not values[self.video] and not values[self.table]:
            return {self.report: markup.hint(HINT)}
        try:
            return {self.report: self._frames(values) + markup.notes([(self._count(values), False)])}
        except Arc2FaceError as error:
            return {self.report: markup.notes([(words(error), True)])}

    def _count(self, values: Values) -> str:
        from arc2face.pictures.video import sample, timestamps

        rate, start, end = self._wanted(values)
        if values[self.video]:
            times = timestamps(Path(values[self.video]))
            pictures, frames = len(sample(times, rate, start, end)), f", {len(times)} frames"
            seconds = times[-1]
        else:
            seen = replay(self._shell.backend.engine(), values[self.table], rate, start, end, most=10**6)
            pictures, frames, seconds = len(seen.moments), "", seen.seconds
        limit = "" if pictures <= DRIVE_MOST else f" That is more than {DRIVE_MOST}: take a piece, or fewer per second."
        return f"{seconds:.1f} s{frames}. At {rate:g} a second that makes {pictures} pictures.{limit}"

    def _frames(self, values: Values) -> str:
        """A few frames of the piece, side by side."""
        from arc2face.pictures.video import pictures_at, sample, timestamps

        if not values[self.video]:
            return ""
        path = Path(values[self.video])
        piece = self._wanted(values)
        wanted = [one.frame for one in sample(timestamps(path), *piece)]
        few = sorted({wanted[k * (len(wanted) - 1) // (SHOWN - 1)] for k in range(SHOWN)})
        pictures = [_small(picture) for picture in pictures_at(path, few)]
        images = "".join(f'<img alt="" src="{markup.data_uri(picture)}">' for picture in pictures)
        return f'<div class="frames" role="img" aria-label="{len(pictures)} frames of the video">{images}</div>'


def _small(picture: RgbU8) -> RgbU8:
    from PIL import Image

    small = Image.fromarray(picture)
    small.thumbnail((160, 120))
    return np.asarray(small)
