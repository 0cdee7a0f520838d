"""Everything about a picture that is not the person: expression, pose, gaze, light, background, clothes, camera."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from arc2face_training.avatars.columns import EXPRESSION_COLUMNS
from arc2face_training.avatars.looks import hsv

Float32 = NDArray[np.float32]
MAX_JAW = 0.36
DEFAULT_VIEW = 2.8


def _zeros(n: int) -> Float32:
    return np.zeros(n, np.float32)


@dataclass
class State:
    """One moment of an avatar.

    `expression` (50,): first 18 named by EXPRESSION_COLUMNS. `eyelids` (2,): subject's left, right; 0 open, 1 closed.
    `jaw` (3,) axis-angle, opening first. `yaw`, `pitch`, `roll` in radians: positive yaw turns to the subject's left
    (the image's right), positive pitch looks down, positive roll tilts the head's top to the subject's right (the
    image's left). `gaze` (2,): yaw and pitch of the eyes in radians. `light_direction` (3,) of length 1;
    `light_colour`, `ambient` (3,). `background` (S, S, 3) float32 RGB in 0..1 of any size.
    `cloth` RGB (3,). `view`: side of the picture in units of half a head. `shift` (2,): offset of the picture's
    centre, right and up, in the same unit.
    """

    expression: Float32 = field(default_factory=lambda: _zeros(50))
    eyelids: Float32 = field(default_factory=lambda: _zeros(2))
    jaw: Float32 = field(default_factory=lambda: _zeros(3))
    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    gaze: Float32 = field(default_factory=lambda: _zeros(2))
    light_direction: Float32 = field(default_factory=lambda: np.array([0.31, 0.45, 0.84], np.float32))
    light_colour: Float32 = field(default_factory=lambda: np.full(3, 0.9, np.float32))
    ambient: Float32 = field(default_factory=lambda: np.full(3, 0.4, np.float32))
    background: Float32 = field(default_factory=lambda: np.full((8, 8, 3), 0.72, np.float32))
    cloth: Float32 = field(default_factory=lambda: np.array([0.25, 0.35, 0.5], np.float32))
    view: float = DEFAULT_VIEW
    shift: Float32 = field(default_factory=lambda: _zeros(2))

    def set(self, **named: float) -> State:
        """Set named expression coefficients in place, for example `state.set(smile=1.0)`; returns the state."""
        for name, value in named.items():
            self.expression[EXPRESSION_COLUMNS.index(name)] = value
        return self

    @property
    def expression55(self) -> Float32:
        """(55,) float32: expression 50, eyelids 2, jaw 3, the adapter's order."""
        return np.concatenate([self.expression, self.eyelids, self.jaw]).astype(np.float32)

    @property
    def pose(self) -> Float32:
        """(3,) float32: yaw, pitch, roll in radians."""
        return np.array([self.yaw, self.pitch, self.roll], np.float32)


def rotation(yaw: float, pitch: float, roll: float) -> NDArray[np.float64]:
    """Rz(roll) Ry(yaw) Rx(pitch), (3, 3): x to the subject's left, y up, z front."""
    cy, sy, cp, sp, cr, sr = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch), np.cos(roll), np.sin(roll)
    rx = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    ry = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    rz = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return rz @ ry @ rx


def sample_state(rng: np.random.Generator, *, neutral: bool = False, studio: bool = False) -> State:
    """Draw a moment; `neutral` gives a calm, nearly frontal one.

    `studio`: even light and plain gradients behind, turns up to about 40 degrees: what a small generator can learn
    in hours on a CPU.
    """
    state = State()
    if neutral:
        state.yaw, state.pitch, state.roll = (float(a) for a in rng.normal(0, 0.08, 3))
    else:
        _sample_expression(rng, state)
        state.yaw = float(np.clip(rng.normal(0, 0.40), -1.0, 1.0))
        state.pitch = float(np.clip(rng.normal(0, 0.17), -0.42, 0.42))
        state.roll = float(np.clip(rng.normal(0, 0.10), -0.32, 0.32))
    state.gaze = rng.normal(0, 0.09, 2).astype(np.float32)
    _sample_light(rng, state)
    state.background = sample_gradient(rng)[0] if studio else sample_background(rng)
    if studio:
        _calm(state)
    state.cloth = hsv(float(rng.random()), float(rng.uniform(0.1, 0.75)), float(rng.uniform(0.25, 0.95)))
    state.view = float(np.clip(rng.normal(DEFAULT_VIEW, 0.10), 2.55, 3.1))
    state.shift = np.clip(rng.normal(0, 0.05, 2), -0.12, 0.12).astype(np.float32)
    return state


def same_moment(before: State, rng: np.random.Generator, turn: float) -> State:
    """The next frame of a film: all as in `before`, but another expression and gaze, and nearly the same pose.

    `turn`: standard deviation in radians of the change of yaw, pitch and roll.
    """
    after, other = copy.deepcopy(before), sample_state(rng)
    after.expression, after.eyelids, after.jaw, after.gaze = other.expression, other.eyelids, other.jaw, other.gaze
    after.yaw, after.pitch, after.roll = (
        angle + float(rng.normal(0, turn)) for angle in (before.yaw, before.pitch, before.roll)
    )
    return after


