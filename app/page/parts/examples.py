"""Ready-made inputs: a strip of example faces that run on a click, and a freshly rendered one."""

from __future__ import annotations

import importlib
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from app.page import markup
from app.page.messages import shows_errors
from app.page.parts.keyed import Updates
from app.page.parts.person import PersonPicker
from app.page.parts.photos import PhotoPicker
from app.page.theme import EXAMPLES
from app.runs.shell import INSTANT, LIGHT, Shell, session_of
from arc2face.errors import InputError

SURPRISE_SIZE = 512
FRESH_SEEDS = (100_001, 2**31, 2)
"""Odd, as for evaluation: nobody the starter models were trained on."""


def picture_strip(folder: str, picker: PhotoPicker) -> None:
    """Example pictures that fill a photo picker on a click; nothing where the folder is empty."""
    paths = _pictures(folder)
    if not paths:
        return

    def choose(event: gr.SelectData) -> Updates:
        return {picker.photos: [paths[event.index if isinstance(event.index, int) else 0]]}

    picker.inspect_after(_strip(paths).select(choose, None, [picker.photos], **INSTANT))


def _pictures(folder: str) -> list[str]:
    return sorted(str(path) for path in (EXAMPLES / folder).glob("*.webp"))


def _strip(paths: list[str]) -> gr.Gallery:
    return gr.Gallery(
        paths,
        label="Examples",
        show_label=False,
        columns=6,
        rows=1,
        height=64,
        fit_columns=False,
        allow_preview=False,
        interactive=False,
        buttons=[],
        visible=bool(paths),
        elem_classes=["strip"],
    )


class ExampleStrip:
    """Thumbnails to click on, and the "Surprise me" button."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self.paths = _pictures("faces")
        gr.HTML(markup.hint("No photo at hand? Tap one of these people, who do not exist."))
        self.strip = _strip(self.paths)
        self.surprise = gr.Button("Surprise me", size="sm")

    def connect(self, person: PersonPicker, generate: Callable[..., Any], event: dict[str, Any]) -> None:
        """A tap fills the picker and starts the run, in place of one that is under way."""

        def chosen(event: gr.SelectData) -> Updates:
            index = event.index if isinstance(event.index, int) else 0
            return {person.photos: [self.paths[index]], person.identity_file: None}

        @shows_errors
        def rendered(request: gr.Request) -> Updates:
            target = self._shell.files.new_run(session_of(request)) / "somebody-new.png"
            render_avatar(random.randrange(*FRESH_SEEDS), target)
            return {person.photos: [str(target)], person.identity_file: None}

        filled = {person.photos, person.identity_file}
        taps = (
            self.strip.select(chosen, None, [*filled], **INSTANT),
            self.surprise.click(rendered, None, [*filled], **LIGHT),
        )
        for tap in taps:
            person.inspect_after(tap)
            # Not "once": a tap during a run counts, and its run takes the other's place.
            tap.success(generate, trigger_mode="multiple", **event)


def render_avatar(seed: int, target: Path) -> None:
    """Render a person who does not exist into a PNG.

    Raises:
        InputError: this installation has no renderer (the `training` package is not there).
    """
    try:
        avatars: Any = importlib.import_module("training.avatars")
    except ImportError as error:
        raise InputError("This installation cannot render new people; pick one of the examples instead.") from error
    import numpy as np

    from arc2face.pictures.saving import save_picture

    world = avatars.AvatarWorld()
    state = world.sample_state(np.random.default_rng(seed))
    save_picture(world.render(world.identity(seed), state, SURPRISE_SIZE, want=("rgb",)).rgb_u8, target)
