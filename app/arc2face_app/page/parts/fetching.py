"""Fetching model files from the page: what for, what it costs, under which licences, and how far it is."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import gradio as gr

from arc2face.advice import command
from arc2face.errors import Arc2FaceError
from arc2face.weights.download.text import size
from arc2face_app.page import markup
from arc2face_app.page.messages import as_shown, shows_errors, words
from arc2face_app.page.parts.keyed import Component, Updates, Values
from arc2face_app.runs.shell import INSTANT, QUIET, Shell

if TYPE_CHECKING:
    from arc2face.weights.download import Job, Plan
    from arc2face_app.runs.downloads import Downloads, Transfer

FEATURES = {
    "identity": "New pictures of a person",
    "fast": "Fast mode as well",
    "pose": "Turning the head as well",
    "expression": "Expressions and videos as well",
    "reference": "The photo's own look as well",
    "all": "Everything",
}
"""What to fetch for, by the feature's name; each brings the files of the first too."""
TEXT = "The published weights, from where their makers keep them. Interrupted downloads go on; every file is checked."
OFF = (
    "Others may reach this page, so models cannot be fetched from here. Whoever runs the server does it with "
    "<code>{}</code>."
)
SMALL = 5_000_000
WATCH: dict[str, Any] = {**QUIET, "concurrency_id": "downloads", "concurrency_limit": 8}


class Fetching:
    """The card under the table. Without `downloads` it only says how the server's owner fetches models."""

    def __init__(self, shell: Shell, downloads: Downloads | None) -> None:
        self._shell = shell
        self._downloads = downloads
        with gr.Column(elem_classes=["card", "fetching"]):
            if downloads is None:
                gr.HTML(markup.lead("More models", ""))
                gr.HTML(f'<p class="hint">{OFF.format(html.escape(command("download FEATURE")))}</p>')
                return
            gr.HTML(markup.lead("Fetch models", TEXT))
            self.feature = gr.Radio([(text, name) for name, text in FEATURES.items()], value=None, label="What for?")
            self.plan = gr.HTML(markup.hint("Choose what you want to do, and see what that needs."))
            self.licences = gr.CheckboxGroup([], label="Licences that want a registration", visible=False)
            with gr.Row():
                self.fetch = gr.Button("Fetch", variant="primary", visible=False)
                self.stop = gr.Button("Stop", visible=False)
            self.progress = gr.HTML("")

    def connect(self, tab: gr.Tab, show: Callable[[], Iterator[Updates]], table: gr.HTML, head: gr.HTML) -> None:
        """Wire it. `show`: draws the models' table into `table` again; `head`: names the models in use."""
        if self._downloads is None:
            return
        self._show, self._table, self._head = show, table, head
        chosen: set[Component] = {self.feature, self.licences}
        planned: set[Component] = {self.plan, self.licences, self.fetch}
        followed: set[Component] = {self.progress, self.fetch, self.stop, self.feature, table, head}
        self.feature.input(self._planned, {self.feature}, [*planned], **WATCH)
        self.licences.input(self._accepted, chosen, [self.plan, self.fetch], **WATCH)
        self.fetch.click(self._start, chosen, [*followed], **WATCH)
        self.stop.click(self._stop, None, None, **INSTANT)
        tab.select(self._follow, None, [*followed], **WATCH)

    @property
    def _all(self) -> Downloads:
        assert self._downloads is not None
        return self._downloads

    def _planned(self, values: Values) -> Iterator[Updates]:
        yield {self.plan: markup.hint("Looking at what is there and what is missing ..."), self.fetch: _hidden()}
        try:
            plan = self._all.plan(values[self.feature])
        except Arc2FaceError as error:
            yield {self.plan: markup.notes([(words(error), True)])}
            return
        wanted = {job.licence.key: job.licence for job in plan.blocked}
        choices = [
            (f"I have registered at {one.pages[0]} and accept: {one.title}", key) for key, one in sorted(wanted.items())
        ]
        yield {
            self.plan: _told(plan),
            self.licences: gr.update(choices=choices, value=[], visible=bool(choices)),
            self.fetch: gr.update(visible=bool(plan.jobs), value=_label(plan)),
        }

    @shows_errors
    def _accepted(self, values: Values) -> Updates:
        plan = self._all.plan(values[self.feature], values[self.licences])
        return {self.plan: _told(plan), self.fetch: gr.update(visible=bool(plan.jobs), value=_label(plan))}

    def _start(self, values: Values) -> Iterator[Updates]:
        try:
            plan = self._all.plan(values[self.feature], values[self.licences])
            self._all.start(plan)
        except Arc2FaceError as error:
            yield from self._followed()
            raise as_shown(words(error)) from None
        yield from self._followed()

    def _follow(self) -> Iterator[Updates]:
        """Whoever opens the tab sees what is under way."""
        if self._all.transfer.ended:
            yield {self.progress: gr.skip()}
            return
        yield from self._followed()

    def _followed(self) -> Iterator[Updates]:
        for transfer in self._all.follow():
            running = transfer.state == "running"
            yield {
                self.progress: _shown(transfer),
                self.stop: gr.update(visible=running),
                self.fetch: gr.update(visible=False) if not transfer.ended else gr.skip(),
                self.feature: gr.update(interactive=transfer.ended),
            }
        ended = self._all.transfer
        if ended.state == "stopped":
            yield {self.fetch: gr.update(visible=True, value="Go on")}
        if ended.state == "done":
            backend = self._shell.backend
            yield {self._head: markup.header(backend.kind, ready=backend.ready, problem=backend.problem)}
            yield from self._show()

    def _stop(self) -> None:
        self._all.stop()


