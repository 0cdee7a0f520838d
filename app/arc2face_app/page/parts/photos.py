"""A drop zone for photos that says at once what it found in them, with a chooser where there are several faces."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from arc2face.errors import Arc2FaceError, InputError, SettingsError
from arc2face_app.page import markup
from arc2face_app.page.messages import shows_errors, words
from arc2face_app.page.parts.face_order import left_to_right, numbered
from arc2face_app.page.parts.keyed import Component, Rules, Updates, Values
from arc2face_app.runs.given import pictures_as_they_lie
from arc2face_app.runs.shell import INSTANT, LIGHT, Shell, session_of

if TYPE_CHECKING:
    from arc2face.engine import Engine
    from arc2face.faces.photo import Photo

Line = tuple[str, bool]
"""A sentence and whether it is a warning."""
SEVERAL = "Several people here. The clearest is chosen; tap another."
LOOKING = "Looking for a face…"
UNSHOWN = (".heic", ".heif", ".tif", ".tiff", ".jp2", ".j2k", ".jpf", ".jpx")
"""Formats that most browsers cannot show."""
LEAVE_OUT = ("Leave it out", "Leave these out")
UNUSABLE = "Photo {} cannot be used, as said below. Leave it out, or replace it."
LOADING = "Looking for a face as soon as the models are loaded."


class PhotoPicker:
    """One photo, or up to `most` of them. `inputs` are the photos, and which face counts in each, by path.

    The picks hold every photo that shows a face, so their change event tells that there is something new to look at.
    A picker for one photo keeps the newest.

    `text`: what stands under the empty drop zone. `name`: how messages call the photo. `faces`: False for pictures in
    which no face is looked for.
    """

    def __init__(
        self,
        shell: Shell,
        *,
        label: str,
        text: str,
        name: str = "the photo",
        most: int = 1,
        faces: bool = True,
        height: int = 150,
    ) -> None:
        self._shell = shell
        self._text = text
        self._name = name
        self._most = most
        self._faces = faces
        # A Gallery hands over the file as it was uploaded; gr.Image would decode it first, and fail without a message.
        self.photos = gr.Gallery(
            [],  # not None: Gradio adds a picture from the clipboard to a list only
            label=label,
            type="filepath",
            file_types=["image"],
            interactive=True,
            columns=3,
            height=height,
            object_fit="contain",
            allow_preview=False,
            buttons=[],
            sources=["upload", "webcam", "clipboard"],
            elem_classes=["photos"],
        )
        pictures_as_they_lie(self.photos)
        self.report = gr.HTML(markup.hint(text) if text else "")
        self.bad: gr.State = gr.State([])
        """Photos among several in which there is nobody, or that cannot be read."""
        self.leave = gr.Button(LEAVE_OUT[0], size="sm", visible=False, elem_classes=["leave-out"])
        self.picks: gr.State = gr.State({})
        self.shown: gr.State = gr.State("")
        with gr.Column(visible=False, elem_classes=["chooser"]) as self.chooser:
            self.boxes = gr.Image(
                label="Several people are in this photo", show_label=False, interactive=False, buttons=[], height=96
            )
            self.face = gr.Radio([], label="Which face?", info=SEVERAL)
        self._connect()

    @property
    def inputs(self) -> set[Component]:
        """Photos, picks, and which photos cannot be used."""
        return self._own

    @property
    def _own(self) -> set[Component]:
        return {self.photos, self.picks, self.bad}

    @property
    def _views(self) -> set[Component]:
        said = {self.report, self.bad, self.leave}
        return {self.photos, *said, self.picks, self.shown, self.chooser, self.boxes, self.face}

    def rules(self, missing: str = "", *, when: tuple[Component, object] | None = None) -> Rules:
        """Rules for a validator. `missing`: what to say when there is no photo; empty where it is optional.

        `when`: a component and the value that it must have for the photo to matter at all.
        """

        def rule(values: Values) -> None:
            if when is None or values[when[0]] == when[1]:
                self._check(values, missing)

        return {self.photos: rule}

    def paths(self, values: Values) -> list[str]:
        """The files, in their order."""
        return [path for path, _ in values[self.photos] or ()]

    def all(self, values: Values, session: str) -> list[Photo]:
        """The photos, with what was found in them at upload."""
        paths = self.paths(values)
        names = [self._name] if self._most == 1 or len(paths) == 1 else [f"photo {k + 1}" for k in range(len(paths))]
        photos = [self._shell.photos.get(session, path) for path in paths]
        for photo, name in zip(photos, names, strict=True):
            photo.name = name
        return photos

    def picked(self, values: Values) -> list[int | None]:
        """Which face of each photo counts, from 0; None where nothing was found yet."""
        return [(values[self.picks] or {}).get(path) for path in self.paths(values)]

    def one(self, values: Values, session: str, missing: str) -> tuple[Photo, int | None]:
        """The one photo and its face. Raises InputError with `missing` when there is none."""
        if not self.paths(values):
            raise InputError(missing)
        return self.all(values, session)[0], self.picked(values)[0]

    def inspect_after(self, event: Any) -> None:
        """Look at the photos once `event` has put them there: a gallery tells only of a visitor's own changes."""
        event.success(self._inspect, self._own, self._views, **LIGHT)

    def compare(self, engine: Engine, photos: Sequence[Photo], picks: Sequence[int | None]) -> Iterator[Line]:
        """Lines on how several photos fit together; a picker of unrelated photos has none."""
        del engine, photos, picks
        yield from ()

    def _check(self, values: Values, missing: str = "") -> None:
        paths = self.paths(values)
        if missing and not paths:
            raise InputError(missing)
        if len(paths) > self._most > 1:
            raise SettingsError(f"At most {self._most} photos, not {len(paths)}. Remove the least clear ones.")
        bad = [paths.index(path) + 1 for path in values.get(self.bad) or () if path in paths]
        if bad and len(paths) > 1:
            raise InputError(UNUSABLE.format(bad[0]))

    def _connect(self) -> None:
        self.photos.change(self._inspect, self._own, [*self._views], **LIGHT)
        self.left = self.leave.click(self._without, self._own, [self.photos], **INSTANT)
        PhotoPicker.inspect_after(self, self.left)
        if not self._faces:
            return
        chooser: set[Component] = {*self._own, self.shown}
        self.photos.select(self._show, self._own, [self.shown, self.chooser, self.boxes, self.face], **LIGHT)
        self.face.input(self._pick, {*chooser, self.face}, [self.picks, self.boxes], **LIGHT)
        self.boxes.select(self._click, chooser, [self.picks, self.boxes, self.face], **LIGHT)

    def _inspect(self, values: Values, request: gr.Request) -> Iterator[Updates]:
        """Say what was found in each photo, and open the chooser where one is needed."""
        given: list[tuple[str, Any]] = list(values[self.photos] or ())
        if len(given) > 1 and self._most == 1:
            yield {self.photos: given[-1:]}  # the newest replaces the old one; its change event looks at it
            return
        fits = len(given) <= self._most  # too many are refused below, before any is decoded
        visible = [(self._visible(path, session_of(request)), text) for path, text in given] if fits else given
        if [path for path, _ in visible] != [path for path, _ in given]:
            values = {**values, self.photos: visible}
            yield {self.photos: visible}
        if not given or not self._faces:
            report = markup.hint(self._text) if self._text and not given else ""
            yield {self.report: report, self.picks: {}, self.bad: [], self.shown: "", **self._closed()}
            return
        yield {self.report: markup.notes([(LOOKING if self._shell.backend.ready else LOADING, False)])}
        try:
            yield self._found(self._shell.backend.engine(), values, session_of(request))
        except Arc2FaceError as error:
            yield {self.report: markup.notes([(words(error), True)]), self.picks: {}, self.bad: [], **self._closed()}

    def _without(self, values: Values) -> Updates:
        """The photos that can be used."""
        return {self.photos: [one for one in values[self.photos] or () if one[0] not in values[self.bad]]}

    def _visible(self, path: str, session: str) -> str:
        """The file, or a PNG of the same pixels where browsers could show a broken picture only."""
        if not path.lower().endswith(UNSHOWN) or not os.path.isfile(path):
            return path
        from arc2face.pictures.loading import load_rgb_u8
        from arc2face.pictures.saving import save_picture

        try:
            pixels = load_rgb_u8(path)
            return str(save_picture(pixels, self._shell.files.new_run(session) / f"{Path(path).stem[:60]}.png"))
        except Arc2FaceError:  # the look for faces says what is wrong with it
            return path

    def _found(self, engine: Engine, values: Values, session: str) -> Updates:
        self._check({**values, self.bad: []})  # before any of too many is decoded
        photos = self.all(values, session)
        lines: list[Line] = []
        kept: dict[str, int] = {}
        crowded: Photo | None = None
        for photo, pick in zip(photos, self.picked(values), strict=True):
            faces = self._look(engine, photo, lines)
            if faces:
                kept[str(photo.path)] = min(pick or 0, faces - 1)
            if faces > 1:
                crowded = crowded or photo
        if len(photos) > 1 and not lines:
            lines.extend(self.compare(engine, photos, [kept.get(str(photo.path)) for photo in photos]))
        good = "1 face found." if len(photos) == 1 else f"{len(photos)} photos, a face in each."
        said = markup.notes(lines) or ("" if crowded is not None else markup.hint(good))
        bad = [str(photo.path) for photo in photos if str(photo.path) not in kept] if kept else []
        leave = gr.update(visible=bool(bad), value=LEAVE_OUT[len(bad) > 1])
        updates = {self.report: said, self.picks: kept, self.bad: bad}
        opened = self._closed() if crowded is None else self._opened(engine, crowded, kept)
        return {**updates, self.shown: "" if crowded is None else str(crowded.path), **opened, self.leave: leave}

    @staticmethod
    def _look(engine: Engine, photo: Photo, lines: list[Line]) -> int:
        """How many faces a photo holds; what is wrong with it is added to `lines`, as the run would say it."""
        try:
            engine.perception.face(photo)
            return len(photo.faces(engine.faces))
        except InputError as error:
            lines.append((words(error), True))
            return 0

    @shows_errors
    def _show(self, values: Values, request: gr.Request, event: gr.SelectData) -> Updates:
        """Open the chooser for the photo that was clicked, if it holds several faces."""
        index = event.index if isinstance(event.index, int) else 0
        photos = self.all(values, session_of(request))
        engine, picks = self._shell.backend.engine(), values[self.picks]
        if index >= len(photos) or str(photos[index].path) not in picks:
            return {self.shown: gr.skip()}
        if len(photos[index].faces(engine.faces)) < 2:
            return {self.shown: gr.skip()}
        return {self.shown: str(photos[index].path), **self._opened(engine, photos[index], picks)}

    @shows_errors
    def _pick(self, values: Values, request: gr.Request) -> Updates:
        photo = self._shell.photos.get(session_of(request), values[self.shown])
        order = left_to_right(photo.faces(self._shell.backend.engine().faces))
        changed = {**values[self.picks], values[self.shown]: order[int(values[self.face]) - 1]}
        return {self.picks: changed, self.boxes: self._boxed(values, request, changed)}

    @shows_errors
    def _click(self, values: Values, request: gr.Request, event: gr.SelectData) -> Updates:
        x, y = event.index
        shown, engine = values[self.shown], self._shell.backend.engine()
        faces = self._shell.photos.get(session_of(request), shown).faces(engine.faces)
        inside = [
            k for k, face in enumerate(faces) if face.box[0] <= x <= face.box[2] and face.box[1] <= y <= face.box[3]
        ]
        changed = {**values[self.picks], **({shown: inside[0]} if inside else {})}
        return {
            self.picks: changed,
            self.boxes: self._boxed(values, request, changed),
            self.face: str(left_to_right(faces).index(changed[shown]) + 1),
        }

    def _closed(self) -> Updates:
        closed = gr.update(visible=False)
        return {
            self.chooser: closed,
            self.leave: closed,
            self.boxes: None,
            self.face: gr.update(choices=[], value=None),
        }

    def _opened(self, engine: Engine, photo: Photo, picks: Mapping[str, int]) -> Updates:
        order = left_to_right(photo.faces(engine.faces))
        names = [str(number) for number in range(1, len(order) + 1)]
        chosen = picks[str(photo.path)]
        return {
            self.chooser: gr.update(visible=True),
            self.boxes: _boxes(engine, photo, chosen),
            self.face: gr.update(choices=names, value=names[order.index(chosen)]),
        }

    def _boxed(self, values: Values, request: gr.Request, picks: Mapping[str, int]) -> Any:
        shown = values[self.shown]
        photo = self._shell.photos.get(session_of(request), shown)
        return _boxes(self._shell.backend.engine(), photo, picks.get(shown, 0))


def _boxes(engine: Engine, photo: Photo, pick: int) -> Any:
    from arc2face.faces.boxes import draw_boxes

    faces = photo.faces(engine.faces)
    return draw_boxes(photo.rgb_u8, numbered(faces), left_to_right(faces).index(pick))
