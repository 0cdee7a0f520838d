"""One tab's pieces and how they are wired, so that every tab runs, stops, fails and remembers in the same way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
import numpy as np

from arc2face.errors import CancelledError, InputError, StorageError
from arc2face.series import Frame
from arc2face.sources import Person
from arc2face.types import GenerationRequest, Progress, RgbU8
from arc2face_app.page import markup
from arc2face_app.page.messages import as_shown, tell, warn, words
from arc2face_app.page.parts.examples import TAPPED
from arc2face_app.page.parts.follow import PageShell
from arc2face_app.page.parts.keyed import Component, Rules, Updates, Values, joined, validator
from arc2face_app.page.parts.person import PersonPicker
from arc2face_app.page.parts.recipe import RecipeDrop
from arc2face_app.page.parts.results import Made, ResultsPanel, RunButtons
from arc2face_app.page.parts.settings import GenerationControls
from arc2face_app.runs import runner
from arc2face_app.runs.pace import steadied
from arc2face_app.runs.pictures import Picture, Run, bound, noted, save_pictures
from arc2face_app.runs.shell import HEAVY, session_of

if TYPE_CHECKING:
    from arc2face.engine import Engine

Extra = Callable[[runner.Results, Sequence[Picture]], "tuple[Updates, Sequence[Path | Picture]]"]
"""What comes after the pictures: more updates, and more of the run: pictures for the gallery, files for the zip.

