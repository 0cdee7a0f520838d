"""What this visitor has made: on the server until the page closes, small copies and settings in the browser's storage.

The list is drawn by `assets/history.js`, which joins both; nothing is shared between visitors.
"""

from __future__ import annotations

import gradio as gr

from arc2face_app.page import markup
from arc2face_app.page.parts.board import board, history_of, outputs_folder
from arc2face_app.page.parts.follow import PageShell
from arc2face_app.page.parts.keyed import Updates
from arc2face_app.page.parts.picture_tools import PictureTools
from arc2face_app.runs.shell import INSTANT, session_of

HERE = (
    "The full pictures stay until you close the page: download what you want to keep. "
    "Small copies and the settings stay in this browser for longer."
)
KEPT = "Everything is kept in the folder {}, each picture with its settings."


def build(shell: PageShell, tab: gr.Tab) -> None:
    """The History tab. `tab`: the one that it stands in."""
    folder = outputs_folder(shell)
    with gr.Column(elem_classes=["card", "history"]):
        gr.HTML(markup.lead("What you have made", KEPT.format(folder) if folder else HERE))
        past = board("history")
    packed = gr.DownloadButton(visible=False)

    def show(request: gr.Request) -> Updates:
        from arc2face.pictures.animation import can_write

        session = session_of(request)
        stamp = shell.runs.stamp(session)  # first, so that the list is never older than it says
        return {
            past: {
                "stamp": stamp,
                "entries": history_of(shell, session),
                "superseded": shell.runs.superseded(session),
                "outputs": folder,
                "mp4": can_write("mp4"),
            }
        }

    shell.history.change(show, None, [past], **INSTANT)
    tab.select(show, None, [past], **INSTANT)
    PictureTools(shell, past, packed).connect(shell.benches)
