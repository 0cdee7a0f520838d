"""Drop a picture that this app has made, and the settings that made it come back.

A recipe comes from a file that anybody may have written. `read_recipe` checks what the library wrote; what the page
adds is checked here, before anything of it reaches a widget.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, cast

import gradio as gr

from arc2face import checks
from arc2face.errors import SettingsError
from arc2face_app.page import links, markup
from arc2face_app.page.messages import as_shown, shows_errors, tell, warn, words
from arc2face_app.page.parts.keyed import Component, Updates, Values, joined
from arc2face_app.page.parts.settings import GenerationControls
from arc2face_app.runs.given import taken_as_it_lies
from arc2face_app.runs.shell import LIGHT, QUIET

LINKED = "The link is copied, and stands in the address bar: the tab and its settings, no photo."
COPY = """async (query) => {
  const address = new URL(location.href);
  const kept = [...address.searchParams].filter(([key]) => key.startsWith("__") || key === "lang");
  address.search = query;
  history.replaceState(history.state, "", address);
  try { await navigator.clipboard.writeText(address.href); } catch { window.prompt("", address.href); }
  for (const [key, value] of kept) address.searchParams.set(key, value);
  history.replaceState(history.state, "", address);
}"""
"""Puts the link where it can be pasted from; a page without a clipboard shows it."""
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

    def described(self, values: Values) -> dict[str, dict[str, Any]]:
        """The same as parts of a recipe, as the form stands: what a link may say. No photo, no identity."""
        ...

    @property
    def inputs(self) -> set[Component]:
        """Components that `described` reads, among others."""
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
            taken_as_it_lies(self.file)
        self.copy = gr.Button("Copy a link to these settings", size="sm")
        self._link = gr.Textbox(visible=False)

    def connect(self, tab: str) -> None:
        """Restore on upload. The picture of the person is not part of a recipe and must be added again.

        `tab`: id of the tab, for links.
        """
        inputs = joined(self._controls.inputs, *(part.inputs for part in self._parts))
        composed = self.copy.click(partial(self._query, tab), inputs, [self._link], **LIGHT)
        composed.success(None, [self._link], None, js=COPY, **QUIET)
        restored = self.file.upload(self._restore, self.file, [*self.outputs, self.file], **LIGHT)
        self._controls.follow_after(restored)

    @property
    def outputs(self) -> set[Component]:
        """Components that `restored` updates."""
        others: set[Component] = {component for part in self._parts for component in part.restorable}
        return {*self._controls.restorable, *others}

    def linked(self, asked: Mapping[str, str]) -> Updates:
        """What the query of an address changes on the page. A link without a seed leaves the choice of seeds alone.

        Raises:
            SettingsError: a value cannot be read, or is out of range.
        """
        found = links.content(asked)
        updates = self.restored(Recipe(found)) if found else {}
        seedless = "seed" not in found.get("settings", {})
        free = {self._controls.seed, self._controls.new_seed} if seedless else set[Component]()
        return {component: update for component, update in updates.items() if component not in free}

    @shows_errors
    def _query(self, tab: str, values: Values) -> Updates:
        content = self._controls.described(values)
        for part in self._parts:
            for name, fields in part.described(values).items():
                content[name] = {**content.get(name, {}), **fields}
        tell(LINKED)
        return {self._link: links.query(tab, content)}

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
