"""Which expression: read from a photo or taken from a preset, then editable number by number, with a preview."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from app.page import markup
from app.page.parts.examples import picture_strip
from app.page.parts.expression_edit import Edit, clay, expression_of
from app.page.parts.photos import PhotoPicker, Photos
from app.runs.errors import explain, shows_errors
from app.runs.shell import INSTANT, LIGHT, Shell, session_of
from arc2face.expression.presets import BUILT_IN, load_presets
from arc2face.expression.values import (
    AMOUNT_RANGE,
    EYELID_RANGE,
    JAW_OPEN_RANGE,
    JAW_TURN_RANGE,
    load_expression,
    save_expression,
)
from arc2face.types import Expression

PREVIEW_SIZE = 256
PREVIEW = "The preview shows everything but the eyelids."


class ExpressionControls:
    """The editor. `edit` is its session state; `inputs` is all that a run needs."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self.edit: gr.State = gr.State(Edit())
        self.photo = PhotoPicker(
            shell, label="Photo with the expression", text="Anyone's photo: only the expression counts."
        )
        picture_strip("expressions", self.photo)
        with gr.Row(equal_height=False):
            with gr.Column(scale=3, min_width=190):
                self.preset = gr.Dropdown(list(BUILT_IN), value=None, label="Or start from")
                self.amount = gr.Slider(
                    *AMOUNT_RANGE,
                    value=1,
                    step=0.05,
                    label="Amount",
                    info="0 neutral, 1 as found, above 1 exaggerated.",
                    buttons=[],
                )
                self.opening = _slider(JAW_OPEN_RANGE, "Mouth open")
                self.left = _slider(EYELID_RANGE, "Left eye closed")
                self.right = _slider(EYELID_RANGE, "Right eye closed")
            with gr.Column(scale=2, min_width=150):
                self.preview = gr.Image(
                    label="Preview",
                    show_label=False,
                    interactive=False,
                    height=190,
                    min_width=150,
                    buttons=[],
                    elem_classes=["peek"],
                )
                self.note = gr.HTML(markup.hint(PREVIEW))
                with gr.Row():
                    self.neutral = gr.Button("Neutral", size="sm", min_width=70)
                    self.undo = gr.Button("Step back", size="sm", min_width=70)

    def build_more(self) -> None:
        """The folded part: strength, blend, jaw rotations, the 50 components, files."""
        with gr.Accordion("Fine-tune the expression", open=False):
            self.strength = gr.Slider(
                0,
                1.5,
                value=1,
                step=0.05,
                label="Strength",
                info="How firmly the pictures follow it; above 1 is untested.",
                buttons=[],
            )
            self.side = _slider(JAW_TURN_RANGE, "Jaw sideways")
            self.roll = _slider(JAW_TURN_RANGE, "Jaw tilt")
            gr.HTML(markup.hint("Blend with a second photo:"))
            self.second = PhotoPicker(self._shell, label="Second photo", text="")
            self.share = gr.Slider(0, 1, value=0.5, step=0.05, label="Share of the second photo", buttons=[])
            self.components = gr.Dataframe(
                Edit().table,
                headers=[str(k) for k in range(1, 11)],
                datatype="number",
                type="array",
                interactive=True,
                label="The 50 components of FLAME, ten per row",
                row_count=5,
                column_count=10,
            )
            with gr.Row():
                save = gr.Button("Save the expression", size="sm")
                load = gr.UploadButton("Load an expression", size="sm", file_types=[".json"])
            saved = gr.File(label="Expression", visible=False, interactive=False)
        save.click(self._save, self.edit, saved, **LIGHT)
        load.upload(self._load, [load, self.edit], self._numbers, **INSTANT)
        self._connect()

    @property
    def inputs(self) -> list[Any]:
        """The edit, and the strength."""
        return [self.edit, self.strength]

    @property
    def _sliders(self) -> list[Any]:
        return [self.left, self.right, self.opening, self.side, self.roll]

    @property
    def _numbers(self) -> list[Any]:
        return [self.edit, *self._sliders]

    def draw_when(self, trigger: Any) -> None:
        """Draw the preview, and offer the models' own presets, when `trigger` (an event) fires."""
        trigger(self._draw, self.edit, [self.preview, self.note, self.components], **LIGHT)
        trigger(self._presets, None, self.preset, **LIGHT)

    def restored(self, recipe: Mapping[str, Any]) -> dict[Any, Any]:
        """The expression and its strength from a recipe. Raises ExpressionError when its numbers are damaged."""
        stored = recipe.get("expression")
        if not stored:
            return {}
        shown = _shown(Edit().to(expression_of(stored["values"]), "recipe"))
        return {**dict(zip(self._numbers, shown, strict=True)), self.strength: stored.get("strength", 1.0)}

    @property
    def restorable(self) -> list[Any]:
        """Components that `restored` updates."""
        return [*self._numbers, self.strength]

    def _connect(self) -> None:
        mixing = [self.edit, self.amount, self.share]
        self.photo.picks.change(self._read_base, [*self.photo.inputs, *mixing], self._numbers, **LIGHT)
        self.second.picks.change(self._read_other, [*self.second.inputs, *mixing], self._numbers, **LIGHT)
        self.preset.input(self._preset, [self.preset, *mixing], self._numbers, **LIGHT)
        self.neutral.click(self._to_neutral, mixing, [*self._numbers, self.preset], **INSTANT)
        self.undo.click(lambda edit: _shown(edit.back()), self.edit, self._numbers, **INSTANT)  # pyright: ignore[reportUnknownLambdaType]
        for name, slider in (("amount", self.amount), ("share", self.share)):
            slider.input(_mixer(name), mixing, self._numbers, **INSTANT)
        for name, slider in zip(("left", "right", "opening", "side", "roll"), self._sliders, strict=True):
            slider.input(_shaper(name), [self.edit, *self._sliders], self.edit, **INSTANT)
        self.components.input(self._table, [self.edit, self.components], self._numbers, **INSTANT)
        drawn = [self.preview, self.note, self.components]
        self.edit.change(self._draw, self.edit, drawn, trigger_mode="always_last", **LIGHT)

    @shows_errors
    def _read_base(
        self, photos: Photos | None, picks: Mapping[str, int], edit: Edit, amount: float, share: float
    ) -> Any:
        if not photos or not picks:
            return _unchanged()
        return _shown(edit.from_source(self._read(photos, picks), amount, share))

    @shows_errors
    def _read_other(
        self, photos: Photos | None, picks: Mapping[str, int], edit: Edit, amount: float, share: float
    ) -> Any:
        other = self._read(photos, picks) if photos and picks else None
        return _shown(edit.with_other(other, amount, share))

    def _read(self, photos: Photos, picks: Mapping[str, int]) -> Expression:
        chosen = self.photo.chosen(photos, picks)
        return self._shell.backend.engine().read_expression(chosen.rgb_u8, chosen.pick)

    @shows_errors
    def _preset(self, name: str | None, edit: Edit, amount: float, share: float) -> Any:
        known = self._known()
        return _shown(edit.from_source(known[name], amount, share)) if name in known else _unchanged()

    def _presets(self) -> Any:
        return gr.update(choices=list(self._known()))

    def _known(self) -> dict[str, Expression]:
        backend = self._shell.backend
        return load_presets(backend.engine().models.root if backend.ready else None)

    def _to_neutral(self, edit: Edit, amount: float, share: float) -> Any:
        return *_shown(edit.from_source(Expression.neutral(), amount, share)), None

    @shows_errors
    def _table(self, edit: Edit, rows: Sequence[Sequence[Any]]) -> Any:
        return _shown(edit.with_components([float(value or 0.0) for row in rows for value in row]))

    def _draw(self, edit: Edit) -> tuple[Any, str, Any]:
        """The preview needs FLAME's head; without it a sentence stands in its place."""
        try:
            map_ = self._shell.backend.engine().normal_map(
                0, 0, 0, expression=expression_of(edit.now), size=PREVIEW_SIZE
            )
        except Exception as error:
            return None, markup.hint(markup.no_preview(explain(error))), edit.table
        return clay(map_), markup.hint(PREVIEW), edit.table

    @shows_errors
    def _save(self, request: gr.Request, edit: Edit) -> Any:
        target = self._shell.files.new_run(session_of(request)) / "expression.json"
        return gr.update(value=str(save_expression(target, expression_of(edit.now))), visible=True)

    @shows_errors
    def _load(self, path: str, edit: Edit) -> Any:
        return _shown(edit.to(load_expression(Path(path)), "file"))


def _slider(limits: tuple[float, float], label: str) -> gr.Slider:
    return gr.Slider(*limits, value=0, step=0.01, label=label, buttons=[])


def _shown(edit: Edit) -> tuple[Any, ...]:
    return edit, *(round(value, 3) for value in edit.lids_and_jaw)


def _unchanged() -> tuple[Any, ...]:
    return tuple(gr.skip() for _ in range(6))


def _mixer(name: str) -> Any:
    def mix(edit: Edit, amount: float, share: float) -> tuple[Any, ...]:
        return _shown(edit.mixed(amount, share, name))

    return mix


def _shaper(name: str) -> Any:
    def shape(edit: Edit, left: float, right: float, opening: float, side: float, roll: float) -> Edit:
        return edit.with_lids_and_jaw(left, right, opening, side, roll, name)

    return shape
