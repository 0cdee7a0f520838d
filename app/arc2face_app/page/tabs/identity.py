"""Identity: a face in, new pictures of the same person out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import gradio as gr

from arc2face_app.page import markup
from arc2face_app.page.parts.recipe import RecipeDrop
from arc2face_app.page.parts.results import ResultsPanel, RunButtons
from arc2face_app.page.parts.settings import GenerationControls
from arc2face_app.page.parts.showcase import showcase
from arc2face_app.page.parts.workbench import Asked, Work, Workbench

if TYPE_CHECKING:
    from arc2face_app.page.parts.follow import PageShell
    from arc2face_app.runs.backend import Backend

TITLE = "Identity"
HEADLINE = "New pictures of the same person"
NO_PROMPT = "There is no text prompt: the models draw from the face alone."


def build(engine: Backend, shell: PageShell) -> None:
    """Lay out the tab and connect its events."""
    del engine  # reached through the shell once it is open
    gr.HTML(markup.lead(HEADLINE, f"Fresh portraits of the person above. {NO_PROMPT}"))
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=320, elem_classes=["card"]):
            gr.HTML(markup.step(2, "Choose how many"))
            controls = GenerationControls()
            controls.build_advanced()
            drop = RecipeDrop(controls)
        with gr.Column(scale=7, min_width=320, elem_classes=["card", "stage"]):
            buttons = RunButtons("Make pictures")
            panel = ResultsPanel(
                invitation="Add a photo, or pick an example, and press Make pictures.", showcase=showcase("identity")
            )

    def plan(asked: Asked) -> Work:
        return Work(requests=[asked.base])

    Workbench(
        shell=shell,
        title=TITLE,
        controls=controls,
        panel=panel,
        buttons=buttons,
        drop=drop,
    ).connect(plan)
