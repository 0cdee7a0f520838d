"""What this visitor has made since the page was opened. Lives in session state; nothing is shared between visitors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from app.page import markup
from app.page.messages import shows_errors
from app.page.parts.keyed import Component, Updates, Values
from app.runs.files import zip_files
from app.runs.pictures import Run
from app.runs.shell import INSTANT, LIGHT, Shell, session_of
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
    view = _View(shell, empty, pictures, pack, clear, packed)
    shell.history.change(view.show, {shell.history}, [*view.outputs], **INSTANT)
    clear.click(view.clear, None, [shell.history], **INSTANT)
    pack.click(view.pack, {shell.history}, [packed], **LIGHT)


@dataclass(frozen=True, slots=True)
class _View:
    shell: Shell
    empty: gr.HTML
    pictures: gr.Gallery
    pack_button: gr.Button
    clear_button: gr.Button
    packed: gr.File

    @property
    def outputs(self) -> set[Component]:
        """Everything that follows the history."""
        return {self.empty, self.pictures, self.pack_button, self.clear_button, self.packed}

    def show(self, values: Values) -> Updates:
        """All pictures, the newest run first."""
        items = [
            (picture.path, f"{run.tab} {run.when} · {picture.short}")
            for run in reversed(values[self.shell.history])
            for picture in run.pictures
        ]
        some = bool(items)
        return {
            self.empty: gr.update(visible=not some),
            self.pictures: gr.update(value=items, visible=some),
            self.pack_button: gr.update(interactive=some),
            self.clear_button: gr.update(interactive=some),
            self.packed: gr.update(visible=False, value=None),
        }

    def clear(self) -> Updates:
        """Forget all runs."""
        return {self.shell.history: ()}

    @shows_errors
    def pack(self, values: Values, request: gr.Request) -> Updates:
        """All pictures as one zip."""
        history: Sequence[Run] = values[self.shell.history]
        if not history:
            raise InputError("There is nothing to pack yet.")
        folder = self.shell.files.new_run(session_of(request))
        paths = [Path(picture.path) for run in history for picture in run.pictures]
        archive = zip_files(paths, folder / "arc2face-session.zip")
        return {self.packed: gr.update(value=str(archive), visible=True)}