def _hidden() -> Any:
    return gr.update(visible=False)


def _label(plan: Plan) -> str:
    more = " and more" if plan.unknown_sizes else ""
    return f"Fetch {size(plan.known_bytes)}{more}" if plan.known_bytes else "Fetch"


def _told(plan: Plan) -> str:
    """The files, their sizes and terms; what is left out, and why."""
    lines: list[tuple[str, bool]] = []
    if not plan.jobs and not plan.blocked:
        lines.append((f"Everything for this is there: {len(plan.present)} files.", False))
    for job in plan.blocked:
        lines.append((f"Left out until its licence is accepted: {job.title}.", True))
    rows = "".join(
        f"<tr><td>{html.escape(job.title)}<small>{html.escape(job.replaces)}</small></td>"
        f'<td class="num">{html.escape(size(job.bytes))}</td><td>{_terms(job.licence)}</td></tr>'
        for job in plan.jobs
        if not _is_small(job)
    )
    few = sum(_is_small(job) for job in plan.jobs)
    rows += f'<tr><td colspan="3">and {few} small files</td></tr>' if few else ""
    root = html.escape(str(plan.root.resolve()))
    there = f'<p class="hint">{len(plan.present)} files are there already. Goes to {root}.</p>'
    table = f'<table class="models"><tbody>{rows}</tbody></table>{there}' if rows else ""
    return markup.notes(lines) + table


def _is_small(job: Job) -> bool:
    """Settings and word lists: nobody needs to read their names."""
    return job.path.endswith((".json", ".txt")) and (job.bytes or 0) < SMALL


def _terms(licence: Any) -> str:
    page = html.escape(licence.pages[0])
    uses = {True: "", False: "no commercial use", None: "commercial use unclear"}[licence.commercial]
    link = f'<a href="{page}" target="_blank" rel="noopener noreferrer">{html.escape(licence.title)}</a>'
    return f"{link}<small>{uses}</small>" if uses else link


def _shown(transfer: Transfer) -> str:
    """Bar and sentence while it runs, a sentence when it has ended."""
    if transfer.state == "idle":
        return ""
    if transfer.ended:
        return markup.notes([(transfer.message, transfer.state == "failed")])
    share = min(transfer.done / transfer.total, 1.0) if transfer.total else 0.0
    said = transfer.message or f"File {transfer.number} of {transfer.count}: {transfer.file}"
    said = said if transfer.number or transfer.message else "Starting"
    left = f"about {_minutes(transfer.left)} left" if transfer.left is not None else ""
    amount = f"{size(transfer.done)} of {size(transfer.total)}" if transfer.state == "running" else ""
    return (
        f'<div class="progress"><div class="words"><span role="status">{html.escape(said)}</span>'
        f"<span>{html.escape(' · '.join(part for part in (amount, left) if part))}</span></div>"
        f'<div class="bar" role="progressbar" aria-label="Download" aria-valuemin="0" aria-valuemax="100" '
        f'aria-valuenow="{share * 100:.0f}"><i style="width:{share * 100:.1f}%"></i></div></div>'
    )


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
