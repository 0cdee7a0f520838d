"""Drop a picture that this app has made, and the settings that made it come back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from app.page import markup
from app.page.parts.settings import GenerationControls
from app.runs.errors import shows_errors
from app.runs.shell import LIGHT

Restore = Callable[[Mapping[str, Any]], dict[Any, Any]]


class RecipeDrop:
    """A small drop zone for PNGs with a recipe. `also`: updates of `outputs` from what a tab adds to its recipes."""

    def __init__(
        self, controls: GenerationControls, *, also: Restore | None = None, outputs: Sequence[Any] = ()
    ) -> None:
        self._controls = controls
        self._also = also
        self._outputs = outputs
        with gr.Accordion("Restore settings from a picture", open=False):
            gr.HTML(markup.hint("Pictures saved here remember their settings."))
            self.file = gr.File(
                label="A picture made here", show_label=False, file_types=[".png"], height=72, elem_classes=["drop"]
            )

    def connect(self) -> None:
        """Restore on upload. The picture of the person is not part of a recipe and must be added again."""
        widgets = self._controls.inputs
        restored = self.file.upload(self._restore, self.file, [*widgets, *self._outputs, self.file], **LIGHT)
        self._controls.follow_after(restored)

    @shows_errors
    def _restore(self, path: str) -> dict[Any, Any]:
        from arc2face.pictures.recipes import read_recipe

        recipe = read_recipe(Path(path))
        updates = self._controls.restored(recipe.get("settings", recipe))
        if self._also is not None:
            updates |= self._also(recipe)
        gr.Info("Settings restored. Add the person's photo to make the same pictures again.", title="Recipe found")
        return {**updates, self.file: None}
