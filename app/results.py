"""What came out: progress, pictures with their scores, downloads, and the updates that a run sends to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import gradio as gr

from app import runner, snippets
from app.controls import Settings
from app.errors import as_gradio_error
from app.history import Picture, Run, remember
from app.shell import INSTANT, Shell, session_of
from arc2face.errors import CancelledError
from arc2face.types import GenerationResult, Progress

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
    """The right half of a tab."""

    def __init__(self, shell: Shell, *, invitation: str) -> None:
        self._shell = shell
        self._invitation = snippets.idle("Your pictures appear here", invitation)
        self.status = gr.HTML(self._invitation)
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
        self.made: gr.State = gr.State(())
        self.order.input(_items, [self.made, self.order], self.gallery, **INSTANT)

    @property
    def outputs(self) -> list[Any]:
        """Components that a run updates."""
        return [self.status, self.gallery, self.summary, self.tools, self.order, self.zip, self.made]

    def started(self) -> Updates:
        """The moment after the click."""
        return {
            self.status: gr.update(value=snippets.progress(Progress("queued")), visible=True),
            self.gallery: gr.update(visible=False),
            self.summary: "",
            self.tools: gr.update(visible=False),
        }

    def progress(self, event: Progress) -> Updates:
        """While it runs."""
        return {self.status: snippets.progress(event)}

    def finished(self, pictures: Sequence[Picture], result: GenerationResult) -> Updates:
        """When the pictures are there."""
        return {
            self.status: gr.update(value="", visible=False),
            self.gallery: gr.update(value=_items(pictures, AS_MADE), visible=True, columns=min(2, len(pictures))),
            self.summary: _summary(pictures, result),
            self.tools: gr.update(visible=True),
            self.order: AS_MADE,
            self.zip: gr.update(value=str(runner.pack(pictures))),
            self.made: tuple(pictures),
        }

    def failed(self, message: str) -> Updates:
        """When it could not be done; the message stays until the next run."""
        return {self.status: snippets.failure(message)}

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

        def cancel(request: gr.Request) -> None:
            shell.jobs.cancel(session_of(request))

        self.run.click(None, js=SHOW_STAGE, api_visibility="private")
        self.cancel.click(cancel, None, None, **INSTANT)


def run_into(
    shell: Shell,
    panel: ResultsPanel,
    buttons: RunButtons,
    tab: str,
    history: Sequence[Run],
    request: gr.Request,
    prepare: runner.Prepare,
    extras: Callable[[GenerationResult, Sequence[Picture]], Updates] | None = None,
) -> Iterator[Updates]:
    """One run of a tab as a stream of component updates.

    Errors stay visible in the panel and are raised as `gr.Error` for the toast; the inputs are never touched.
    """
    session = session_of(request)
    yield {**panel.started(), **buttons.busy()}
    try:
        for event in runner.follow(shell, session, prepare):
            if isinstance(event, Progress):
                yield panel.progress(event)
                continue
            pictures = runner.save_pictures(shell, session, event, tab.lower())
            more = extras(event, pictures) if extras is not None else {}
            kept = remember(history, Run.now(tab, pictures))
            yield {**panel.finished(pictures, event), **more, **buttons.free(), shell.history: kept}
    except CancelledError:
        yield {**panel.stopped(), **buttons.free()}
        gr.Info("Stopped. Your inputs are untouched.", duration=4)
    except Exception as error:
        shown = as_gradio_error(error)
        yield {**panel.failed(str(shown.message)), **buttons.free()}
        raise shown from None


def seed_used(settings: Settings, seed: Any) -> Updates:
    """Show the seed that a run draws, so that it can be repeated."""
    return {seed: settings.seed}


def _items(pictures: Sequence[Picture], order: str) -> list[tuple[str, str]]:
    if order == MOST_SIMILAR:
        pictures = sorted(pictures, key=_rank, reverse=True)
    return [(picture.path, picture.caption) for picture in pictures]


def _rank(picture: Picture) -> float:
    return -2.0 if picture.similarity is None else picture.similarity


def _summary(pictures: Sequence[Picture], result: GenerationResult) -> str:
    scores = [picture.similarity for picture in pictures if picture.similarity is not None]
    seconds = sum(result.seconds.values())
    request = result.request
    facts = [f"<b>{len(pictures)}</b> {'picture' if len(pictures) == 1 else 'pictures'}"]
    if seconds:
        facts.append(f"<b>{seconds:.1f} s</b>")
    if scores:
        facts.append(f"best similarity <b>{max(scores):.2f}</b>")
    without = sum(picture.face_found is False for picture in pictures)
    if without:
        facts.append(f"no face found in <b>{without}</b>")
    facts.append(f"{request.steps} steps, guidance {request.guidance_scale:g}, seed {request.seed}")
    return f'<div class="summary" role="status">{" · ".join(facts)}<br>{EXPLANATION}</div>'
