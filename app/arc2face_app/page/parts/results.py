"""What came out: progress, pictures with their scores, downloads, and the updates that a run sends to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from arc2face.errors import InputError
from arc2face.types import Progress
from arc2face_app.page import markup
from arc2face_app.page.messages import shows_errors
from arc2face_app.page.parts.board import board, entries_of, outputs_folder, remembered_of
from arc2face_app.page.parts.handed import fetch_after
from arc2face_app.page.parts.keyed import Component, Updates, Values
from arc2face_app.page.parts.picture_tools import PictureTools
from arc2face_app.runs import runner
from arc2face_app.runs.pictures import FILM, SHEET, Picture, Run, pack
from arc2face_app.runs.shell import INSTANT, LIGHT, Shell, session_of

if TYPE_CHECKING:
    from arc2face_app.page.parts.follow import PageShell
    from arc2face_app.page.parts.workbench import Workbench

AS_MADE, MOST_SIMILAR = "As made", "Most similar first"
EXPLANATION = (
    "Similarity compares the face in each picture with your photo: 1.00 is the same face to the recogniser, "
    "strangers are near 0."
)
NOTHING = "There is nothing to download yet."
MOVING = (".webp", ".gif")
STRANGER = -2.0
"""What a picture without a score is sorted by."""


@dataclass(frozen=True, slots=True)
class Made:
    """What the panel shows: a run (its id in the store), and further files of it, such as an animation."""

    run: str = ""
    files: tuple[str, ...] = ()

    def with_files(self, files: Iterable[Path]) -> Made:
        """The same with more files."""
        return replace(self, files=(*self.files, *map(str, files)))


class ResultsPanel:
    """The right half of a tab. `aside`: labels of small pictures shown under the results, such as the normal map.

    A run that fails or is stopped leaves the pictures of the run before.
    """

    def __init__(
        self,
        *,
        invitation: str,
        showcase: str = "",
        aside: Sequence[str] = (),
        above: Callable[[], None] | None = None,
    ) -> None:
        """`showcase`: markup of what comes out, until there is a first run. `above`: builds what stands over them."""
        self._invitation = markup.idle("Your pictures appear here", invitation, showcase)
        self.status = gr.HTML(self._invitation)
        with gr.Column(visible=False) as self.shown:
            self.source = gr.HTML("")
            if above is not None:
                above()
            self.board = board("results", elem_classes=["results"])
            self.summary = gr.HTML("")
            with gr.Row(elem_classes=["tools"]):
                self.order = gr.Radio([AS_MADE, MOST_SIMILAR], value=AS_MADE, label="Order", scale=2, min_width=240)
                self.zip = gr.Button("Download all (.zip)", size="md", scale=1, min_width=160)
            with gr.Row(visible=False, elem_classes=["aside"]) as self.aside_row:
                self.aside = [
                    gr.Image(
                        label=label, interactive=False, buttons=["download"], height=180, min_width=120, format="png"
                    )
                    for label in aside
                ]
        self.shell: Shell
        """Set by the workbench that the panel belongs to."""
        self.packed = gr.DownloadButton(visible=False)
        self.made: gr.State = gr.State(Made())

    def connect(self, shell: PageShell, bench: Workbench) -> None:
        """Wire the order, the zip, and what can be done with each picture; once all tabs are there."""
        looked: set[Component] = {self.made, self.order}
        self.order.input(self._redraw, looked, [self.board], **INSTANT)
        shell.history.change(self._redraw, looked, [self.board], **INSTANT)
        fetch_after(self.zip.click(self._pack, {self.made}, [self.packed], **LIGHT), self.packed)
        PictureTools(shell, self.board, self.packed).connect([bench])

    @property
    def outputs(self) -> set[Component]:
        """Components that a run updates."""
        results = {self.source, self.board, self.summary, self.order, self.made}
        return {self.status, self.shown, *results, self.aside_row, *self.aside}

    def started(self) -> Updates:
        """The moment after the click."""
        waiting = markup.progress(Progress("queued"))
        return {self.status: gr.update(value=waiting, visible=True), self.shown: gr.update(visible=False)}

    def progress(self, event: Progress) -> Updates:
        """While it runs."""
        return {self.status: markup.progress(event)}

    def finished(self, source: str, run: Run, results: runner.Results, session: str) -> Updates:
        """When the pictures are there. `source`: markup that says whose they are. The run stands in the store."""
        made = Made(run.id)
        return {
            self.status: gr.update(value="", visible=False),
            self.shown: gr.update(visible=True),
            self.source: source,
            self.summary: _summary(run.pictures, results),
            self.order: AS_MADE,
            self.aside_row: gr.update(visible=False),
            **self.showing(made, session),
        }

    def showing(self, made: Made, session: str, order: str = AS_MADE) -> Updates:
        """The pictures of a run as they stand in the store, and its further files."""
        return {self.made: made, self.board: self._drawn(made, session, order)}

    def with_aside(self, *pictures: Any) -> Updates:
        """Fill the small pictures, in the order of their labels."""
        pairs = zip(self.aside, pictures, strict=True)
        filled = {part: gr.update(value=picture, visible=picture is not None) for part, picture in pairs}
        return {self.aside_row: gr.update(visible=True), **filled}

    def failed(self, message: str, before: Made) -> Updates:
        """When it could not be done: the pictures made before stay.

        The message goes once something of what was asked for is changed, or another run starts (`assets/sayings.js`).
        """
        below = "" if before.run else self._invitation
        return {self.status: markup.failure(message) + below, self.shown: gr.update(visible=bool(before.run))}

    def stopped(self, before: Made) -> Updates:
        """When the visitor asked to stop: what was there before comes back."""
        some = bool(before.run)
        status = gr.update(value="" if some else self._invitation, visible=not some)
        return {self.status: status, self.shown: gr.update(visible=some)}

    def again(self, run: Run | None, session: str, note: str) -> Updates:
        """After the page was loaded anew: the pictures of a run, where there is one, and a sentence over them."""
        if run is None and not note:
            return {}
        said = markup.notes([(note, True)]) if note else ""
        if run is None:
            return {self.status: said + self._invitation}
        further = tuple(picture.path for picture in run.pictures if picture.kind in (FILM, SHEET))
        return {
            self.status: gr.update(value=said, visible=bool(said)),
            self.shown: gr.update(visible=True),
            self.source: markup.source(None, f"Made from {run.person}") if run.person else "",
            **self.showing(Made(run.id, further), session),
        }

    def _drawn(self, made: Made, session: str, order: str) -> dict[str, Any]:
        from arc2face.pictures.animation import can_write

        stamp = self.shell.runs.stamp(session)  # first, so that the list is never older than it says
        shown = entries_of(self.shell, session, made.run) if made.run else []
        if order == MOST_SIMILAR:
            shown.sort(key=lambda one: STRANGER if one["score"] is None else one["score"], reverse=True)
        moving = [path for path in made.files if path.endswith(MOVING)]
        sheets = [path for path in made.files if path.endswith(".png")]
        return {
            "stamp": stamp,
            "run": made.run,
            "entries": shown,
            "remember": remembered_of(self.shell, session, made.run) if made.run else [],
            "motion": moving[0] if moving else "",
            "sheet": sheets[0] if moving and sheets else "",
            "mp4": bool(moving) and can_write("mp4"),
            "outputs": outputs_folder(self.shell),
        }

    def _redraw(self, values: Values, request: gr.Request) -> Updates:
        return {self.board: self._drawn(values[self.made], session_of(request), values[self.order])}

    @shows_errors
    def _pack(self, values: Values, request: gr.Request) -> Updates:
        made: Made = values[self.made]
        shown = self.shell.runs.shown(session_of(request))
        pictures = [picture.path for run, picture in shown if run.id == made.run]
        if not pictures:
            raise InputError(NOTHING)
        return {self.packed: str(pack(list(dict.fromkeys([*pictures, *made.files]))))}


class RunButtons:
    """The primary action and its counterpart while it runs."""

    def __init__(self, label: str) -> None:
        with gr.Row(elem_classes=["run-row"]):
            self.run = gr.Button(label, variant="primary", size="lg")
            self.cancel = gr.Button("Stop", variant="secondary", size="lg", visible=False)

    def busy(self) -> Updates:
        """Only Stop is offered."""
        return {self.run: gr.update(visible=False), self.cancel: gr.update(visible=True)}

    def free(self) -> Updates:
        """Only the primary action is offered."""
        return {self.run: gr.update(visible=True), self.cancel: gr.update(visible=False)}

    def connect_cancel(self, shell: Shell, lane: str) -> None:
        """Stop ends this visitor's run of this tab within one step."""

        def stop(request: gr.Request) -> None:
            shell.jobs.cancel(session_of(request), lane)

        self.cancel.click(stop, None, None, **INSTANT)


def _summary(pictures: Sequence[Picture], results: runner.Results) -> str:
    scores = [picture.similarity for picture in pictures if picture.similarity is not None]
    seconds = sum(sum(result.seconds.values()) for result in results)
    request = results[0].request
    facts = [f"<b>{len(pictures)}</b> {'picture' if len(pictures) == 1 else 'pictures'}"]
    if seconds:
        facts.append(f"<b>{seconds:.1f} s</b>")
    if scores:
        facts.append(f"best similarity <b>{max(scores):.2f}</b>")
    without = sum(picture.face_found is False for picture in pictures)
    if without:
        facts.append(f"no face found in <b>{without}</b>")
    facts.append(f"{request.denoising_steps} steps, guidance {request.guidance:g}, seed {request.seed}")
    said = dict.fromkeys(note for result in results for note in result.recipe.get("notes") or ())
    notes = markup.notes([(str(note), True) for note in said])
    return f'{notes}<div class="summary" role="status">{" · ".join(facts)}<br>{EXPLANATION}</div>'
