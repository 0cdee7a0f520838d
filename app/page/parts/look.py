"""Whose look: a new picture of the person, or their own photo with only the expression changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from app.page import markup
from app.page.parts.photos import Photos
from app.page.parts.results import Updates
from app.runs.shell import INSTANT
from arc2face.errors import InputError
from arc2face.pictures.loading import load_rgb_u8
from arc2face.types import ReferenceCondition, RgbU8

if TYPE_CHECKING:
    from app.runs import runner
    from app.runs.pictures import Picture
    from arc2face.engine import Engine

NEW, KEEP = "A new picture", "Keep the photo's look"
LOOK = "Higher keeps more of hair, clothes and background; close to 1 the photo is copied, its expression included."


class LookControls:
    """New picture or keep the look, and pasting the result back into the full photo."""

    def __init__(self) -> None:
        self.mode = gr.Radio([NEW, KEEP], value=NEW, label="Make")
        with gr.Column(visible=False) as self.kept:
            self.look = gr.Slider(0, 1, value=0.8, step=0.05, label="Keep how much", info=LOOK, buttons=[])
            self.paste = gr.Checkbox(True, label="Paste the result back into the full photo")
            self.mask = gr.Radio([("Face only", "face"), ("Whole head", "head")], value="face", label="Paste")
        self.mode.input(lambda mode: gr.update(visible=mode == KEEP), self.mode, self.kept, **INSTANT)  # pyright: ignore[reportUnknownLambdaType]

    def restored(self, recipe: Mapping[str, Any]) -> dict[Any, Any]:
        """Whether the look was kept, and how much, from a recipe."""
        stored = recipe.get("reference")
        if not stored:
            return {self.mode: NEW, self.kept: gr.update(visible=False)}
        return {self.mode: KEEP, self.kept: gr.update(visible=True), self.look: stored.get("strength", 0.8)}

    def build_comparison(self) -> None:
        """The before and after views, placed by the tab among its results."""
        self.slider = gr.ImageSlider(
            label="Before and after",
            show_label=False,
            visible=False,
            interactive=False,
            type="filepath",
            max_height=520,
            buttons=["download", "fullscreen"],
        )
        self.caption = gr.HTML("")

    @property
    def inputs(self) -> list[Any]:
        """Mode, how much, paste-back switch, mask."""
        return [self.mode, self.look, self.paste, self.mask]

    @property
    def outputs(self) -> list[Any]:
        """What `pasted` updates."""
        return [self.slider, self.caption]

    @staticmethod
    def condition(
        engine: Engine, person: tuple[Photos | None, Any], values: Sequence[Any]
    ) -> ReferenceCondition | None:
        """The request's reference, None for a new picture.

        Raises:
            InputError: the look of a saved identity is asked for, which has none.
        """
        mode, look = values[:2]
        if mode != KEEP:
            return None
        photo, pick = _photo(person)
        return ReferenceCondition(engine.align(photo, pick), look)

    def hidden(self) -> Updates:
        """No comparison: nothing was pasted."""
        return {self.slider: gr.update(visible=False), self.caption: ""}

    def pasted(
        self,
        engine: Engine,
        person: tuple[Photos | None, Any],
        values: Sequence[Any],
        results: runner.Results,
        pictures: Sequence[Picture],
    ) -> tuple[Updates, list[Path]]:
        """Blend every picture into the full photo; the best one is compared with it. Returns updates and new files."""
        mode, _, paste, mask = values
        if mode != KEEP or not paste:
            return self.hidden(), []
        files = paste_all(engine, person, mask, results, pictures)
        best = max(range(len(pictures)), key=lambda k: pictures[k].similarity or -2.0)
        photos = list(person[0] or [])
        caption = markup.hint(f"Your photo, and picture {best + 1} pasted into it. All of them are in the zip.")
        return {
            self.slider: gr.update(value=(photos[0][0], str(files[best])), visible=True),
            self.caption: caption,
        }, files


def paste_all(
    engine: Engine, person: tuple[Photos | None, Any], mask: str, results: runner.Results, pictures: Sequence[Picture]
) -> list[Path]:
    """One full-size PNG per picture, beside it, with the picture's recipe."""
    from arc2face.faces.pasteback import paste_back
    from arc2face.pictures.recipes import save_png

    photo, pick = _photo(person)
    faces = engine.faces
    landmarks = faces.landmarks(photo, faces.detect(photo)[pick])
    files: list[Path] = []
    images = [(image, result) for result in results for image in result.images]
    for (image, result), picture in zip(images, pictures, strict=True):
        found = faces.detect(image.rgb_u8)
        drawn = faces.landmarks(image.rgb_u8, found[0]) if found else None
        whole = paste_back(
            photo,
            image.rgb_u8,
            landmarks,
            "head" if mask == "head" else "face",
            generated_landmarks=drawn,
            aligned_size=engine.native_size,
        )
        target = Path(picture.path).with_name(f"full-{Path(picture.path).name}")
        files.append(save_png(replace(image, rgb_u8=whole), result, target))
    return files


def _photo(person: tuple[Photos | None, Any]) -> tuple[RgbU8, int]:
    photos, picks = person
    if not photos:
        raise InputError("Keeping the photo's look needs a photo of the person; a saved identity has none.")
    path = photos[0][0]
    return load_rgb_u8(path), (picks or {}).get(path, 0)
