"""Drop a picture that this app has made, and the settings that made it come back.

A recipe comes from a file that anybody may have written. `read_recipe` checks what the library wrote; what the page
adds is checked here, before anything of it reaches a widget.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import gradio as gr

from app.page import markup
from app.page.messages import as_shown, tell, warn, words
from app.page.parts.keyed import Component, Updates
from app.page.parts.settings import GenerationControls
from app.runs.shell import LIGHT
from arc2face import checks
from arc2face.errors import SettingsError

OWN_SIZE = "This picture was made at a size of its own; the page makes the models' usual size."


@dataclass(frozen=True, slots=True)
class Recipe:
    """The parts of a recipe, looked at with suspicion. Every method raises SettingsError for what does not fit."""

    content: Mapping[str, Any]

    def part(self, name: str) -> Mapping[str, Any]:
        """A part of it, empty when it is not there."""
        found = self.content.get(name)
        if found is not None and not isinstance(found, Mapping):
            raise SettingsError(f"The recipe in this picture is damaged: its {name} is not readable.")
        return cast("Mapping[str, Any]", found or {})

    def has(self, name: str) -> bool:
        """Whether there is such a part."""
        return bool(self.part(name))

    def number(self, part: str, name: str, usual: float, limits: tuple[float, float]) -> float:
        """A number of a part, or the usual value."""
        return checks.number(f"The {part}'s {name} in this recipe", self.part(part).get(name, usual), limits)


class Restorable(Protocol):
    """What a tab adds to recipes, and takes back from them."""

    @property
    def restorable(self) -> set[Component]:
        """Components that `restored` updates."""
        ...

    def restored(self, recipe: Recipe) -> Updates:
        """Updates that put a recipe back. Raises InputError."""
        ...


class RecipeDrop:
    """A small drop zone for PNGs with a recipe. `parts`: what comes back besides the settings of every tab."""

    def __init__(self, controls: GenerationControls, *parts: Restorable) -> None:
        self._controls = controls
        self._parts: Sequence[Restorable] = parts
        with gr.Accordion("Restore settings from a picture", open=False):
            gr.HTML(markup.hint("Pictures saved here remember their settings."))
            self.file = gr.File(
                label="A picture made here", show_label=False, file_types=[".png"], height=72, elem_classes=["drop"]
            )

    def connect(self) -> None:
        """Restore on upload. The picture of the person is not part of a recipe and must be added again."""
        restored = self.file.upload(self._restore, self.file, [*self.outputs, self.file], **LIGHT)
        self._controls.follow_after(restored)

    @property
    def outputs(self) -> set[Component]:
        """Components that `restored` updates."""
        others: set[Component] = {component for part in self._parts for component in part.restorable}
        return {*self._controls.restorable, *others}

    def _restore(self, path: str) -> Iterator[Updates]:
        """The zone is empty afterwards, whatever happened."""
        try:
            updates = self.updates(Path(path))
        except Exception as error:
            yield {self.file: None}
            raise as_shown(words(error)) from None
        tell("Settings restored. Add the person's photo to make the same pictures again.")
        yield {**updates, self.file: None}

    def updates(self, path: Path) -> Updates:
        """What a picture's recipe changes on the page. Raises SettingsError or ImageError."""
        from arc2face.pictures.recipes import read_recipe

        return self.restored(Recipe(read_recipe(path)))

    def restored(self, recipe: Recipe) -> Updates:
        """What a recipe changes on the page. Raises SettingsError."""
        settings = recipe.part("settings")
        updates = self._controls.restored(settings, recipe.part("page"))
        for part in self._parts:
            updates |= part.restored(recipe)
        if settings.get("height") or settings.get("width"):
            warn(OWN_SIZE)
        return updates
