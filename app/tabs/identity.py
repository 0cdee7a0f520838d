"""Identity: a face in, new pictures of the same person out."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import gradio as gr

from app import snippets
from app.controls import GenerationControls, Settings
from app.examples import ExampleStrip
from app.person import PersonPicker
from app.recipe_drop import RecipeDrop
from app.results import ResultsPanel, RunButtons, Updates, run_into, seed_used
from app.shell import HEAVY, Shell
from arc2face.types import GenerationRequest

if TYPE_CHECKING:
    from app.backend import Backend
    from arc2face.engine import Engine

TITLE = "Identity"
HEADLINE = "New pictures of the same person"
NO_PROMPT = "There is no text prompt: the model was trained to draw from the face alone, so the photo says everything."


def build(engine: Backend, shell: Shell) -> None:
    """Lay out the tab and connect its events."""
    gr.HTML(snippets.lead(HEADLINE, f"Add a photo, get fresh portraits of that face. {NO_PROMPT}"))
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=320, elem_classes=["card"]):
            person = PersonPicker(shell)
            strip = ExampleStrip(shell)
            gr.HTML(snippets.step(2, "Choose how many"))
            controls = GenerationControls()
            buttons = RunButtons("Make pictures")
            controls.build_advanced()
            person.build_more()
            drop = RecipeDrop(controls)
        with gr.Column(scale=7, min_width=320, elem_classes=["card", "stage"]):
            panel = ResultsPanel(shell, invitation="Add a photo, or pick an example, and press Make pictures.")

    inputs = [*person.inputs, *controls.inputs]

    def generate(request: gr.Request, *values: Any) -> Iterator[Updates]:
        *fields, history = values
        who, settings = fields[:5], Settings.of(*fields[5:])
        yield seed_used(settings, controls.seed)

        def prepare(_: Engine) -> GenerationRequest:
            return GenerationRequest(identity=person.identity(*who)[0], **settings.fields)

        yield from run_into(shell, panel, buttons, TITLE, history, request, prepare)

    def validate(*values: Any) -> list[dict[str, Any]]:
        return [*person.validate(values[0], values[2]), *(gr.validate(True, "") for _ in values[5:])]

    event: dict[str, Any] = {
        "inputs": [*inputs, shell.history],
        "outputs": [*panel.outputs, buttons.run, buttons.cancel, controls.seed, shell.history],
        **HEAVY,
    }
    buttons.run.click(generate, validator=validate, **event)
    strip.connect(person, generate, event)
    buttons.connect_cancel(shell)
    drop.connect()