An animation (WebP) among the files is shown, with the contact sheet (PNG) that comes with it. When it fails, that is
only a warning.
"""
STOPPED = "The run here ended when the page was loaded anew. Press Make pictures to start it again."
FACE_SIZE, FACE_MARGIN = 96, 0.35
FRAME_SIZE, FRAME_MARGIN = 512, 0.32
"""For comparing: about the room that the models leave around a face."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One run as it was asked for. `base`: person and settings, to which a tab adds what is its own."""

    engine: Engine
    session: str
    values: Values
    person: Person
    base: GenerationRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What one run makes. `names`: captions of the pictures. `notes`: what its recipes say for the page."""

    requests: Sequence[GenerationRequest]
    names: Sequence[str] = ()
    extras: Sequence[Extra] = ()
    notes: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @classmethod
    def of_series(cls, frames: Iterable[Frame]) -> Work:
        """One picture per frame, then a contact sheet and an animation."""
        listed = list(frames)
        requests, names = [frame.request for frame in listed], [frame.name for frame in listed]
        return cls(requests=requests, names=names, extras=[_series])


Planner = Callable[[Asked], Work]


@dataclass(slots=True, kw_only=True)
class Workbench:
    """`more`: components of this tab alone that its plans read; `outputs`: components that its extras update.

    `cleared`: what a new run does to `outputs`.
    """

    shell: PageShell
    title: str
    controls: GenerationControls
    panel: ResultsPanel
    buttons: RunButtons
    drop: RecipeDrop
    more: set[Component] = field(default_factory=set[Component])
    outputs: set[Component] = field(default_factory=set[Component])
    cleared: Callable[[], Updates] = dict

    def __post_init__(self) -> None:
        self.panel.shell = self.shell

    @property
    def person(self) -> PersonPicker:
        """The person of the page."""
        return self.shell.person

    def connect(self, plan: Planner, rules: Rules | None = None) -> None:
        """Wire the primary action, the tap on an example person, Stop and the recipe drop zone."""
        self.shell.benches.append(self)
        self.add_action(self.buttons.run, plan, rules)
        tapped = gr.Button("Run", visible="hidden", elem_classes=[TAPPED])
        # Not "once": a tap during a run counts, and its run takes the other's place.
        tapped.click(self._generator(plan), trigger_mode="multiple", **self._event())
        self.buttons.connect_cancel(self.shell, self.title)
        self.drop.connect(self.title.lower())

    def add_action(self, button: gr.Button, plan: Planner, rules: Rules | None = None) -> None:
        """Let another button start a run with a plan of its own. `rules`: what is asked of the tab's own components."""
        asked = {**self.person.person_rules, **self.controls.rules, **(rules or {})}
        button.click(self._generator(plan), validator=validator(self._inputs, asked), **self._event())

    def again(self, session: str, *, stopped: bool) -> Updates:
        """What the tab shows after the page was loaded anew. `stopped`: a run was under way, which ended with it."""
        run = next((run for run, _ in self.shell.runs.shown(session) if run.tab == self.title), None)
        return self.panel.again(run, session, STOPPED if stopped else "")

    @property
    def _inputs(self) -> set[Component]:
        return {*joined(self.person.inputs, self.controls.inputs, self.more), self.panel.made}

    def _event(self) -> dict[str, Any]:
        own = {self.buttons.run, self.buttons.cancel, self.controls.seed, self.shell.history}
        return {"inputs": self._inputs, "outputs": {*self.panel.outputs, *own, *self.outputs}, **HEAVY}

    def _generator(self, plan: Planner) -> Callable[..., Iterator[Updates]]:
        def generate(values: Values, request: gr.Request) -> Iterator[Updates]:
            before, session = values[self.panel.made], session_of(request)
            page = self.shell.visits.page(session)
            page.running.add(self.title)
            try:
                fields = self.controls.fields(values)
                yield {**self.panel.started(), **self.buttons.busy(), self.controls.seed: fields["seed"]}
                yield from self._run(plan, fields, values, session)
                page.running.discard(self.title)
            except runner.ReplacedError:
                return  # the newer run has the panel
            except CancelledError:
                if not page.gone:
                    page.running.discard(self.title)
                yield {**self.panel.stopped(before), **self.buttons.free()}
                tell("Stopped. Your inputs are untouched.", seconds=4)
            except Exception as error:
                page.running.discard(self.title)
                said = words(error)
                yield {**self.panel.failed(said, before), **self.buttons.free()}
                raise as_shown(said) from None

        return generate

    def _run(self, plan: Planner, fields: dict[str, Any], values: Values, session: str) -> Iterator[Updates]:
        asked: list[Asked] = []
        works: list[Work] = []

        def prepare(engine: Engine) -> Sequence[GenerationRequest]:
            person = self.person.person(engine, values, session)
            for warning in person.warnings:
                warn(warning)
            asked.append(self._asked(engine, session, values, person, fields))
            works.append(plan(asked[0]))
            return works[0].requests

        def pictures() -> int:
            return sum(request.num_images for work in works for request in work.requests)

        events = runner.follow(self.shell, session, prepare, self.title)
        for event in steadied(events, self.shell.pace, pictures):
            if isinstance(event, Progress):
                if event.stage != "done":  # the pictures say that; they still have to be saved
                    yield self.panel.progress(event)
                continue
            yield from self._shown(asked[0], works[0], event)

    def _asked(self, engine: Engine, session: str, values: Values, person: Person, fields: Mapping[str, Any]) -> Asked:
        negative = self.controls.not_like.find(self.shell, session, engine, values)
        base = GenerationRequest(identity=person.identity, negative=negative, **fields)
        return Asked(engine=engine, session=session, values=values, person=person, base=base)

    def _shown(self, asked: Asked, work: Work, results: runner.Results) -> Iterator[Updates]:
        """The pictures first; what may still fail comes second."""
        run = {name: getattr(asked.base, name) for name in ("num_images", "seed", "keep_best")}
        results = noted(results, {**(run if len(work.requests) == 1 else {}), **work.notes})
        pictures = save_pictures(self.shell, asked.session, results, self.title.lower(), work.names)
        run = Run.now(self.title, self._kept(pictures), self.person.name(asked.values), self._before(asked, pictures))
        revision = self.shell.runs.put(asked.session, run)
        done = self.panel.finished(self._source(asked), run, results, asked.session)
        yield {**done, **self.buttons.free(), self.shell.history: revision, **self.cleared()}
        made = Made(run.id)
        for extra in work.extras:
            try:
                updates, more = extra(results, pictures)
                files = [one for one in more if isinstance(one, Path)]
                others = [bound(one, pictures) if isinstance(one, Path) else one for one in more]
                run = run.with_more(self._kept(others))
            except Exception as error:  # the pictures are there, whatever else is not
                warn(words(error))
                continue
            revision, made = self.shell.runs.put(asked.session, run), made.with_files(files)
            yield {**updates, **self.panel.showing(made, asked.session), self.shell.history: revision}

    def _kept(self, pictures: Sequence[Picture]) -> Sequence[Picture]:
        """The pictures, in the outputs folder too where there is one."""
        try:
            return self.shell.outputs.keep(pictures)
        except StorageError as error:
            warn(words(error))
            return pictures

    def _before(self, asked: Asked, pictures: Sequence[Picture]) -> str:
        """What pictures are compared with: the face in the photo, framed like them; empty without a photo."""
        from arc2face.pictures.saving import save_picture

        if asked.person.report is None:
            return ""
        try:
            face = _face(asked.engine, asked.person, FRAME_MARGIN, FRAME_SIZE)
            return str(save_picture(face, Path(pictures[0].path).with_name("photo.png")))
        except (InputError, StorageError):
            return ""

    def _source(self, asked: Asked) -> str:
        text = f"Made from {self.person.name(asked.values)}"
        if asked.person.report is None:
            return markup.source(None, text)
        try:
            return markup.source(_face(asked.engine, asked.person, FACE_MARGIN, FACE_SIZE), text)
        except InputError:
            return markup.source(None, text)


def _face(engine: Engine, person: Person, margin: float, size: int) -> RgbU8:
    """The face that the pictures were made from, square, at most `size` pixels a side.

    `margin`: room around the face as a share of its longer side; beyond the photo the edge is repeated.
    """
    from PIL import Image

    photo = person.photo("Showing the face")
    x0, y0, x1, y1 = (float(value) for value in photo.face(engine.faces, person.pick).box)
    side = max(8, round(max(x1 - x0, y1 - y0) * (1 + 2 * margin)))
    left, top = round((x0 + x1 - side) / 2), round((y0 + y1 - side) / 2)
    height, width = photo.rgb_u8.shape[:2]
    rows = np.clip(np.arange(top, top + side), 0, height - 1)
    columns = np.clip(np.arange(left, left + side), 0, width - 1)
    face = Image.fromarray(photo.rgb_u8[np.ix_(rows, columns)])
    face.thumbnail((size, size), Image.Resampling.LANCZOS)
    return np.asarray(face)


def _series(results: runner.Results, pictures: Sequence[Picture]) -> tuple[Updates, Sequence[Path]]:
    """The contact sheet and the animation of a series."""
    from arc2face.series import save_series

    folder = Path(pictures[0].path).parent
    frames = [image.rgb_u8 for result in results for image in result.images]
    return {}, save_series(frames, folder / "contact-sheet.png", folder / "animation.webp")