def _sample_expression(rng: np.random.Generator, state: State) -> None:
    if rng.random() < 0.12:
        return
    if rng.random() < 0.80:
        first = ("smile", "smile", "smile", "frown", "frown", "pucker", "smirk_left", "smirk_right", "cheek_puff")
        rest = ("upper_lip_raise", "lower_lip_drop", "mouth_stretch", "nose_wrinkle", "lip_press")
        state.set(**{str(rng.choice(first + rest)): float(rng.uniform(0.2, 1.1))})
        if rng.random() < 0.2:
            state.set(mouth_shift=float(rng.uniform(-1, 1)))
    brow = rng.random()
    if brow < 0.25:
        state.set(brow_raise=float(rng.uniform(0.2, 1.1)))
    elif brow < 0.5:
        state.set(brow_furrow=float(rng.uniform(0.2, 1.1)))
    elif brow < 0.62:
        state.set(**{str(rng.choice(("brow_raise_left", "brow_raise_right"))): float(rng.uniform(0.3, 1.0))})
    if rng.random() < 0.25:
        state.set(**{str(rng.choice(("squint", "eye_widen"))): float(rng.uniform(0.2, 1.0))})
    lids = rng.random()
    if lids < 0.12:
        state.eyelids[:] = rng.uniform(0.2, 1)
    elif lids < 0.26:
        state.eyelids[int(lids < 0.19)] = rng.uniform(0.3, 1)
    if rng.random() < 0.5:
        state.jaw[:] = (rng.uniform(0, MAX_JAW), np.clip(rng.normal(0, 0.04), -0.1, 0.1), 0)


def _sample_light(rng: np.random.Generator, state: State) -> None:
    azimuth, height = rng.uniform(-1.1, 1.1), rng.uniform(-0.1, 0.9)
    direction = (np.sin(azimuth) * np.cos(height), np.sin(height), np.cos(azimuth) * np.cos(height))
    warm = float(rng.normal(0, 0.05))
    state.light_direction = np.array(direction, np.float32)
    state.light_colour = (np.array([1 + warm, 1, 1 - warm]) * rng.uniform(0.75, 1.05)).astype(np.float32)
    state.ambient = (np.array([1 - warm / 2, 1, 1 + warm / 2]) * rng.uniform(0.32, 0.50)).astype(np.float32)


def _calm(state: State) -> None:
    state.yaw, state.pitch, state.roll = 0.75 * state.yaw, 0.8 * state.pitch, 0.8 * state.roll
    front = np.array([0.31, 0.45, 0.84], np.float32)
    mixed = 0.45 * state.light_direction + 0.55 * front
    state.light_direction = (mixed / np.linalg.norm(mixed)).astype(np.float32)
    state.light_colour = (0.3 * state.light_colour + 0.7 * 0.9).astype(np.float32)
    state.ambient = (0.3 * state.ambient + 0.7 * 0.41).astype(np.float32)


def sample_background(rng: np.random.Generator, size: int = 128) -> Float32:
    """(size, size, 3) float32: a gradient, half of the time with soft blobs, sometimes with a shelf or a window."""
    picture, tones = sample_gradient(rng, size)
    kind = rng.random()
    if kind < 0.45:
        noise = cv2.resize(rng.standard_normal((5, 5)).astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
        mask = 0.6 / (1 + np.exp(-4 * noise))[..., None]
        picture = picture * (1 - mask) + tones[2] * mask
    elif kind < 0.65:
        picture = _panels(rng, picture, tones[2])
    return np.clip(picture, 0, 1).astype(np.float32)


def sample_gradient(rng: np.random.Generator, size: int = 128) -> tuple[Float32, list[Float32]]:
    """(size, size, 3) float32 gradient between the first two of three related tones, and the tones."""
    hue = rng.random()
    tones = [hsv(hue + rng.normal(0, 0.1), rng.uniform(0, 0.6), rng.uniform(0.15, 1)) for _ in range(3)]
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size
    angle = rng.uniform(0, 2 * np.pi)
    t = np.clip((x - 0.5) * np.cos(angle) + (y - 0.5) * np.sin(angle) + 0.5, 0, 1)[..., None]
    return (tones[0] * (1 - t) + tones[1] * t).astype(np.float32), tones


def _panels(rng: np.random.Generator, picture: NDArray[np.float32], tone: Float32) -> NDArray[np.float32]:
    size = len(picture)
    canvas = np.ascontiguousarray(picture, np.float32)
    for _ in range(int(rng.integers(1, 4))):
        x, y = (int(a) for a in rng.integers(0, size, 2))
        w, h = (int(a) for a in rng.integers(size // 8, size // 2, 2))
        colour = np.clip(tone * rng.uniform(0.6, 1.2), 0, 1)
        cv2.rectangle(canvas, (x, y), (x + w, y + h), tuple(float(c) for c in colour), -1)
    return np.asarray(cv2.GaussianBlur(canvas, (0, 0), 2.0), np.float32)
