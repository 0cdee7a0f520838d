"""What makes one avatar look unlike another: shape coefficients and appearance, drawn from a seed."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arc2face_training.avatars.columns import IDENTITY_COLUMNS

Float32 = NDArray[np.float32]

SKIN_TONES = np.array(
    [[0.98, 0.86, 0.78], [0.95, 0.78, 0.66], [0.88, 0.67, 0.52], [0.74, 0.52, 0.37], [0.55, 0.36, 0.25],
     [0.38, 0.25, 0.18]]
)  # fmt: skip
HAIR_COLOURS = np.array(
    [[0.07, 0.06, 0.07], [0.18, 0.11, 0.08], [0.34, 0.20, 0.12], [0.52, 0.33, 0.18], [0.80, 0.62, 0.34],
     [0.90, 0.80, 0.58], [0.60, 0.24, 0.10], [0.72, 0.72, 0.74], [0.93, 0.93, 0.94], [0.42, 0.20, 0.55],
     [0.16, 0.42, 0.52], [0.85, 0.38, 0.48]]
)  # fmt: skip
LIGHT_HAIR_ODDS = (0.15, 0.17, 0.15, 0.11, 0.11, 0.08, 0.08, 0.05, 0.04, 0.02, 0.02, 0.02)
DARK_HAIR_ODDS = (0.36, 0.24, 0.11, 0.05, 0.03, 0.02, 0.04, 0.06, 0.04, 0.02, 0.01, 0.02)
EYE_COLOURS = np.array(
    [[0.25, 0.14, 0.07], [0.42, 0.26, 0.12], [0.30, 0.50, 0.75], [0.35, 0.62, 0.42], [0.45, 0.50, 0.55],
     [0.16, 0.10, 0.08], [0.55, 0.62, 0.25]]
)  # fmt: skip
HAIR_STYLES = ("bald", "buzz", "short", "side", "quiff", "fringe", "bob", "long", "bun", "afro", "curly", "curtain")
BEARDS = ("none", "stubble", "full", "goatee", "moustache")
GLASSES = ("none", "round", "square")
CURLY_STYLES = ("afro", "curly", "buzz")


@dataclass(frozen=True)
class Look:
    """Shape and appearance of one person. Colours are RGB in 0..1; lengths are in units of half a head."""

    shape: Float32
    skin: Float32
    tone: float
    hair: Float32
    hair_style: str
    hairline: float
    hair_volume: float
    hair_wave: float
    parting: float
    beard: str
    eyes: Float32
    brow_thickness: float
    brow_arch: float
    brow_tilt: float
    brow_height: float
    brow_length: float
    brow_darkness: float
    lips: float
    lip_hue: float
    lashes: float
    freckles: float
    blush: float
    mole: tuple[float, float] | None
    glasses: str
    frame: Float32
    noise_seed: int

    def attributes(self) -> Float32:
        """(N_ATTRIBUTES,) float32: every identity parameter as a number, categories as one-hot."""
        flat = [self.shape, 2 * self.skin - 1, 2 * self.hair - 1, 2 * self.eyes - 1]
        flat.append(_one_hot(self.hair_style, HAIR_STYLES))
        flat.append(_one_hot(self.beard, BEARDS))
        flat.append(_one_hot(self.glasses, GLASSES))
        has_hair = float(self.hair_style != "bald")
        scalars = [
            self.tone / 2.5 - 1, 10 * self.hairline * has_hair, (4 * self.hair_volume - 4) * has_hair,
            self.parting * has_hair, 60 * (self.brow_thickness - 0.034), 20 * (self.brow_arch - 0.035),
            15 * self.brow_tilt, 25 * (self.brow_height - 0.275), 30 * (self.brow_length - 0.2),
            2 * self.brow_darkness - 1.3, 2 * self.lips - 1, self.lashes, self.freckles, self.blush,
        ]  # fmt: skip
        return np.concatenate([np.asarray(part, np.float32).ravel() for part in (*flat, np.array(scalars))])


def _one_hot(value: str, names: tuple[str, ...]) -> Float32:
    return np.array([value == name for name in names], np.float32)


def hsv(hue: float, saturation: float, value: float) -> Float32:
    """RGB (3,) float32."""
    return np.array(colorsys.hsv_to_rgb(hue % 1.0, saturation, value), np.float32)


def sample_look(seed: int) -> Look:
    """Draw a person; equal seeds give equal people."""
    rng = np.random.default_rng([seed & 0xFFFFFFFF, seed >> 32, 17])
    shape = np.clip(rng.normal(0, 0.9, len(IDENTITY_COLUMNS)), -2.0, 2.0).astype(np.float32)
    bearded = rng.random() < 0.36
    tone = float(rng.uniform(0, 5))
    low = min(int(tone), 4)
    skin = SKIN_TONES[low] * (1 - (tone - low)) + SKIN_TONES[low + 1] * (tone - low)
    hair = HAIR_COLOURS[rng.choice(len(HAIR_COLOURS), p=DARK_HAIR_ODDS if tone > 3 else LIGHT_HAIR_ODDS)]
    styles = np.array([0.7 if style in ("bald", "bun") else 1.0 for style in HAIR_STYLES])
    if bearded:
        styles[[HAIR_STYLES.index("bob"), HAIR_STYLES.index("bun")]] = 0.1
    mole = (float(rng.uniform(-0.5, 0.5)), float(rng.uniform(-0.45, -0.2)))
    has_mole = rng.random() < 0.15
    glasses = str(rng.choice(GLASSES, p=(0.80, 0.10, 0.10)))
    return Look(
        shape=shape,
        skin=_vary(rng, skin, 0.02),
        tone=tone,
        hair=_vary(rng, hair, 0.06),
        hair_style=str(rng.choice(HAIR_STYLES, p=styles / styles.sum())),
        hairline=float(rng.uniform(-0.08, 0.08)),
        hair_volume=float(rng.uniform(0.8, 1.3)),
        hair_wave=float(rng.uniform(0, 1)),
        parting=float(rng.choice((-1.0, 1.0))),
        beard=str(rng.choice(BEARDS[1:])) if bearded else "none",
        eyes=_vary(rng, EYE_COLOURS[rng.integers(len(EYE_COLOURS))], 0.08),
        brow_thickness=float(rng.uniform(0.018, 0.05)),
        brow_arch=float(rng.uniform(-0.01, 0.08)),
        brow_tilt=float(rng.uniform(-0.06, 0.07)),
        brow_height=float(rng.uniform(0.24, 0.31)),
        brow_length=float(rng.uniform(0.17, 0.235)),
        brow_darkness=float(rng.uniform(0.35, 1.0)),
        lips=float(rng.uniform(0.1, 0.55) if bearded else rng.uniform(0.1, 0.95)),
        lip_hue=float(rng.normal(0, 0.02)),
        lashes=float(rng.uniform(0.2, 1)),
        freckles=float(max(0.0, rng.uniform(-1.5, 1))),
        blush=float(rng.uniform(0, 1)),
        mole=mole if has_mole else None,
        glasses=glasses,
        frame=hsv(float(rng.random()), float(rng.uniform(0, 0.8)), float(rng.uniform(0.05, 0.6))),
        noise_seed=int(rng.integers(1 << 30)),
    )


def _vary(rng: np.random.Generator, colour: NDArray[np.float64], amount: float) -> Float32:
    return np.clip(colour * (1 + rng.normal(0, amount, 3)), 0, 1).astype(np.float32)


N_ATTRIBUTES = len(sample_look(0).attributes())
