"""Where the head looks: from a photo, from sliders with a live preview, or from a saved normal map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gradio as gr

from app.page import markup
from app.page.parts.examples import picture_strip
from app.page.parts.photos import PhotoPicker, Photos
from app.runs.errors import explain
from app.runs.shell import INSTANT, LIGHT, Shell
from arc2face.errors import InputError
from arc2face.pictures.loading import load_rgb_u8, resize_square
from arc2face.pose.values import PITCH_LIMIT, ROLL_LIMIT, YAW_LIMIT
from arc2face.types import PoseCondition, RgbU8

if TYPE_CHECKING:
    from arc2face.engine import Engine

OFF, SLIDERS, PHOTO, MAP = "No change", "Sliders", "A photo", "A normal map"
PREVIEW_SIZE = 256
PREVIEW = "What the model sees of the pose: a map of surface directions."
NO_POSE_PHOTO = "Add a photo that shows the pose."


@dataclass(frozen=True, slots=True)
class Posed:
    """A pose ready for a request. `aligned`: the aligned reference photo, None without one."""

    normal_map: RgbU8
    aligned: RgbU8 | None = None
    warnings: tuple[str, ...] = ()


class AngleSliders:
    """Yaw, pitch and roll with a live normal map. `on_demand`: draw the preview only once a slider has moved."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        with gr.Row(equal_height=False):
            with gr.Column(scale=3, min_width=180):
                self.yaw = _angle("Turn", YAW_LIMIT, "Left or right, in degrees.")
                self.pitch = _angle("Nod", PITCH_LIMIT, "Up or down.")
                self.roll = _angle("Tilt", ROLL_LIMIT, "Ear to shoulder.")
            with gr.Column(scale=2, min_width=150):
                self.preview = gr.Image(
                    label="Head seen by the model",
                    show_label=False,
                    interactive=False,
                    elem_classes=["peek"],
                    format="png",
                    height=190,
                    min_width=150,
                    buttons=["download"],
                )
                self.note = gr.HTML(markup.hint(PREVIEW))
        for slider in self.inputs:
            slider.change(self._draw, self.inputs, [self.preview, self.note], trigger_mode="always_last", **LIGHT)

    @property
    def inputs(self) -> list[Any]:
        """Yaw, pitch, roll in degrees."""
        return [self.yaw, self.pitch, self.roll]

    def draw_when(self, trigger: Any) -> None:
        """Draw the preview when `trigger` (an event) fires."""
        trigger(self._draw, self.inputs, [self.preview, self.note], **LIGHT)

    def _draw(self, yaw: float, pitch: float, roll: float) -> tuple[RgbU8 | None, str]:
        """The preview needs FLAME's head; without it a sentence stands in its place."""
        try:
            return self._shell.backend.engine().normal_map(yaw, pitch, roll, size=PREVIEW_SIZE), markup.hint(PREVIEW)
        except Exception as error:
            return None, markup.hint(markup.no_preview(explain(error)))


