"""What came out: progress, pictures with their scores, downloads, and the updates that a run sends to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from app.page import markup
from app.runs import runner
from app.runs.pictures import Picture, pack
from app.runs.shell import INSTANT, Shell, session_of
from arc2face.types import Progress

Updates = dict[Any, Any]
SHOW_STAGE = """() => {
  if (innerWidth < 760) [...document.querySelectorAll(".stage")].find((e) => e.offsetParent)?.scrollIntoView();
}"""
"""On a phone the results are below the form; bring them into view when a run starts."""
AS_MADE, MOST_SIMILAR = "As made", "Most similar first"
EXPLANATION = (
    "Similarity compares the face in each picture with your photo: 1.00 is the same face to the recogniser, "
    "strangers are near 0."
)


class ResultsPanel:
    """The right half of a tab. `aside`: labels of small pictures shown under the results, such as the normal map."""

    def __init__(self, *, invitation: str, aside: Sequence[str] = ()) -> None:
        self._invitation = markup.idle("Your pictures appear here", invitation)
        self.status = gr.HTML(self._invitation)
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
            visible=False,
            buttons=["download", "fullscreen"],
            elem_classes=["results"],
        )
        self.summary = gr.HTML("")
        with gr.Row(visible=False, elem_classes=["tools"]) as self.tools:
            self.order = gr.Radio([AS_MADE, MOST_SIMILAR], value=AS_MADE, label="Order", scale=2, min_width=240)
            self.zip = gr.DownloadButton("Download all (.zip)", size="md", scale=1, min_width=160)
        with gr.Row(visible=False, elem_classes=["aside"]) as self.aside_row:
            self.aside = [
                gr.Image(label=label, interactive=False, buttons=["download"], height=180, min_width=120, format="png")
                for label in aside
            ]
        self.made: gr.State = gr.State(())
        self.order.input(_items, [self.made, self.order], self.gallery, **INSTANT)

    @property
    def outputs(self) -> list[Any]:
        """Components that a run updates."""
        shown = [self.status, self.motion, self.gallery, self.summary, self.tools, self.order, self.zip, self.made]
        return [*shown, self.aside_row, *self.aside]

    def started(self) -> Updates:
        """The moment after the click."""
        hidden = {part: gr.update(visible=False) for part in (self.gallery, self.tools, self.motion, self.aside_row)}
        waiting = markup.progress(Progress("queued"))
        return {self.status: gr.update(value=waiting, visible=True), self.summary: "", **hidden}

    def progress(self, event: Progress) -> Updates:
        """While it runs."""
        return {self.status: markup.progress(event)}

    def finished(self, pictures: Sequence[Picture], results: runner.Results) -> Updates:
        """When the pictures are there."""
        columns = 2 if len(pictures) < 5 else 4
        items = _items(pictures, AS_MADE)
        return {
            self.status: gr.update(value="", visible=False),
            self.gallery: gr.update(value=items, visible=True, columns=min(columns, len(pictures))),
            self.summary: _summary(pictures, results),
            self.tools: gr.update(visible=True),
            self.order: AS_MADE,
            self.zip: gr.update(value=str(pack([picture.path for picture in pictures]))),
            self.made: tuple(pictures),
        }

    def with_aside(self, *pictures: Any) -> Updates:
        """Fill the small pictures, in the order of their labels."""
        pairs = zip(self.aside, pictures, strict=True)
        filled = {part: gr.update(value=picture, visible=picture is not None) for part, picture in pairs}
        return {self.aside_row: gr.update(visible=True), **filled}

    def with_motion(self, path: str) -> Updates:
        """Show an animation above the pictures."""
        return {self.motion: gr.update(value=path, visible=True)}

    def failed(self, message: str) -> Updates:
        """When it could not be done; the message stays until the next run."""
        return {self.status: markup.failure(message)}

    def stopped(self) -> Updates:
        """When the visitor asked to stop."""
        return {self.status: self._invitation}


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

    def connect_cancel(self, shell: Shell) -> None:
        """Stop ends this visitor's runs within one step."""

        def stop(request: gr.Request) -> None:
            shell.jobs.cancel(session_of(request))

        self.run.click(None, js=SHOW_STAGE, api_visibility="private")
        self.cancel.click(stop, None, None, **INSTANT)


def _items(pictures: Sequence[Picture], order: str) -> list[tuple[str, str]]:
    if order == MOST_SIMILAR:
        pictures = sorted(pictures, key=_rank, reverse=True)
    return [(picture.path, picture.caption) for picture in pictures]


def _rank(picture: Picture) -> float:
    return -2.0 if picture.similarity is None else picture.similarity


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
