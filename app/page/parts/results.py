"""What came out: progress, pictures with their scores, downloads, and the updates that a run sends to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from app.page import markup
from app.page.messages import shows_errors
from app.page.parts.keyed import Component, Updates, Values
from app.runs import runner
from app.runs.pictures import Picture, pack, rank
from app.runs.shell import INSTANT, LIGHT, QUIET, Shell, session_of
from arc2face.errors import InputError
from arc2face.types import Progress

AS_MADE, MOST_SIMILAR = "As made", "Most similar first"
EXPLANATION = (
    "Similarity compares the face in each picture with your photo: 1.00 is the same face to the recogniser, "
    "strangers are near 0."
)
NOTHING = "There is nothing to download yet."
FETCH = """(file) => {
  if (!file?.url) return;
  const link = Object.assign(document.createElement("a"), {href: file.url, download: file.orig_name || "pictures.zip"});
  document.body.append(link);
  link.click();
  link.remove();
}"""
"""Fetches a file that was packed on demand."""


@dataclass(frozen=True, slots=True)
class Made:
    """What the panel shows: the pictures of a run, and further files of it."""

    pictures: tuple[Picture, ...] = ()
    files: tuple[str, ...] = ()


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
        """`showcase`: markup of what comes out, shown before the first run. `above`: builds what stands over pictures."""
        self._invitation = markup.idle("Your pictures appear here", invitation, showcase)
        self.status = gr.HTML(self._invitation)
        with gr.Column(visible=False) as self.shown:
            self.source = gr.HTML("")
            if above is not None:
                above()
            self.motion = gr.Image(
                label="Animation", show_label=False, visible=False, interactive=False, buttons=["download"], height=360
            )
            self.gallery = gr.Gallery(
                label="Pictures",
                show_label=False,
                columns=2,
                height="auto",
                object_fit="cover",
                interactive=False,
                buttons=["download", "fullscreen"],
                elem_classes=["results"],
            )
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
        self.packed = gr.DownloadButton(visible=False)
        self.made: gr.State = gr.State(Made())
        self.order.input(self._reorder, {self.made, self.order}, [self.gallery], **INSTANT)
        packed = self.zip.click(self._pack, {self.made}, [self.packed], **LIGHT)
        packed.success(None, [self.packed], None, js=FETCH, **QUIET)

    @property
    def outputs(self) -> set[Component]:
        """Components that a run updates."""
        results = {self.source, self.motion, self.gallery, self.summary, self.order, self.made}
        return {self.status, self.shown, *results, self.aside_row, *self.aside}

    def started(self) -> Updates:
        """The moment after the click."""
        waiting = markup.progress(Progress("queued"))
        return {self.status: gr.update(value=waiting, visible=True), self.shown: gr.update(visible=False)}

    def progress(self, event: Progress) -> Updates:
        """While it runs."""
        return {self.status: markup.progress(event)}

    def finished(self, source: str, pictures: Sequence[Picture], results: runner.Results) -> Updates:
        """When the pictures are there. `source`: markup that says whose they are."""
        columns = 2 if len(pictures) < 5 else 4
        items = _items(pictures, AS_MADE)
        return {
            self.status: gr.update(value="", visible=False),
            self.shown: gr.update(visible=True),
            self.source: source,
            self.motion: gr.update(visible=False),
            self.gallery: gr.update(value=items, columns=min(columns, len(pictures))),
            self.summary: _summary(pictures, results),
            self.order: AS_MADE,
            self.aside_row: gr.update(visible=False),
            self.made: Made(tuple(pictures)),
        }

    def with_files(self, pictures: Sequence[Picture], files: Sequence[Path]) -> Updates:
        """Add files to what is downloaded."""
        return {self.made: Made(tuple(pictures), tuple(map(str, files)))}

    def with_aside(self, *pictures: Any) -> Updates:
        """Fill the small pictures, in the order of their labels."""
        pairs = zip(self.aside, pictures, strict=True)
        filled = {part: gr.update(value=picture, visible=picture is not None) for part, picture in pairs}
        return {self.aside_row: gr.update(visible=True), **filled}

    def with_motion(self, path: Path) -> Updates:
        """Show an animation above the pictures."""
        return {self.motion: gr.update(value=str(path), visible=True)}

    def failed(self, message: str, before: Made) -> Updates:
        """When it could not be done; the message stays until the next run, and so do the pictures made before."""
        return {self.status: markup.failure(message), self.shown: gr.update(visible=bool(before.pictures))}

    def stopped(self, before: Made) -> Updates:
        """When the visitor asked to stop: what was there before comes back."""
        some = bool(before.pictures)
        status = gr.update(value="" if some else self._invitation, visible=not some)
        return {self.status: status, self.shown: gr.update(visible=some)}

    def _reorder(self, values: Values) -> Updates:
        return {self.gallery: _items(values[self.made].pictures, values[self.order])}

    @shows_errors
    def _pack(self, values: Values) -> Updates:
        made: Made = values[self.made]
        if not made.pictures:
            raise InputError(NOTHING)
        return {self.packed: str(pack([*(picture.path for picture in made.pictures), *made.files]))}


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


def _items(pictures: Sequence[Picture], order: str) -> list[tuple[str, str]]:
    if order == MOST_SIMILAR:
        pictures = sorted(pictures, key=rank, reverse=True)
    return [(picture.path, picture.caption) for picture in pictures]


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
    return f'<div class="summary" role="status">{" · ".join(facts)}<br>{EXPLANATION}</div>'
