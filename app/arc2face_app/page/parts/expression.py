"""Which expression: a named one, that of a photo, or numbers set by hand; one of them at a time, with a preview."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np

from arc2face.expression.presets import BUILT_IN, load_presets
from arc2face.expression.values import (
    AMOUNT_RANGE,
    EYELID_RANGE,
    JAW_OPEN_RANGE,
    JAW_TURN_RANGE,
    check_expression,
    load_expression,
    save_expression,
)
from arc2face.settings import CONTROL_STRENGTH_RANGE
from arc2face.sources import ExpressionSource, Mixed, find_expression, find_preset
from arc2face.types import Expression
from arc2face_app.page import links, markup
from arc2face_app.page.messages import shows_errors, words
from arc2face_app.page.parts.examples import picture_strip
from arc2face_app.page.parts.expression_edit import Edit, clay, expression_of
from arc2face_app.page.parts.handed import hand_over
from arc2face_app.page.parts.keyed import Component, Rules, Updates, Values
from arc2face_app.page.parts.photos import PhotoPicker
from arc2face_app.page.parts.recipe import Recipe
from arc2face_app.page.parts.regions import RegionMixer
from arc2face_app.runs.given import taken_as_it_lies
from arc2face_app.runs.shell import INSTANT, LIGHT, TELLING, Shell, session_of

NAMED, PHOTO, SLIDERS = "A name", "A photo", "Sliders"
FIRST = ("Smile", "Laugh", "Surprised", "Sad", "Angry", "Kiss", "Mouth open", "Wink, left eye", "Eyes closed")
"""Names in this order come before all others; the first that there is stands chosen when the tab is opened."""
PREVIEW_SIZE = 256
PREVIEW = "The preview shows all but the eyelids."
NO_EXPRESSION_PHOTO = "Add a photo that shows the expression."


class ExpressionControls:
    """The editor. `edit` is its session state; `inputs` is all that a run needs.

    Numbers that are set by hand, in whatever way, turn the choice to the sliders.
    """

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self.edit: gr.State = gr.State(Edit())
        self.mode = gr.Radio([NAMED, PHOTO, SLIDERS], value=NAMED, label="Take the expression from")
        self._build_sources()
        with gr.Row(equal_height=False, elem_classes=["with-peek"]):
            with gr.Column(scale=3, min_width=180):
                self.amount = gr.Slider(
                    *AMOUNT_RANGE,
                    value=1,
                    step=0.05,
                    label="Amount",
                    info="0 neutral, 1 as found.",
                    buttons=[],
                )
                self.note = gr.HTML(markup.hint(PREVIEW))
            with gr.Column(scale=2, min_width=120):
                self.preview = gr.Image(
                    label="Expression seen by the model",
                    show_label=False,
                    interactive=False,
                    height=132,
                    min_width=120,
                    buttons=[],
                    elem_classes=["peek"],
                )

    def _build_sources(self) -> None:
        with gr.Column(elem_classes=["named"]) as self._named:
            names = sorted(BUILT_IN, key=place_of_name)
            self.preset = gr.Radio(names, value=None, label="Expression", show_label=False, elem_classes=["chips"])
            gr.HTML(markup.MORE_NAMES)
        with gr.Column(visible=False) as self._photo:
            self.photo = PhotoPicker(
                self._shell,
                label="Photo with the expression",
                text="Anyone's photo: only the expression counts.",
                name="the expression photo",
                height=110,
            )
            picture_strip("expressions", self.photo)
        with gr.Column(visible=False) as self._sliders:
            self.opening = _slider(JAW_OPEN_RANGE, "Mouth open")
            self.left = _slider(EYELID_RANGE, "Left eye closed")
            self.right = _slider(EYELID_RANGE, "Right eye closed")
            with gr.Row():
                self.neutral = gr.Button("Neutral", size="sm", min_width=70)
                self.undo = gr.Button("Step back", size="sm", min_width=70)

    def build_more(self) -> None:
        """The folded part: strength, blend, jaw rotations, the 50 components, files."""
        with gr.Accordion("Fine-tune the expression", open=False):
            self.strength = gr.Slider(
                *CONTROL_STRENGTH_RANGE,
                value=1,
                step=0.05,
                label="Strength",
                info="How firmly the pictures follow it; above 1 is untested.",
                buttons=[],
            )
            self.side = _slider(JAW_TURN_RANGE, "Jaw sideways")
            self.roll = _slider(JAW_TURN_RANGE, "Jaw tilt")
            gr.HTML(markup.hint("Blend with a second photo:"))
            self.second = PhotoPicker(self._shell, label="Second photo", text="", name="the second photo")
            self.share = gr.Slider(0, 1, value=0.5, step=0.05, label="Share of the second photo", buttons=[])
            self.mixer = RegionMixer()
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
                self.load = gr.UploadButton("Load an expression", size="sm", file_types=[".json"])
                taken_as_it_lies(self.load)
        hand_over(save.click, self._save, self._sources)
        self.load.upload(self._load, {self.load, self.edit}, [*self._by_hand], **LIGHT)
        self._connect()

    @property
    def inputs(self) -> set[Component]:
        """The edit, what it is taken from and how it is mixed, and the strength."""
        return {*self._sources, self.strength}

    @property
    def rules(self) -> Rules:
        """Rules for a validator: a photo, where that is the source."""
        return self.photo.rules(NO_EXPRESSION_PHOTO, when=(self.mode, PHOTO))

    def expression(self, values: Values, session: str) -> Expression:
        """The expression that the values describe. Raises Arc2FaceError."""
        return expression_of(self._sourced(values, session).now)

    @property
    def _fields(self) -> dict[str, tuple[Component, int]]:
        """Slider and place among the 55 numbers, by field of `Mixed`."""
        return {
            "left_eyelid": (self.left, 50),
            "right_eyelid": (self.right, 51),
            "jaw_open": (self.opening, 52),
            "jaw_side": (self.side, 53),
            "jaw_roll": (self.roll, 54),
        }

    @property
    def _sources(self) -> set[Component]:
        return {self.mode, self.preset, *self.photo.inputs, *self._mixing}

    @property
    def _mixing(self) -> set[Component]:
        return {self.edit, self.amount, self.share}

    @property
    def _numbers(self) -> set[Component]:
        return {self.edit, *(slider for slider, _ in self._fields.values())}

    @property
    def _columns(self) -> dict[str, Component]:
        return {NAMED: self._named, PHOTO: self._photo, SLIDERS: self._sliders}

    @property
    def _by_hand(self) -> set[Component]:
        """What a change of the numbers themselves updates."""
        return {*self._numbers, *self._mixing, self.mode, *self._columns.values()}

    @property
    def _drawn(self) -> set[Component]:
        return {self.preview, self.note, self.components}

    def draw_when(self, trigger: Any) -> None:
        """Draw the preview, and offer the models' own expressions, when `trigger` (an event) fires."""
        trigger(self._draw, {self.edit}, self._drawn, **LIGHT)
        trigger(self._offer, self._sources, {self.preset, *self._numbers}, **LIGHT)

    @property
    def restorable(self) -> set[Component]:
        """Components that `restored` updates."""
        return {*self._by_hand, self.strength, self.preset, self.second.photos}

    def restored(self, recipe: Recipe) -> Updates:
        """The expression and its strength from a recipe. Raises InputError when its numbers are damaged."""
        stored = recipe.part("expression")
        named = self._restored_name(recipe)
        if named or "values" not in stored:
            return named
        shown = self._shown(Edit().to(check_expression(_expression_in(stored)), "recipe"))
        strength = recipe.number("expression", "strength", 1.0, CONTROL_STRENGTH_RANGE)
        alone = {self.amount: 1, self.preset: None, self.second.photos: []}
        return {**shown, **alone, self.strength: strength, **self._choose(SLIDERS)}

    def _restored_name(self, recipe: Recipe) -> Updates:
        """The name that a recipe gives its expression; nothing where its numbers are others. Raises SettingsError."""
        name, stored = recipe.part("page").get("expression_name"), recipe.part("expression")
        if name is None:
            return {}
        known = load_presets(self._root)
        found = [one for one in known if isinstance(name, str) and one.lower() == name.lower()]
        if not found and "values" in stored:
            return {}  # of other models, whose numbers are there
        amount, base = recipe.number("page", "amount", 1.0, AMOUNT_RANGE), find_preset(name, self._root)
        name = found[0]
        edit = Edit().from_source(base, amount, 0, f"name {name}")
        if "values" in stored and not np.allclose(edit.now, _expression_in(stored).values, atol=1e-3):
            return {}
        strength = recipe.number("expression", "strength", 1.0, CONTROL_STRENGTH_RANGE)
        preset = gr.update(choices=sorted(known, key=place_of_name), value=name)
        alone = {self.amount: amount, self.preset: preset, self.second.photos: []}
        return {**self._shown(edit), **alone, self.strength: strength, **self._choose(NAMED)}

    def notes(self, values: Values) -> dict[str, Any]:
        """What a recipe of the page says of the expression besides its numbers: its name, while it is that one."""
        edit: Edit = values[self.edit]
        if values[self.mode] != NAMED or edit.source != f"name {values[self.preset]}" or edit.other is not None:
            return {}
        return {"expression_name": values[self.preset], "amount": values[self.amount]}

    def described(self, values: Values) -> dict[str, dict[str, Any]]:
        """The expression as parts of a recipe: its name, or its numbers, whatever they come from; and its strength."""
        notes, strength = self.notes(values), values[self.strength]
        if notes:
            return {"expression": {"strength": strength}, "page": notes}
        return {"expression": {"values": expression_of(values[self.edit].now).values.tolist(), "strength": strength}}

    def _connect(self) -> None:
        self.mode.input(self._visible, {self.mode}, [*self._columns.values()], **INSTANT)
        for source in (self.mode.input, self.preset.input, self.photo.picks.change):
            source(self._source, self._sources, [*self._numbers], **LIGHT)
        self.second.picks.change(self._read_other, {*self.second.inputs, *self._mixing}, [*self._numbers], **LIGHT)
        taken: set[Component] = {self.mixer.parts, *self.second.inputs, *self._mixing}
        self.mixer.take.click(self._take_parts, taken, [*self._by_hand, self.mixer.said], **LIGHT)
        self.neutral.click(self._to_neutral, {self.edit}, [*self._by_hand], **TELLING)
        self.undo.click(self._back, {self.edit}, [*self._by_hand], **TELLING)
        for name, slider in (("amount", self.amount), ("share", self.share)):
            slider.input(partial(self._mix, name), self._mixing, [*self._numbers], **TELLING)
        for field, (slider, _) in self._fields.items():
            outputs = {self.edit, self.amount, self.share, self.mode, *self._columns.values()}
            slider.input(partial(self._shape, field, slider), {self.edit, slider}, outputs, **TELLING)
        self.components.input(self._table, {self.edit, self.components}, [*self._by_hand], **LIGHT)
        self.edit.change(self._draw, {self.edit}, [*self._drawn], trigger_mode="always_last", **LIGHT)

    def _visible(self, values: Values) -> Updates:
        return {column: gr.update(visible=values[self.mode] == mode) for mode, column in self._columns.items()}

    def _choose(self, mode: str) -> Updates:
        return {self.mode: mode, **self._visible({self.mode: mode})}

    @shows_errors
    def _source(self, values: Values, request: gr.Request) -> Updates:
        """What was chosen counts from now on; a photo in which nobody was found is told of where it stands."""
        if values[self.mode] == PHOTO and not (values[self.photo.photos] and values[self.photo.picks]):
            return {self.edit: gr.skip()}
        return self._shown(self._sourced(values, session_of(request)))

    def _sourced(self, values: Values, session: str) -> Edit:
        """The edit, made again where it does not come from what is chosen: a click may overtake the reading."""
        edit: Edit = values[self.edit]
        source = ""
        if values[self.mode] == NAMED and values[self.preset]:
            source = f"name {values[self.preset]}"
        elif values[self.mode] == PHOTO and self.photo.paths(values):
            source = f"photo {self.photo.paths(values)[0]} {self.photo.picked(values)[0]}"
        if source in ("", edit.source):
            return edit
        by_name = values[self.mode] == NAMED
        base = find_preset(values[self.preset], self._root) if by_name else self._read(self.photo, values, session)
        return edit.from_source(base, values[self.amount], values[self.share], source)

    @shows_errors
    def _read_other(self, values: Values, request: gr.Request) -> Updates:
        there = values[self.second.photos] and values[self.second.picks]
        other = self._read(self.second, values, session_of(request)) if there else None
        return self._shown(values[self.edit].with_other(other, values[self.amount], values[self.share]))

    @shows_errors
    def _take_parts(self, values: Values, request: gr.Request) -> Updates:
        """Numbers set by hand from then on; what was blended in before is left out."""
        other = self._read(self.second, values, session_of(request))
        alone: Edit = values[self.edit].with_other(None, values[self.amount], values[self.share])
        engine, now = self._shell.backend.engine(), expression_of(alone.now)
        mixture = self.mixer.mixed(engine, now, other, values[self.mixer.parts])
        return {**self._direct(alone.to(mixture.expression, "parts")), self.mixer.said: self.mixer.words(mixture)}

    def _read(self, picker: PhotoPicker, values: Values, session: str) -> Expression:
        photo, face = picker.one(values, session, NO_EXPRESSION_PHOTO)
        return find_expression(self._shell.backend.engine(), ExpressionSource(photo=photo, face=face))

    @shows_errors
    def _offer(self, values: Values, request: gr.Request) -> Updates:
        """All names there are; the first of them is chosen where nothing was done yet, so that there is an effect."""
        names = sorted(load_presets(self._root), key=place_of_name)
        asked = links.asks(dict(request.query_params or {}), "expression")  # an address says which
        fresh = values[self.mode] == NAMED and not values[self.preset] and values[self.edit] == Edit() and not asked
        if not fresh:
            return {self.preset: gr.update(choices=names)}
        chosen = {**values, self.preset: names[0]}
        shown = self._shown(self._sourced(chosen, session_of(request)))
        return {**shown, self.preset: gr.update(choices=names, value=names[0])}

    @property
    def _root(self) -> Path | None:
        backend = self._shell.backend
        return backend.engine().models.root if backend.ready else None

    def _to_neutral(self, values: Values) -> Updates:
        return self._direct(values[self.edit].to(Expression.neutral(), "neutral"))

    def _back(self, values: Values) -> Updates:
        return self._direct(values[self.edit].back())

    @shows_errors
    def _mix(self, touched: str, values: Values) -> Updates:
        return self._shown(values[self.edit].mixed(values[self.amount], values[self.share], touched))

    @shows_errors
    def _shape(self, field: str, slider: gr.Slider, values: Values) -> Updates:
        edit: Edit = values[self.edit].shaped(Mixed(**{field: values[slider]}), field)
        return {self.edit: edit, **self._unmixed(edit), **self._choose(SLIDERS)}

    @shows_errors
    def _table(self, values: Values) -> Updates:
        return self._direct(values[self.edit].with_table(values[self.components]))

    @shows_errors
    def _load(self, values: Values) -> Updates:
        return self._direct(values[self.edit].to(load_expression(Path(values[self.load])), "file"))

    @shows_errors
    def _save(self, values: Values, request: gr.Request) -> str:
        target = self._shell.files.new_run(session_of(request)) / "expression.json"
        return str(save_expression(target, self.expression(values, session_of(request))))

    def _draw(self, values: Values) -> Updates:
        """The preview needs FLAME's head; without it a sentence stands in its place."""
        table = {self.components: values[self.edit].table}
        try:
            engine = self._shell.backend.engine()
            now = expression_of(values[self.edit].now)
            map_ = engine.normal_map(0, 0, 0, expression=now, size=PREVIEW_SIZE)
        except Exception as error:
            return {**table, self.preview: None, self.note: markup.hint(markup.no_preview(words(error)))}
        return {**table, self.preview: clay(map_), self.note: markup.hint(PREVIEW)}

    def _direct(self, edit: Edit) -> Updates:
        """After a change of the numbers themselves: they are the base now, at amount 1."""
        return {**self._shown(edit), **self._unmixed(edit), **self._choose(SLIDERS)}

    def _unmixed(self, edit: Edit) -> Updates:
        share = {self.share: 0} if edit.other is not None else {}
        return {self.amount: 1, **share}

    def _shown(self, edit: Edit) -> Updates:
        """The edit and where its sliders stand; the edit keeps decimals and ranges that a slider cannot show."""
        sliders = {
            slider: round(min(max(edit.now[place], slider.minimum), slider.maximum), 3)
            for slider, place in self._fields.values()
        }
        return {self.edit: edit, **sliders}


def place_of_name(name: str) -> int:
    """Where a named expression stands among the others; the usual ones come first."""
    return FIRST.index(name) if name in FIRST else len(FIRST)


def _expression_in(stored: Mapping[str, Any]) -> Expression:
    values: Any = stored.get("values")
    return Expression(values)


def _slider(limits: tuple[float, float], label: str) -> gr.Slider:
    return gr.Slider(*limits, value=0, step=0.01, label=label, buttons=[])
