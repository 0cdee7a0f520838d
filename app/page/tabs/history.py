"""What this visitor has made since the page was opened. Lives in session state; nothing is shared between visitors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from app.page import markup
from app.runs.errors import shows_errors
from app.runs.files import zip_files
from app.runs.pictures import Run
from app.runs.shell import INSTANT, QUIET, Shell, session_of
from arc2face.errors import InputError

TEXT = "Everything you made since you opened the page. It goes away when you close it: download what you want to keep."


def build(shell: Shell) -> None:
    """The History tab."""
    with gr.Column(elem_classes=["card", "history"]):
        gr.HTML(markup.lead("This session", TEXT))
        empty = gr.HTML(markup.idle("Nothing here yet", "Pictures you make in the other tabs are collected here."))
        pictures = gr.Gallery(
            label="Pictures of this session",
            show_label=False,
            columns=5,
            height="auto",
            visible=False,
            interactive=False,
            buttons=["download", "fullscreen"],
        )
        with gr.Row():
            pack = gr.Button("Pack everything as a zip", interactive=False)
            clear = gr.Button("Clear the history", interactive=False)
        packed = gr.File(label="All pictures", visible=False, interactive=False)
    views = [empty, pictures, pack, clear, packed]
    shell.history.change(_views, shell.history, views, **INSTANT)
    clear.click(lambda: (), None, shell.history, **INSTANT)

    @shows_errors
    def pack_all(history: Sequence[Run], request: gr.Request) -> Any:
        if not history:
            raise InputError("There is nothing to pack yet.")
        folder = shell.files.new_run(session_of(request))
        paths = [Path(picture.path) for run in history for picture in run.pictures]
        return gr.update(value=str(zip_files(paths, folder / "arc2face-session.zip")), visible=True)

    pack.click(pack_all, shell.history, packed, **QUIET)


def _views(history: Sequence[Run]) -> tuple[Any, ...]:
    items = [
        (picture.path, f"{run.tab} {run.when} · {picture.short}")
        for run in reversed(history)
        for picture in run.pictures
    ]
    some = bool(items)
    buttons = gr.update(interactive=some)
    return (
        gr.update(visible=not some),
        gr.update(value=items, visible=some),
        buttons,
        buttons,
        gr.update(visible=False, value=None),
    )
