"""Where the head looks: from a photo, from sliders with a live preview, or from a saved normal map."""

from __future__ import annotations

from typing import Any

import gradio as gr

from arc2face import checks
from arc2face.errors import SettingsError
from arc2face.pose.values import check_angles
from arc2face.settings import CONTROL_STRENGTH_RANGE, PITCH_LIMIT, ROLL_LIMIT, YAW_LIMIT
from arc2face.sources import PoseSource
from arc2face_app.page import markup
from arc2face_app.page.messages import words
from arc2face_app.page.parts.examples import picture_strip
from arc2face_app.page.parts.keyed import Component, Rules, Updates, Values, joined
from arc2face_app.page.parts.photos import PhotoPicker
from arc2face_app.page.parts.recipe import Recipe
from arc2face_app.runs.shell import INSTANT, LIGHT, Shell

OFF, SLIDERS, PHOTO, MAP = "No change", "Sliders", "A photo", "A normal map"
USUAL_TURN = 30
"""Degrees."""
PREVIEW_SIZE = 256
PREVIEW = "What the model sees of the pose: a map of surface directions."
NO_POSE_PHOTO = "Add a photo that shows the pose."
NO_MAP = "Add a normal map."
LATEST_START, EARLIEST_END = 0.95, 0.05


class AngleSliders:
    """Yaw, pitch and roll in degrees with a live normal map. `yaw`: where the first slider stands at first."""

    def __init__(self, shell: Shell, yaw: float = 0) -> None:
        self._shell = shell
        with gr.Row(equal_height=False, elem_classes=["with-peek"]):
            with gr.Column(scale=3, min_width=180):
                self.yaw = _angle("Turn", YAW_LIMIT, "Degrees: − left, + right.", yaw)
                self.pitch = _angle("Nod", PITCH_LIMIT, "− up, + down.")
                self.roll = _angle("Tilt", ROLL_LIMIT, "− right, + left.")
            with gr.Column(scale=2, min_width=130):
                self.preview = gr.Image(
                    label="Head seen by the model",
                    show_label=False,
                    interactive=False,
                    elem_classes=["peek"],
                    format="png",
                    height=160,
                    min_width=130,
                    buttons=["download"],
                )
                self.note = gr.HTML(markup.hint(PREVIEW))
        for slider in self.inputs:
            self.draw_when(slider.change, trigger_mode="always_last")

    @property
    def inputs(self) -> set[Component]:
        """Yaw, pitch and roll."""
        return {self.yaw, self.pitch, self.roll}

    def angles(self, values: Values) -> tuple[float, float, float]:
        """Yaw, pitch and roll in degrees."""
        return values[self.yaw], values[self.pitch], values[self.roll]

    def draw_when(self, trigger: Any, **options: Any) -> None:
        """Draw the preview when `trigger` (an event) fires."""
        trigger(self._draw, self.inputs, {self.preview, self.note}, **options, **LIGHT)

    def _draw(self, values: Values) -> Updates:
        """The preview needs FLAME's head; without it a sentence stands in its place."""
        try:
            map_ = self._shell.backend.engine().normal_map(*self.angles(values), size=PREVIEW_SIZE)
        except Exception as error:
            return {self.preview: None, self.note: markup.hint(markup.no_preview(words(error)))}
        return {self.preview: map_, self.note: markup.hint(PREVIEW)}


