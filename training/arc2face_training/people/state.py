"""Everything about a picture that is not the person: expression, pose, gaze, light, background, clothes, camera."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from arc2face_training.people.backgrounds import hsv, sample_background
from arc2face_training.people.columns import EXPRESSION_COLUMNS
from arc2face_training.people.expressions import sample_expression
from arc2face_training.people.lights import Light, sample_light

Float32 = NDArray[np.float32]
MAX_JAW = 0.36
DEFAULT_VIEW = 1.0
MAX_YAW, MAX_PITCH, MAX_ROLL = 0.87, 0.44, 0.35


def _zeros(n: int) -> Float32:
    return np.zeros(n, np.float32)


@dataclass
class State:
    """One moment of a person.

    `expression` (50,): the first 38 named by EXPRESSION_COLUMNS. `eyelids` (2,): subject's left, right; 0 open, 1
    closed. `jaw` (3,) axis-angle, opening first. `yaw`, `pitch`, `roll` in radians: positive yaw turns to the
    subject's left (the image's right), positive pitch looks down, positive roll tilts the head's top to the subject's
    right (the image's left); they are those of the camera's picture. `upright`: share of the roll that the alignment
    takes out; 1 is the product's alignment, 0 keeps the camera upright. `gaze` (2,): yaw and pitch of the eyes.
    `background` (S, S, 3) float32 display RGB. `cloth`, `cloth2` (3,) linear RGB; `cloth_kind` 0 plain, 1 ribbed, 2
    striped; `neckline` 0 crew, 1 deep, 2 turtleneck. `view`: side of the picture in sides of the aligned square.
    `shift` (2,): offset of the picture's centre, right and down, in sides. `distance` of the camera in decimetres.
    `grain`: standard
    deviation of the noise in grey levels. `jpeg`: quality, 0 for none. `soften`: blur in pixels of 256. `warmth`:
    white balance. `exposure` in stops. `glasses`: whether those are worn that the person has; `sunglasses` and
    `hat` (a knitted cap in `cloth2`) anybody can wear. `seed` of the noises.
    """

    expression: Float32 = field(default_factory=lambda: _zeros(50))
    eyelids: Float32 = field(default_factory=lambda: _zeros(2))
    jaw: Float32 = field(default_factory=lambda: _zeros(3))
    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    upright: float = 1.0
    gaze: Float32 = field(default_factory=lambda: _zeros(2))
    light: Light = field(default_factory=Light)
    background: Float32 = field(default_factory=lambda: np.full((8, 8, 3), 0.55, np.float32))
    cloth: Float32 = field(default_factory=lambda: np.array([0.06, 0.09, 0.16], np.float32))
    cloth2: Float32 = field(default_factory=lambda: np.array([0.4, 0.4, 0.4], np.float32))
    cloth_kind: int = 0
    neckline: int = 0
    view: float = DEFAULT_VIEW
    shift: Float32 = field(default_factory=lambda: _zeros(2))
    distance: float = 14.0
    grain: float = 0.0
    jpeg: int = 0
    soften: float = 0.0
    warmth: float = 0.0
    exposure: float = 0.0
    glasses: bool = True
    sunglasses: bool = False
    hat: bool = False
    seed: int = 0

    def set(self, **named: float) -> State:
        """Set named expression coefficients in place; `smile` and the like without side set both sides."""
        for name, value in named.items():
            for column in (name,) if name in EXPRESSION_COLUMNS else (f"{name}Left", f"{name}Right"):
                self.expression[EXPRESSION_COLUMNS.index(column)] = value
        return self

    @property
    def expression55(self) -> Float32:
        """(55,) float32: expression 50, eyelids 2, jaw 3, the adapter's order."""
        return np.concatenate([self.expression, self.eyelids, self.jaw]).astype(np.float32)


def rotation(yaw: float, pitch: float, roll: float) -> NDArray[np.float64]:
    """Rz(roll) Ry(yaw) Rx(pitch), (3, 3): x to the subject's left, y up, z front."""
    cy, sy, cp, sp, cr, sr = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch), np.cos(roll), np.sin(roll)
    rx = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    ry = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    rz = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return rz @ ry @ rx


