"""The page: header, honest banner, tabs, footer. It loops over TABS and knows none of them by name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gradio as gr

from arc2face_app.api import ENDPOINTS
from arc2face_app.page import links, markup, opening
from arc2face_app.page.parts import who
from arc2face_app.page.parts.follow import Follow, PageShell
from arc2face_app.page.parts.keyed import Updates, Values, joined, last_counts
from arc2face_app.page.parts.settings import FAST_ON_CPU, FAST_ON_SHARE
from arc2face_app.page.tabs import TABS, history, studio
from arc2face_app.page.tabs import models as models_panel
from arc2face_app.runs import quota, zerogpu
from arc2face_app.runs.backend import Backend
from arc2face_app.runs.downloads import Downloads
from arc2face_app.runs.files import SessionFiles
from arc2face_app.runs.outputs import Outputs
from arc2face_app.runs.photos import PhotoShelf
from arc2face_app.runs.shell import INSTANT, QUIET, session_of
from arc2face_app.runs.store import RunStore
from arc2face_app.runs.tickets import JobBook
from arc2face_app.runs.visits import Visits

TITLE = "Arc2Face Studio"
CACHE_LIFETIME = (900, 6 * 3600)
"""Every 15 minutes, uploads and results older than six hours are deleted."""
FOOT = (
    "Pictures made here are synthetic and are marked as such in the file. Use photos of people who agreed to it. "
    "The models know one person at a time, seen from the front half, and repeat biases of their training data."
)


def build_app(
    engine: Backend,
    *,
    files: SessionFiles | None = None,
    jobs: JobBook | None = None,
    photos: PhotoShelf | None = None,
    runs: RunStore | None = None,
    outputs: Outputs | None = None,
    visits: Visits | None = None,
    downloads: Downloads | None = None,
    datasets: bool = False,
) -> gr.Blocks:
    """Build the page around an engine that may still be opening.

    `downloads`: None where visitors may not fetch models. `datasets`: whether they may draw data sets. Nothing heavy is
    imported or loaded here. Theme, style sheet and script belong to `launch` (see `arc2face_app.server`).
    """
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=CACHE_LIFETIME) as page:
        history_revision: gr.State = gr.State(0)
        head = gr.HTML(markup.header(engine.kind, ready=engine.ready, note=engine.note))
        shell = PageShell(
            backend=engine,
            history=history_revision,
            files=SessionFiles() if files is None else files,
            jobs=JobBook() if jobs is None else jobs,  # one that is empty counts as false
            photos=PhotoShelf() if photos is None else photos,
            runs=RunStore() if runs is None else runs,
            outputs=Outputs() if outputs is None else outputs,
            visits=Visits() if visits is None else visits,
        )
        who.build(shell)
        # "wrap" keeps all tabs in the row, which the style sheet lets scroll on a phone.
        with gr.Tabs(selected=TABS[0].TITLE.lower(), overflow_behavior="wrap") as tabs:
            shell.follow = Follow(shell, shell.person, tabs)
            for tab in TABS:
                with gr.Tab(tab.TITLE, id=tab.TITLE.lower()) as shell.here:
                    tab.build(engine, shell)
            if datasets:
                with gr.Tab(studio.TITLE, id=studio.TITLE.lower()) as shell.here:
                    studio.build(shell)
            for bench in shell.benches:
                bench.panel.connect(shell, bench)
            for draw in shell.drawers:
                draw(shell.opened.change)
            with gr.Tab("History", id="history") as past:
                history.build(shell, past)
            with gr.Tab("Models", id="models") as models:
                models_panel.build(shell, models, head, downloads)
        gr.HTML(f'<footer class="foot">{FOOT}</footer>')
        with gr.Column(visible=False):
            for endpoints in ENDPOINTS:
                endpoints.build(shell)
        opening.connect(page, tabs, shell.benches)
        opening.resume(page, shell)
        _follow_loading(page, shell, head)
    last_counts(page)
    return page


def _follow_loading(page: gr.Blocks, shell: PageShell, head: gr.HTML) -> None:
    """The header says how far the models are; once they are there, the forms suit the machine."""
    controls = [bench.controls for bench in shell.benches]

    def announce() -> Iterator[str]:
        backend = shell.backend
        while not backend.wait(0):
            yield markup.header(backend.kind, ready=False)
            backend.wait(2.0)
        yield markup.header(backend.kind, ready=backend.ready, problem=backend.problem, note=backend.note)

    def leave(request: gr.Request) -> None:
        shell.visits.page(session_of(request)).gone = True  # first, so that its runs are not taken for stopped ones
        shell.jobs.cancel(session_of(request))

    def suit(values: Values, request: gr.Request) -> Updates:
        if links.says_how(dict(request.query_params or {})):
            return {controls[0].fast: gr.skip()}  # such an address means it
        engine = shell.backend.engine() if shell.backend.ready else None
        why = "" if engine is None or engine.missing("fast") else _why_fast(engine.runtime.device, request)
        if not why:
            return {controls[0].fast: gr.skip()}
        updates = {component: update for one in controls for component, update in one.sparing(values, why).items()}
        return updates or {controls[0].fast: gr.skip()}

    loaded = page.load(announce, None, head, concurrency_limit=None, **QUIET)
    # Who is signed in to Hugging Face is told with queued events only.
    how: dict[str, Any] = {"concurrency_limit": None, **QUIET} if zerogpu.available() else INSTANT
    suited = loaded.success(suit, joined(*(one.inputs for one in controls)), [one.fast for one in controls], **how)
    for one in controls:
        one.follow_after(suited)
    page.unload(leave)


def _why_fast(device: str, request: gr.Request) -> str:
    """Why fast mode is switched on for this visitor from the start; empty when it is not."""
    if device == "cpu":
        return FAST_ON_CPU
    anonymous = zerogpu.available() and quota.is_anonymous(request.headers)
    return FAST_ON_SHARE if anonymous else ""
