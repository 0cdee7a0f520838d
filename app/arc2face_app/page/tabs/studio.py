"""Studio: a small data set of people, planned, drawn, looked at and exported. Off where others reach the page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import gradio as gr

from arc2face.errors import CancelledError, InputError
from arc2face.types import Progress
from arc2face_app.page import markup
from arc2face_app.page.messages import as_shown, shows_errors, tell, warn, words
from arc2face_app.page.parts.board import KEEP, board, ids_of
from arc2face_app.page.parts.handed import fetch_after
from arc2face_app.page.parts.keyed import Component, Updates, Values, validator
from arc2face_app.page.parts.notices import missing_notice
from arc2face_app.page.parts.results import RunButtons
from arc2face_app.page.parts.set_form import SetForm
from arc2face_app.runs import datasets, runner
from arc2face_app.runs.datasets import DrawnSet
from arc2face_app.runs.shell import HEAVY, INSTANT, LIGHT, session_of

if TYPE_CHECKING:
    from arc2face_app.page.parts.follow import PageShell

TITLE = "Studio"
LEAD = "The same people in many poses and expressions, scored and ready for training or for a study."
NOTHING = "There is no set yet: draw one first."
EXPORTS = {
    "A folder per person": "folder",
    "LoRA: pictures with captions": "lora",
    "WebDataset (tar)": "webdataset",
    "Parquet, with a card for the Hub": "parquet",
    "RecordIO of ArcFace crops": "rec",
    "The set itself, for the command line": datasets.WHOLE,
}


def build(shell: PageShell) -> None:
    """Lay out the tab and connect its events."""
    gr.HTML(markup.lead("A set of people", LEAD))
    missing_notice(shell, "pose", "expression")
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=320, elem_classes=["card"]):
            form = SetForm(shell)
        with gr.Column(scale=7, min_width=320, elem_classes=["card", "stage"]):
            tab = _Studio(shell, form)
    form.connect(shell.here.select)
    tab.connect()


class _Studio:
    """The right half: progress, the grid, and what goes out."""

    def __init__(self, shell: PageShell, form: SetForm) -> None:
        self.shell, self.form = shell, form
        self.buttons = RunButtons("Draw the set")
        form.build_preview()
        self.status = gr.HTML("", visible=False)
        with gr.Column(visible=False) as self.shown:
            self.board = board("dataset", elem_classes=["results", "set-board"])
            self.summary = gr.HTML("")
            with gr.Row(elem_classes=["tools"]):
                self.least = gr.Slider(
                    0,
                    0.95,
                    value=0,
                    step=0.05,
                    label="Leave out below this similarity",
                    info="0: none.",
                    buttons=[],
                    min_width=220,
                )
                self.to = gr.Dropdown(list(EXPORTS.items()), value="folder", label="Save as", min_width=200)
                self.save = gr.Button("Download (.zip)", min_width=150)
        self.packed = gr.DownloadButton(visible=False)
        self.drawn: gr.State = gr.State(None)
        self.left_out: gr.State = gr.State(())

    def connect(self) -> None:
        """Wire the run, Stop, what is left out, and the export."""
        own = {self.buttons.run, self.buttons.cancel, self.status, self.shown, self.board, self.summary}
        outputs: set[Component] = {*own, self.drawn, self.left_out, self.form.preview}
        inputs: set[Component] = {*self.form.inputs, self.drawn}
        check = validator(inputs, self.form.rules)
        self.buttons.run.click(self._run, inputs, [*outputs], validator=check, **HEAVY)
        self.buttons.connect_cancel(self.shell, TITLE)
        kept: set[Component] = {self.drawn, self.least, self.left_out}
        getattr(self.board, KEEP)(self._leave, kept, [self.left_out, self.board, self.summary], **INSTANT)
        self.least.input(self._redraw, kept, [self.board, self.summary], trigger_mode="always_last", **INSTANT)
        fetch_after(self.save.click(self._pack, {*kept, self.to}, [self.packed], **LIGHT), self.packed)

    def _run(self, values: Values, request: gr.Request) -> Iterator[Updates]:
        session, before = session_of(request), values[self.drawn]
        try:
            wanted = self.form.wanted(values, session, self.shell.backend.engine())
            waiting = gr.update(value=markup.progress(Progress("queued")), visible=True)
            yield {self.status: waiting, self.shown: gr.update(visible=False), **self.buttons.busy()}
            for event in datasets.follow(self.shell, session, wanted, TITLE):
                if isinstance(event, Progress):
                    yield {self.status: markup.progress(event)}
                else:
                    yield self._finished(event)
        except runner.ReplacedError:
            return
        except CancelledError:
            yield {**self._back(before, ""), **self.buttons.free()}
            tell("Stopped. Your inputs are untouched.", seconds=4)
        except Exception as error:
            said = words(error)
            yield {**self._back(before, markup.failure(said)), **self.buttons.free()}
            raise as_shown(said) from None

    def _finished(self, drawn: DrawnSet) -> Updates:
        if drawn.stopped:
            warn(f"{len(drawn.tiles)} of {drawn.asked} pictures are finished and kept.")
        self.form.seconds = drawn.seconds_each or self.form.seconds
        return {
            self.status: gr.update(value="", visible=False),
            self.shown: gr.update(visible=True),
            self.drawn: drawn,
            self.left_out: (),
            **self._view(drawn, (), None),
            **self.buttons.free(),
        }

    def _back(self, before: DrawnSet | None, said: str) -> Updates:
        """The set before comes back."""
        return {
            self.status: gr.update(value=said, visible=bool(said)),
            self.shown: gr.update(visible=before is not None),
        }

    def _view(self, drawn: DrawnSet, left_out: tuple[str, ...], least: float | None) -> Updates:
        out = set(left_out)
        low = {one.key for one in drawn.tiles if least is not None and (one.score is None or one.score < least)}
        entries = [
            {"id": one.key, "person": one.person, "file": one.file, "score": one.score, "shows": one.shows,
             "out": one.key in out or one.key in low, "low": one.key in low}
            for one in drawn.tiles
        ]  # fmt: skip
        stay = [one for one in drawn.tiles if one.key not in out | low]
        return {self.board: {"entries": entries}, self.summary: _summary(drawn, stay)}

    @shows_errors
    def _leave(self, values: Values, event: gr.EventData) -> Updates:
        """Take pictures out of the export, or back into it."""
        data: Any = event._data  # pyright: ignore[reportPrivateUsage] - the only way to what an event brings
        drawn: DrawnSet | None = values[self.drawn]
        if drawn is None or not isinstance(data, dict):
            return {self.left_out: gr.skip()}
        known = {one.key for one in drawn.tiles}.intersection(ids_of(data))
        before = set(values[self.left_out])
        left_out = tuple(sorted(before | known if data.get("on") is True else before - known))
        return {self.left_out: left_out, **self._view(drawn, left_out, _least(values[self.least]))}

    def _redraw(self, values: Values) -> Updates:
        drawn: DrawnSet | None = values[self.drawn]
        if drawn is None:
            return {self.summary: gr.skip()}
        return self._view(drawn, values[self.left_out], _least(values[self.least]))

    @shows_errors
    def _pack(self, values: Values, request: gr.Request) -> Updates:
        drawn: DrawnSet | None = values[self.drawn]
        if drawn is None:
            raise InputError(NOTHING)
        target = self.shell.files.new_run(session_of(request)) / f"people-{values[self.to]}.zip"
        least = _least(values[self.least])
        return {self.packed: str(datasets.export_zip(drawn, values[self.to], values[self.left_out], least, target))}


def _least(value: float) -> float | None:
    return value or None


def _summary(drawn: DrawnSet, stay: list[datasets.Tile]) -> str:
    """What goes out, how similar it is, and what could not be had."""
    scores = [one.score for one in stay if one.score is not None]
    people = markup.people(len({one.person for one in stay}))
    facts = [f"<b>{len(stay)}</b> of {len(drawn.tiles)} pictures", people]
    if scores:
        facts.append(f"mean similarity <b>{sum(scores) / len(scores):.2f}</b>")
    lines = [(text, True) for text in drawn.failed[:3]]
    if len(drawn.failed) > 3:
        lines.append((f"{len(drawn.failed) - 3} more pictures could not be had.", True))
    said = markup.notes(lines)
    return f'{said}<div class="summary" role="status">{" · ".join(facts)}</div>'