def rodrigues(axis_angle: Float32) -> NDArray[np.float64]:
    """Rotation matrix (3, 3) of an axis-angle vector in radians."""
    vector = np.asarray(axis_angle, np.float64)
    angle = float(np.linalg.norm(vector))
    if angle < 1e-9:
        return np.eye(3)
    x, y, z = vector / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def sample_state(rng: np.random.Generator, *, neutral: bool = False, studio: bool = False) -> State:
    """Draw a moment; `neutral` gives a calm, nearly frontal one. Pose and expression are drawn independently.

    `studio`: even light and plain walls, for the smallest generators.
    """
    state = State()
    expression = sample_expression(rng)
    if neutral:
        state.yaw, state.pitch, state.roll = (float(a) for a in rng.normal(0, 0.07, 3))
    else:
        state.expression, state.eyelids, state.jaw = expression
        state.yaw, state.pitch, state.roll = sample_pose(rng)
    state.upright = 1.0 if rng.random() < 0.5 else float(rng.uniform(0, 0.3))
    state.gaze = _sample_gaze(rng, state.yaw, state.pitch)
    state.light = sample_light(rng, "studio" if studio else None)
    state.background = sample_background(rng, plain=studio)
    _sample_clothes(rng, state)
    state.view = float(np.clip(rng.normal(DEFAULT_VIEW, 0.015), 0.96, 1.05))
    state.shift = np.clip(rng.normal(0, 0.008, 2), -0.02, 0.02).astype(np.float32)
    _sample_camera(rng, state)
    state.glasses, state.sunglasses = bool(rng.random() < 0.8), bool(rng.random() < 0.02 and not neutral)
    state.hat = bool(rng.random() < 0.03 and not neutral)
    state.seed = int(rng.integers(1 << 30))
    return state


def sample_pose(rng: np.random.Generator) -> tuple[float, float, float]:
    """Yaw, pitch, roll in radians: two fifths nearly frontal, the others spread to 50, 25 and 20 degrees."""
    if rng.random() < 0.4:
        yaw, pitch, roll = rng.normal(0, 0.10), rng.normal(0, 0.07), rng.normal(0, 0.05)
    else:
        yaw, pitch, roll = rng.uniform(-1, 1) * MAX_YAW, rng.normal(0, 0.17), rng.normal(0, 0.13)
    limits = (MAX_YAW, MAX_PITCH, MAX_ROLL)
    y, p, r = (float(np.clip(a, -m, m)) for a, m in zip((yaw, pitch, roll), limits, strict=True))
    return y, p, r


def same_moment(before: State, rng: np.random.Generator, turn: float) -> State:
    """The next frame of a film: all as in `before`, but another expression and gaze, and nearly the same pose.

    `turn`: standard deviation in radians of the change of yaw, pitch and roll.
    """
    after = copy.deepcopy(before)
    after.expression, after.eyelids, after.jaw = sample_expression(rng, calm=0.25)
    after.gaze = _sample_gaze(rng, before.yaw, before.pitch)
    after.yaw, after.pitch, after.roll = (
        a + float(rng.normal(0, turn)) for a in (before.yaw, before.pitch, before.roll)
    )
    after.seed = int(rng.integers(1 << 30))
    return after


def _sample_gaze(rng: np.random.Generator, yaw: float, pitch: float) -> Float32:
    """Mostly at the camera, as far as the eyes can turn without strain."""
    if rng.random() < 0.62:
        wanted = np.array([-yaw, -pitch]) * rng.uniform(0.5, 1.0) + rng.normal(0, 0.02, 2)
    else:
        wanted = rng.normal(0, 0.13, 2)
    return np.clip(wanted, (-0.42, -0.22), (0.42, 0.28)).astype(np.float32)


def _sample_clothes(rng: np.random.Generator, state: State) -> None:
    def tone() -> Float32:
        if rng.random() < 0.45:
            return hsv(0.6, rng.uniform(0, 0.15), rng.choice((0.06, 0.15, 0.5, 0.85, 0.93))) ** 2.2
        return hsv(rng.random(), rng.uniform(0.2, 0.75), rng.uniform(0.2, 0.85)) ** 2.2

    state.cloth, state.cloth2 = tone().astype(np.float32), tone().astype(np.float32)
    state.cloth_kind = int(rng.choice(3, p=(0.5, 0.35, 0.15)))
    state.neckline = int(rng.choice(3, p=(0.55, 0.28, 0.17)))


def _sample_camera(rng: np.random.Generator, state: State) -> None:
    state.distance = float(np.exp(rng.uniform(np.log(7.5), np.log(26))))
    state.grain = float(np.clip(rng.exponential(1.1) - 0.4, 0, 3.5))
    state.jpeg = int(rng.integers(62, 97)) if rng.random() < 0.5 else 0
    state.soften = float(np.clip(rng.normal(0.1, 0.3), 0, 0.8))
    state.warmth = float(rng.normal(0, 0.045))
    state.exposure = float(np.clip(rng.normal(0, 0.22), -0.6, 0.5))