class PoseControls:
    """The choice of a source for the pose, and how strongly it acts. `optional`: no pose is a choice, and the first."""

    def __init__(self, shell: Shell, *, optional: bool = False) -> None:
        self._shell = shell
        self._optional = optional
        modes = [OFF, SLIDERS, PHOTO, MAP] if optional else [SLIDERS, PHOTO, MAP]
        self.mode = gr.Radio(modes, value=modes[0], label="Take the pose from")
        with gr.Column(visible=not optional) as self._sliders:
            # A turn from the start, so that the first pictures show what this tab is for.
            self.angles = AngleSliders(shell, 0 if optional else USUAL_TURN)
        with gr.Column(visible=False) as self._photo:
            self.reference = PhotoPicker(
                shell,
                label="Photo with the pose",
                text="Anyone's photo: only the pose counts.",
                name="the pose photo",
            )
            picture_strip("poses", self.reference)
        with gr.Column(visible=False) as self._map:
            self.map = PhotoPicker(
                shell,
                label="Normal map",
                text="A normal map saved here earlier.",
                name="the normal map",
                faces=False,
            )
        self.mode.input(self._visible, {self.mode}, [self._sliders, self._photo, self._map], **INSTANT)

    def build_advanced(self) -> None:
        """How strongly the pose acts: strength, start and end; placed by the tab in a folded part."""
        self.strength = gr.Slider(
            *CONTROL_STRENGTH_RANGE, value=1, step=0.05, label="Pose strength", info="1 is as trained.", buttons=[]
        )
        self.start = gr.Slider(
            0, LATEST_START, value=0, step=0.05, label="Pose acts from this share of the steps", buttons=[]
        )
        self.end = gr.Slider(
            EARLIEST_END, 1, value=1, step=0.05, label="Pose acts to this share of the steps", buttons=[]
        )

    @property
    def inputs(self) -> set[Component]:
        """Everything that `source` needs."""
        source = joined(self.angles.inputs, self.reference.inputs, self.map.inputs)
        return {self.mode, *source, self.strength, self.start, self.end}

    @property
    def rules(self) -> Rules:
        """Rules for a validator."""
        return {
            **self.reference.rules(NO_POSE_PHOTO, when=(self.mode, PHOTO)),
            **self.map.rules(NO_MAP, when=(self.mode, MAP)),
            self.end: self._check_end,
        }

    def source(self, values: Values, session: str) -> PoseSource:
        """The pose that the values describe, with what was found in its photo at upload. Raises InputError."""
        acting = self.acting(values)
        if values[self.mode] == SLIDERS:
            yaw, pitch, roll = self.angles.angles(values)
            return PoseSource(yaw=yaw, pitch=pitch, roll=roll, **acting)
        if values[self.mode] == PHOTO:
            photo, face = self.reference.one(values, session, NO_POSE_PHOTO)
            return PoseSource(photo=photo, face=face, **acting)
        if values[self.mode] == MAP:
            return PoseSource(normal_map=self.map.one(values, session, NO_MAP)[0], **acting)
        return PoseSource(**acting)

    def acting(self, values: Values) -> dict[str, Any]:
        """Strength, start and end."""
        return {"strength": values[self.strength], "start": values[self.start], "end": values[self.end]}

    def notes(self, values: Values) -> dict[str, Any]:
        """What a recipe of the page says of the pose besides what the library says: whence it came, and its angles."""
        if values[self.mode] == OFF:
            return {}
        angles = {}
        if values[self.mode] == SLIDERS:
            angles = dict(zip(("yaw", "pitch", "roll"), self.angles.angles(values), strict=True))
        return {"pose_from": values[self.mode], **angles}

    @property
    def restorable(self) -> set[Component]:
        """Components that `restored` updates."""
        columns = {self._sliders, self._photo, self._map}
        return {self.mode, *columns, *self.angles.inputs, self.strength, self.start, self.end}

    def restored(self, recipe: Recipe) -> Updates:
        """The pose of a recipe; one from a photo or a map needs that picture again. Raises SettingsError."""
        if not recipe.has("pose"):
            return self._mode(OFF) if self._optional else {}
        share = (0.0, 1.0)
        start, end = (recipe.number("pose", name, usual, share) for name, usual in (("start", 0.0), ("end", 1.0)))
        strength = recipe.number("pose", "strength", 1.0, CONTROL_STRENGTH_RANGE)
        updates = {self.strength: strength, self.start: min(start, LATEST_START), self.end: max(end, EARLIEST_END)}
        angles = self._stored_angles(recipe)
        if angles is not None:
            updates |= dict(zip((self.angles.yaw, self.angles.pitch, self.angles.roll), angles, strict=True))
        modes = (SLIDERS, PHOTO, MAP)
        usual = PHOTO if angles is None else SLIDERS
        return updates | self._mode(checks.choice("The pose", recipe.part("page").get("pose_from", usual), modes))

    def described(self, values: Values) -> dict[str, dict[str, Any]]:
        """The pose as parts of a recipe: whence it comes, its angles, how it acts; nothing where there is none."""
        return {} if values[self.mode] == OFF else {"pose": self.acting(values), "page": self.notes(values)}

    def _stored_angles(self, recipe: Recipe) -> tuple[float, float, float] | None:
        page, names = recipe.part("page"), ("yaw", "pitch", "roll")
        if all(name in page for name in names):
            return check_angles(*(page[name] for name in names))
        found = recipe.part("pose").get("angles")
        if not isinstance(found, list) or len(found) != len(names):
            return None
        return check_angles(*found)

    def _mode(self, mode: str) -> Updates:
        columns = {SLIDERS: self._sliders, PHOTO: self._photo, MAP: self._map}
        return {self.mode: mode, **{column: gr.update(visible=mode == name) for name, column in columns.items()}}

    def _visible(self, values: Values) -> Updates:
        shown = self._mode(values[self.mode])
        return {component: update for component, update in shown.items() if component is not self.mode}

    def _check_end(self, values: Values) -> None:
        if not values[self.start] < values[self.end]:
            raise SettingsError("The end must come after the start.")


def _angle(label: str, limit: float, info: str, value: float = 0) -> gr.Slider:
    return gr.Slider(-limit, limit, value=value, step=1, label=label, info=info, buttons=["reset"])
