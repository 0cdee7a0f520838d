"""The person strip above the tabs: photos or a saved identity, and people to try."""

from __future__ import annotations

import gradio as gr

from arc2face_app.page.parts.examples import ExampleStrip
from arc2face_app.page.parts.follow import PageShell
from arc2face_app.page.parts.person import PersonPicker


def build(shell: PageShell) -> None:
    """Lay out the strip; from then on the shell knows the person."""
    with gr.Row(equal_height=False, elem_classes=["card", "who"]):
        with gr.Column(scale=5, min_width=300, elem_classes=["who-photos"]):
            shell.person = PersonPicker(shell)
        with gr.Column(scale=7, min_width=300, elem_classes=["who-examples"]):
            strip = ExampleStrip(shell)
            shell.person.build_more()
    strip.connect(shell.person)