class PoseControls:
    """The choice of a source for the pose, and how strongly it acts. `optional`: no pose is a choice, and the first."""

    def __init__(self, shell: Shell, *, optional: bool = False) -> None:
        self._shell = shell
        modes = [OFF, SLIDERS, PHOTO, MAP] if optional else [SLIDERS, PHOTO, MAP]
        self.mode = gr.Radio(modes, value=modes[0], label="Take the pose from")
        with gr.Column(visible=not optional) as self._sliders:
            self.angles = AngleSliders(shell)
        with gr.Column(visible=False) as self._photo:
            self.reference = PhotoPicker(
                shell, label="Photo with the pose", text="Anyone's photo: only the pose counts."
            )
            picture_strip("poses", self.reference)
        with gr.Column(visible=False) as self._map:
            self.map = PhotoPicker(shell, label="Normal map", text="A normal map saved here earlier.", faces=False)
        self.mode.input(_visible, self.mode, [self._sliders, self._photo, self._map], **INSTANT)

    def build_advanced(self) -> None:
        """The folded part: strength, start and end."""
        with gr.Accordion("How strongly the pose acts", open=False):
            self.strength = gr.Slider(0, 2, value=1, step=0.05, label="Strength", info="1 is as trained.", buttons=[])
            self.start = gr.Slider(0, 0.95, value=0, step=0.05, label="From this share of the steps", buttons=[])
            self.end = gr.Slider(0.05, 1, value=1, step=0.05, label="To this share of the steps", buttons=[])

    @property
    def inputs(self) -> list[Any]:
        """Mode, three angles, reference photo and picks, normal map, strength, start, end."""
        source = [self.mode, *self.angles.inputs, *self.reference.inputs, self.map.photos]
        return [*source, self.strength, self.start, self.end]

    def restored(self, recipe: Mapping[str, Any]) -> dict[Any, Any]:
        """Strength, start and end of a recipe; the pose itself needs its photo or map again."""
        stored = recipe.get("pose") or {}
        widgets = {"strength": self.strength, "start": self.start, "end": self.end}
        return {widget: stored[name] for name, widget in widgets.items() if name in stored}

    def verdicts(self, *values: Any) -> list[dict[str, Any]]:
        """One verdict per entry of `inputs`."""
        fine = [gr.validate(True, "") for _ in values]
        if values[0] == PHOTO:
            fine[4] = self.reference.verdict(values[4], missing=NO_POSE_PHOTO)
        if values[0] == MAP:
            fine[6] = self.map.verdict(values[6], missing="Add a normal map.")
        if not values[8] < values[9]:
            fine[9] = gr.validate(False, "The end must come after the start.")
        return fine

    def pose(self, engine: Engine, person: tuple[Photos | None, Any], values: Sequence[Any]) -> Posed:
        """The pose that `inputs` describe, with the face shape of `person` (photos, picks) where there is one."""
        mode, yaw, pitch, roll, reference, picks, normal_map = values[:7]
        if mode == MAP:
            return Posed(square_map(load_rgb_u8(_first(normal_map, "Add a normal map.")), engine.native_size))
        if mode == SLIDERS:
            return Posed(engine.normal_map(yaw, pitch, roll))
        _first(reference, NO_POSE_PHOTO)
        target = self.reference.chosen(reference, picks)
        return read_pose(engine, person, target.rgb_u8, target.pick)

    @staticmethod
    def condition(posed: Posed, values: Sequence[Any]) -> PoseCondition:
        """The request's pose. Raises SettingsError."""
        strength, start, end = values[7:10]
        return PoseCondition(posed.normal_map, strength, start, end)


def read_pose(engine: Engine, person: tuple[Photos | None, Any], reference: RgbU8, pick: int) -> Posed:
    """Shape of the person, pose of the reference. A saved identity has no shape: the reference's own is used then."""
    photos, picks = person
    source, source_pick, notes = (
        reference,
        pick,
        ("Without a photo of the person, the pose photo's head shape is used.",),
    )
    if photos:
        path = photos[0][0]
        source, source_pick, notes = load_rgb_u8(path), (picks or {}).get(path, 0), ()
    reading = engine.read_pose(source, reference, source_pick, pick)
    return Posed(
        resize_square(reading.normal_map, engine.native_size), reading.aligned_rgb_u8, (*notes, *reading.warnings)
    )


def square_map(rgb_u8: RgbU8, size: int) -> RgbU8:
    """An uploaded normal map at the models' size.

    Raises:
        InputError: it is not square.
    """
    height, width = rgb_u8.shape[:2]
    if abs(height - width) > 0.02 * max(height, width):
        raise InputError(f"A normal map is square; this one is {width} x {height}. Use one that was saved here.")
    return resize_square(rgb_u8, size)


def _visible(mode: str) -> list[Any]:
    return [gr.update(visible=mode == name) for name in (SLIDERS, PHOTO, MAP)]


def _angle(label: str, limit: float, info: str) -> gr.Slider:
    return gr.Slider(-limit, limit, value=0, step=1, label=label, info=info, buttons=["reset"])


def _first(photos: Photos | None, missing: str) -> str:
    if not photos:
        raise InputError(missing)
    return photos[0][0]
