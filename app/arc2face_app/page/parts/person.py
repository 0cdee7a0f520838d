"""Who: photos of a person or a saved identity, and what becomes of them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from arc2face import sources
from arc2face.errors import EmbeddingError
from arc2face.settings import COMBINE_METHODS, MAX_PHOTOS
from arc2face.sources.person import NOBODY
from arc2face_app.page import markup
from arc2face_app.page.messages import shows_errors, warn
from arc2face_app.page.parts.handed import hand_over
from arc2face_app.page.parts.keyed import Component, Rules, Updates, Values
from arc2face_app.page.parts.photos import Line, PhotoPicker
from arc2face_app.page.theme import EXAMPLES
from arc2face_app.runs.given import taken_as_it_lies
from arc2face_app.runs.shell import INSTANT, QUIET, TELLING, Shell, session_of

if TYPE_CHECKING:
    from arc2face.engine import Engine
    from arc2face.faces.photo import Photo

REPLACED = "The new photo takes the place of the saved identity."
AS_ONE = {"mean": "average", "median": "median"}
"""What several photos of a person become, by the way they are combined."""
SOMEBODY_NEW = "somebody-new.png"
"""File of a person drawn on demand."""
INVITATION = "One or several photos; all tabs use them."


class PersonPicker(PhotoPicker):
    """Photos of one person, or an identity file, and which face counts in each photo. The newest of both counts.

    A saved identity that is loaded while there are photos says who; the photos then lend look and head shape only. A
    photo that is added later takes its place.
    """

    def __init__(self, shell: Shell) -> None:
        self.who = gr.HTML(markup.who(""))
        self.count: gr.State = gr.State(0)
        """How many photos there were, so that an added one is told from a removed one."""
        super().__init__(shell, label="Photos of one person", text=INVITATION, most=MAX_PHOTOS, height=92)

    def build_more(self) -> None:
        """The folded part, placed by the tab where it is out of the way: identity files and several photos."""
        with gr.Accordion("Saved identity, several photos", open=False):
            gr.HTML(markup.hint("A saved identity (.npz or .npy) takes the place of photos."))
            self.identity_file = gr.File(
                label="Saved identity", show_label=False, file_types=[".npz", ".npy"], height=72, elem_classes=["drop"]
            )
            taken_as_it_lies(self.identity_file)
            self.method = gr.Radio(
                [(words, name) for name, words in COMBINE_METHODS.items()],
                value="mean",
                label="Combine several photos by",
            )
            self.drop_outliers = gr.Checkbox(False, label="Leave out photos that look like someone else")
            save = gr.Button("Save this identity to a file", size="sm")
        hand_over(save.click, self._save, self.inputs)
        told = self._telling
        self.method.input(self._named, told, [self.who], **INSTANT)
        self.identity_file.change(self._named, told, [self.who], **INSTANT)
        self.photos.change(self._named, told, [self.who], **INSTANT)
        self.left.success(self._named, told, [self.who], **INSTANT)
        self.picks.change(self._remembered, told, None, **TELLING)
        # Not behind the look for faces: who counts must be right before anybody can press a button.
        replaced: dict[str, Any] = {**QUIET, "concurrency_limit": None}
        self.photos.change(self._replaced, {*self.filled, self.count}, [self.identity_file, self.count], **replaced)

    @property
    def filled(self) -> set[Component]:
        """What says who it is: photos and identity file."""
        return {self.photos, self.identity_file}

    @property
    def _telling(self) -> set[Component]:
        return {*self.filled, self.picks, self.method}

    @property
    def fillable(self) -> set[Component]:
        """Components that `filled_with` updates; `again` fills the picks, too."""
        return {*self.filled, self.count}

    def filled_with(self, path: str) -> Updates:
        """One photo, from somewhere else than an upload; the newest counts. `inspect_after` belongs to it."""
        return {self.photos: [path], self.identity_file: None, self.count: 1}

    def again(self, session: str) -> Updates:
        """The person of the page that this one was loaded in place of, as far as the files are there."""
        before = self._shell.visits.page(session)
        photos = [path for path in before.photos if os.path.isfile(path)]
        identity = before.identity if before.identity and os.path.isfile(before.identity) else None
        if not photos and not identity:
            return {}
        known = {path: face for path, face in before.picks.items() if path in photos}
        return {self.photos: photos, self.picks: known, self.identity_file: identity, self.count: len(photos)}

    def inspect_after(self, event: Any) -> None:
        """Look at the photos, and say whose they are, once `event` has put them there."""
        super().inspect_after(event)
        event.success(self._named, self._telling, [self.who], **INSTANT)

    @property
    def inputs(self) -> set[Component]:
        """Photos, picks, identity file, method and leave-out switch."""
        return {*self._own, self.identity_file, self.method, self.drop_outliers}

    @property
    def person_rules(self) -> Rules:
        """Rules for a validator: somebody, and not too many photos."""
        return {self.photos: lambda values: self._check(values, "" if values[self.identity_file] else NOBODY)}

    def person(self, engine: Engine, values: Values, session: str) -> sources.Person:
        """Who the values describe; what was found at upload is used. Raises Arc2FaceError."""
        return sources.find_person(
            engine,
            self.all(values, session),
            picks=self.picked(values),
            identity_file=values[self.identity_file],
            method=values[self.method],
            drop_outliers=values[self.drop_outliers],
        )

    def name(self, values: Values) -> str:
        """Who the values describe, for people: file names, as they were uploaded."""
        if values[self.identity_file]:
            return f"the saved identity {Path(values[self.identity_file]).name}"
        paths = self.paths(values)
        return source_name(paths[0]) if len(paths) == 1 else f"{len(paths)} photos"

    def compare(self, engine: Engine, photos: Sequence[Photo], picks: Sequence[int | None]) -> Iterator[Line]:
        """How well several photos agree on one person."""
        try:
            report = sources.find_person(engine, photos, picks=picks).report
        except EmbeddingError as error:
            yield str(error), True
            return
        assert report is not None
        cosines = ", ".join(f"{cosine:.2f}" for cosine in report.cosines)
        yield (
            f"{len(photos)} photos, a face in each; the × on one drops it. Agreement with the group: {cosines}.",
            False,
        )
        for warning in report.warnings:
            yield warning, True

    def _remembered(self, values: Values, request: gr.Request) -> None:
        """For the page that may be loaded in place of this one."""
        page = self._shell.visits.page(session_of(request))
        page.photos, page.picks = self.paths(values), dict(values[self.picks] or {})
        page.identity = values[self.identity_file]

    def _named(self, values: Values, request: gr.Request) -> Updates:
        """The chip that says who counts, and where from."""
        self._remembered(values, request)
        if not any(values[component] for component in self.filled):
            return {self.who: markup.who("")}
        lends = "; the photo lends its look and head shape" if all(values[one] for one in self.filled) else ""
        several = not values[self.identity_file] and len(self.paths(values)) > 1
        how = f"{AS_ONE[values[self.method]]} of " if several else ""
        return {self.who: markup.who(f"{how}{self.name(values)}{lends}")}

    def _replaced(self, values: Values) -> Updates:
        """The newest counts: a photo that was added, in whatever way, takes the place of a saved identity."""
        count = len(self.paths(values))
        if count <= values[self.count] or not values[self.identity_file]:
            return {self.count: count}
        warn(REPLACED)
        return {self.count: count, self.identity_file: None}

    @shows_errors
    def _save(self, values: Values, request: gr.Request) -> str:
        from arc2face.faces.identities import save_identity

        session = session_of(request)
        found = self.person(self._shell.backend.engine(), values, session)
        for warning in found.warnings:
            warn(warning)
        target = self._shell.files.new_run(session) / "identity.npz"
        save_identity(target, found.identity)
        return str(target)


def source_name(path: str) -> str:
    """Where a photo came from, for people: the name of the file, unless the page itself has provided it."""
    found = Path(path)
    if found.name == SOMEBODY_NEW:
        return "somebody freshly drawn"
    if any((EXAMPLES / folder / found.name).is_file() for folder in ("faces", "groups")):
        return "an example person"
    return found.name
