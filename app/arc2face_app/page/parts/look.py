"""Whose look: a new picture of the person, or their own photo with only the expression changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import gradio as gr

from arc2face import checks
from arc2face.settings import DEFAULT_LOOK_STRENGTH, LOOK_STRENGTH_RANGE, PASTE_MASKS, PasteMask
from arc2face.sources import LookSource
from arc2face_app.page import markup
from arc2face_app.page.parts.keyed import Component, Updates, Values
from arc2face_app.page.parts.recipe import Recipe
from arc2face_app.runs.pictures import Picture, best_of, save_pasted
from arc2face_app.runs.shell import INSTANT

if TYPE_CHECKING:
    from arc2face.engine import Engine
    from arc2face.sources import Person
    from arc2face_app.runs import runner

NEW, KEEP = "A new picture", "Keep the photo's look"
LOOK = "Higher keeps more of hair, clothes and background; close to 1 the photo is copied, its expression included."
NO_PASTE = "none"
"""In recipes: the look was kept, but nothing pasted back."""


def before_and_after() -> gr.ImageSlider:
    """The photo and what became of it, one over the other; hidden until there is something to compare."""
    return gr.ImageSlider(
        label="Before and after",
        show_label=False,
        visible=False,
        interactive=False,
        type="filepath",
        max_height=520,
        buttons=["download", "fullscreen"],
    )


class LookControls:
    """New picture or keep the look, and pasting the result back into the full photo."""

    def __init__(self) -> None:
        self.mode = gr.Radio([NEW, KEEP], value=NEW, label="Kind of picture", show_label=False)
        with gr.Column(visible=False) as self.kept:
            self.look = gr.Slider(
                *LOOK_STRENGTH_RANGE,
                value=DEFAULT_LOOK_STRENGTH,
                step=0.05,
                label="Keep how much",
                info=LOOK,
                buttons=[],
            )
            self.paste = gr.Checkbox(True, label="Paste the result back into the full photo")
            masks: Any = [(words, name) for name, words in PASTE_MASKS.items()]
            self.mask = gr.Radio(masks, value="face", label="Paste")
        self.mode.input(self._visible, {self.mode}, [self.kept], **INSTANT)

    @property
    def inputs(self) -> set[Component]:
        """Everything that `source` needs."""
        return {self.mode, self.look, self.paste, self.mask}

    def source(self, values: Values) -> LookSource:
        """The look that the values describe."""
        keep = values[self.mode] == KEEP
        mask = cast("PasteMask", values[self.mask])
        return LookSource(keep=keep, strength=values[self.look], paste=mask if keep and values[self.paste] else None)

    def notes(self, values: Values) -> dict[str, Any]:
        """What a recipe of the page says of the look besides what the library says: the mask, if any."""
        source = self.source(values)
        return {"paste": source.paste or NO_PASTE} if source.keep else {}

    @property
    def restorable(self) -> set[Component]:
        """Components that `restored` updates."""
        return {*self.inputs, self.kept}

    def restored(self, recipe: Recipe) -> Updates:
        """Whether the look was kept, how much, and how it was pasted back. Raises SettingsError."""
        keep = recipe.has("reference")
        updates: Updates = {self.mode: KEEP if keep else NEW, self.kept: gr.update(visible=keep)}
        if keep:
            updates[self.look] = recipe.number("reference", "strength", DEFAULT_LOOK_STRENGTH, LOOK_STRENGTH_RANGE)
        paste = recipe.part("page").get("paste")
        if paste is not None:
            mask = checks.choice("The paste-back mask", paste, (*PASTE_MASKS, NO_PASTE))
            updates |= {self.paste: mask != NO_PASTE, **({self.mask: mask} if mask != NO_PASTE else {})}
        return updates

    def described(self, values: Values) -> dict[str, dict[str, Any]]:
        """The look as parts of a recipe; nothing for a new picture."""
        source = self.source(values)
        return {"reference": {"strength": source.strength}, "page": self.notes(values)} if source.keep else {}

    def build_comparison(self) -> None:
        """The before and after views, placed by the tab among its results."""
        self.slider = before_and_after()
        self.caption = gr.HTML("")

    @property
    def outputs(self) -> set[Component]:
        """What `pasted` and `hidden` update."""
        return {self.slider, self.caption}

    def hidden(self) -> Updates:
        """No comparison: nothing was pasted."""
        return {self.slider: gr.update(visible=False), self.caption: ""}

    def pasted(
        self, engine: Engine, person: Person, mask: PasteMask, results: runner.Results, pictures: Sequence[Picture]
    ) -> tuple[Updates, list[Picture]]:
        """Blend every picture into the full photo; the best is compared with it. Returns updates and new pictures."""
        pasted = save_pasted(engine, person, mask, results, pictures)
        best = pictures.index(best_of(pictures))
        caption = markup.hint(f"Your photo, and picture {best + 1} pasted into it. All of them are below.")
        shown = gr.update(value=(pasted[best].before, pasted[best].path), visible=True)
        return {self.slider: shown, self.caption: caption}, pasted

    def _visible(self, values: Values) -> Updates:
        return {self.kept: gr.update(visible=values[self.mode] == KEEP)}
