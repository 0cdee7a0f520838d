"""Models: what is loaded, how much memory it takes, under which licence, what is missing, and fetching it."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import gradio as gr

from arc2face.advice import spoken
from arc2face.doctor.component import ComponentStatus
from arc2face.weights.licences import LICENCES
from arc2face_app.page import markup
from arc2face_app.page.messages import errors_shown
from arc2face_app.page.parts.fetching import Fetching
from arc2face_app.page.parts.keyed import Updates
from arc2face_app.runs.shell import LIGHT, Shell

if TYPE_CHECKING:
    from arc2face.engine import Engine
    from arc2face_app.runs.downloads import Downloads

TEXT = "Parts are loaded when they are first needed. Each has its own licence; some allow research only."
BRINGS = {
    "tokenizer": "the words around a face, which every picture needs",
    "text_encoder": "the face's identity for the denoiser; every picture needs it",
    "unet": "the pictures themselves",
    "vae": "the pictures in full resolution",
    "lcm": "fast mode: a picture in 4 steps instead of 25",
    "pose": "turning the head by angles or by a normal map",
    "expression": "another expression",
    "reference": "keeping the photo's own look",
    "detector": "finding faces in photos",
    "recogniser": "telling who is in a photo, and scores",
    "landmarks": "aligning faces: the photo's look, pasting back, poses from photos",
    "smirk": "expressions read from photos and videos",
    "head-reader": "head poses read from photos",
    "head": "previews, and poses by angles",
}
"""What a part is for, by its name in `Engine.status`."""


def build(shell: Shell, tab: gr.Tab, head: gr.HTML, downloads: Downloads | None) -> None:
    """Fill the Models tab; the table is read anew whenever the tab is opened.

    `head`: the page's header, which names the models in use. `downloads`: None where nobody may fetch from here.
    """
    with gr.Column(elem_classes=["card"]):
        with gr.Row():
            gr.HTML(markup.lead("What is running", TEXT))
            refresh = gr.Button("Refresh", size="sm", scale=0, min_width=110)
        table = gr.HTML(markup.hint("Press Refresh to see the models."))

    def show() -> Iterator[Updates]:
        if not shell.backend.wait(0):
            yield {table: markup.hint("The models are still loading.")}
        with errors_shown():
            yield {table: report(shell.backend.engine())}

    refresh.click(show, None, [table], **LIGHT)
    tab.select(show, None, [table], **LIGHT)
    Fetching(shell, downloads).connect(tab, show, table, head)


def report(engine: Engine) -> str:
    """Where the models are and run, and the table of their parts."""
    runtime = engine.runtime
    where = f"{runtime.device}, {runtime.dtype}, {runtime.vram}"
    root = html.escape(str(engine.models.root))
    head = f'<p class="hint">Folder <strong>{root}</strong> · {html.escape(where)}</p>'
    return head + models_table(engine.status(), engine.models.places)


def models_table(rows: Sequence[ComponentStatus], places: Sequence[Path] = ()) -> str:
    """`rows` as an HTML table; text from files is escaped. `places`: folders that paths are shown relative to."""
    body = "".join(_row(row, places) for row in rows)
    loaded = sum(row.bytes for row in rows if row.state not in ("missing", "on disk"))
    names = ("Part", "Where", "Memory", "Licence")
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    total = f'<p class="hint">Loaded now: <strong>{_size(loaded)}</strong></p>'
    table = f'<table class="models"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return f'<div class="scroll-x">{table}</div>{total}'


def _row(row: ComponentStatus, places: Sequence[Path]) -> str:
    tone = {"missing": "off", "on disk": ""}.get(row.state, "" if row.state.startswith("off") else "on")
    details = " · ".join(part for part in (_relative(row.source, places), row.dtype, row.sha256[:12]) if part)
    licence = LICENCES[row.licence].title if row.licence in LICENCES else row.licence
    remedy = _missing(row) if row.remedy else ""
    return (
        f"<tr><td>{html.escape(row.title)}<small>{html.escape(details)}</small>{remedy}</td>"
        f'<td><span class="tag {tone}">{html.escape(row.state)}</span></td>'
        f'<td class="num">{_size(row.bytes) if row.bytes else "–"}</td><td>{html.escape(licence) or "–"}</td></tr>'
    )


def _missing(row: ComponentStatus) -> str:
    """What a missing part would bring, and the command that fetches it."""
    brings = BRINGS.get(row.name, "")
    said = f"Brings {brings}. " if brings else ""
    return f"<small>{html.escape(said)}Fetch it below, or: <code>{html.escape(spoken(row.remedy))}</code></small>"


def _relative(source: str, places: Sequence[Path]) -> str:
    """The path without the folder that the head of the table names already."""
    path = Path(source)
    inside = [path.relative_to(place) for place in places if path.is_relative_to(place)]
    return min((str(each) for each in inside), key=len, default=source)


def _size(count: int) -> str:
    """Bytes in decimal kilobytes, megabytes or gigabytes."""
    if count >= 1e9:
        return f"{count / 1e9:.2f} GB"
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.0f} KB"
