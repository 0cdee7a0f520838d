"""What people look like apart from their shape: skin, eyes, hair, brows, beard, lashes, glasses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arc2face_training.people.genes import Genes

Float32 = NDArray[np.float32]
STYLES = ("bald", "fringe", "buzz", "crop", "short", "side", "quiff", "curly", "afro", "bob", "long", "wavy", "bun",
          "ponytail", "curly_long")  # fmt: skip
"""`fringe`: only a ring of hair is left; the others as hairdressers call them."""
BEARDS = ("none", "stubble", "goatee", "moustache", "short", "full")
GLASSES = ("none", "round", "square")
SKIN_TONES = np.array(
    [[0.80, 0.575, 0.475], [0.69, 0.455, 0.335], [0.52, 0.325, 0.225], [0.325, 0.180, 0.110], [0.185, 0.094, 0.057],
     [0.105, 0.050, 0.031]]
)  # fmt: skip
"""Linear RGB albedo from the lightest to the darkest skin, at equal steps of `melanin`."""
HAIR_COLOURS = {
    "black": (0.016, 0.0130, 0.0118), "dark": (0.030, 0.018, 0.011), "brown": (0.075, 0.040, 0.020),
    "chestnut": (0.125, 0.058, 0.026), "light": (0.20, 0.125, 0.062), "blond": (0.38, 0.265, 0.135),
    "red": (0.225, 0.072, 0.020), "grey": (0.33, 0.33, 0.33), "white": (0.62, 0.61, 0.59),
}  # fmt: skip
EYE_COLOURS = {
    "dark": ((0.030, 0.016, 0.009), (0.055, 0.028, 0.014)), "brown": ((0.075, 0.036, 0.016), (0.12, 0.058, 0.024)),
    "hazel": ((0.095, 0.070, 0.032), (0.135, 0.080, 0.032)), "green": ((0.105, 0.125, 0.062), (0.17, 0.135, 0.055)),
    "blue": ((0.095, 0.155, 0.235), (0.17, 0.205, 0.235)), "grey": ((0.135, 0.160, 0.175), (0.20, 0.205, 0.195)),
}  # fmt: skip


@dataclass(frozen=True)
class Look:
    """Appearance of one person. Colours are linear RGB, lengths decimetres, shares 0..1."""

    melanin: float
    redness: float
    sallow: float
    pores: float
    oil: float
    wrinkles: float
    freckles: float
    circles: float
    moles: Float32
    lips: float
    lip_gloss: float
    lip_paint: float
    iris: Float32
    iris_inner: Float32
    iris_radius: float
    pupil: float
    red_eyes: float
    hair: Float32
    hair_name: str
    grey: float
    style: str
    hairline: float
    recession: float
    volume: float
    wave: float
    parting: float
    length: float
    bangs: float
    brow_thickness: float
    brow_density: float
    brow_arch: float
    brow_height: float
    beard: str
    beard_length: float
    beard_density: float
    lashes: float
    liner: float
    glasses: str
    frame: Float32
    earrings: float
    noise_seed: int

    def attributes(self) -> Float32:
        """(n,) float32: every appearance parameter as a number of about unit size, categories as one-hot."""
        scalars = [
            4 * self.melanin - 2, 2 * self.redness - 1, self.sallow, 2 * self.wrinkles - 1, 2 * self.freckles,
            2 * self.circles - 1, 3 * self.lips - 1, 2 * self.lip_paint, 2 * self.grey - 1, 8 * self.hairline,
            2 * self.recession, self.volume - 1, self.wave, self.parting, 2 * self.length - 1, self.bangs,
            2 * self.brow_thickness - 2, 2 * self.brow_density - 1, 2 * self.brow_arch - 1, 20 * self.brow_height,
            2 * self.beard_length, 2 * self.beard_density - 1, 2 * self.lashes - 1, self.liner,
        ]  # fmt: skip
        tones = [4 * np.sqrt(self.hair) - 1.2, 6 * np.sqrt(self.iris) - 1.5]
        groups = [_one_hot(self.style, STYLES), _one_hot(self.beard, BEARDS), _one_hot(self.glasses, GLASSES)]
        return np.concatenate([np.asarray(part, np.float32).ravel() for part in (scalars, *tones, *groups)])


def _one_hot(value: str, names: tuple[str, ...]) -> Float32:
    return np.array([value == name for name in names], np.float32)


def skin_tone(melanin: float) -> NDArray[np.float64]:
    """Linear RGB (3,) by interpolation in log space; `melanin` 0..1."""
    at = np.clip(melanin, 0, 1) * (len(SKIN_TONES) - 1)
    low = min(int(at), len(SKIN_TONES) - 2)
    part = at - low
    return np.exp(np.log(SKIN_TONES[low]) * (1 - part) + np.log(SKIN_TONES[low + 1]) * part)


def sample_look(rng: np.random.Generator, genes: Genes) -> Look:
    """Draw an appearance that goes with the genes."""
    old, male = genes.agedness, genes.male > 0.5
    melanin = float(np.clip(genes.race @ np.array([0.95, 0.30, 0.11]) + rng.normal(0, 0.09), 0.0, 1.0))
    light = float(np.clip(genes.race[2] * 1.3 - 0.25, 0, 1) * (melanin < 0.45))
    name = _hair_colour(rng, light)
    grey = float(np.clip(rng.normal(1.8 * old - 0.62, 0.24), 0, 1))
    style = _style(rng, male, old, float(genes.race[0]))
    beard = str(rng.choice(BEARDS, p=(0.40, 0.26, 0.07, 0.05, 0.14, 0.08))) if genes.male > 0.6 else "none"
    eyes = _eye_colour(rng, light)
    paint = 0.0 if male else float(np.clip(rng.normal(-0.1, 0.4), 0, 0.8))
    colour = np.array(HAIR_COLOURS[name]) * np.exp(rng.normal(0, 0.16)) * np.exp(rng.normal(0, 0.035, 3))
    return Look(
        melanin=melanin,
        redness=float(rng.uniform(0.1, 1.0)),
        sallow=float(np.clip(rng.normal(0.22 * genes.race[1], 0.30), -0.7, 0.8)),
        pores=float(rng.uniform(0.10, 0.30) * (1.15 if male else 0.85)),
        oil=float(rng.uniform(0.35, 1.15)),
        wrinkles=float(np.clip(1.25 * old - 0.12 + rng.normal(0, 0.07), 0, 1)),
        freckles=float(np.clip(rng.normal(-0.5, 0.75), 0, 1) * light),
        circles=float(np.clip(rng.normal(0.25 + 0.35 * old, 0.2), 0, 1)),
        moles=_moles(rng),
        lips=float(np.clip(rng.normal(0.38 if male else 0.52, 0.16), 0.1, 0.95)),
        lip_gloss=float(rng.uniform(0.25, 0.6) + 0.5 * paint),
        lip_paint=paint,
        iris=(np.array(eyes[0]) * np.exp(rng.normal(0, 0.18))).astype(np.float32),
        iris_inner=(np.array(eyes[1]) * np.exp(rng.normal(0, 0.18))).astype(np.float32),
        iris_radius=float(rng.uniform(0.515, 0.565)),
        pupil=float(rng.uniform(0.30, 0.46)),
        red_eyes=float(rng.uniform(0.2, 0.9)),
        hair=colour.astype(np.float32),
        hair_name=name,
        grey=grey if grey > 0.06 else 0.0,
        style=style,
        hairline=float(np.clip(rng.normal(0 if male else -0.05, 0.05), -0.14, 0.12)),
        recession=float(np.clip(rng.normal(0.7 * old + 0.05, 0.3), 0, 1)) if male else float(rng.uniform(0, 0.12)),
        volume=float(rng.uniform(0.75, 1.35)),
        wave=float(rng.uniform(0, 1)),
        parting=float(rng.choice((-1.0, 1.0)) * rng.uniform(0.05, 0.42)),
        length=float(rng.uniform(0, 1)),
        bangs=0.0 if male else float(np.clip(rng.uniform(-1.2, 1), 0, 1)),
        brow_thickness=float(np.clip(rng.normal(1.12 if male else 0.82, 0.16), 0.5, 1.5)),
        brow_density=float(np.clip(rng.normal(0.72 if male else 0.6, 0.16), 0.3, 1)),
        brow_arch=float(np.clip(rng.normal(0.35 if male else 0.6, 0.25), 0, 1)),
        brow_height=float(np.clip(rng.normal(-0.01 if male else 0.012, 0.02), -0.045, 0.045)),
        beard=beard,
        beard_length=float(rng.uniform(0.15, 1.0)),
        beard_density=float(rng.uniform(0.45, 1.0)),
        lashes=float(rng.uniform(0.35, 0.75) if male else rng.uniform(0.55, 1.0)),
        liner=0.0 if male else float(np.clip(rng.normal(-0.2, 0.5), 0, 1)),
        glasses=str(rng.choice(GLASSES, p=(0.86, 0.07, 0.07))),
        frame=_frame(rng),
        earrings=0.0 if male else float(rng.random() < 0.3),
        noise_seed=int(rng.integers(1 << 20)),
    )


def _hair_colour(rng: np.random.Generator, light: float) -> str:
    names = ("black", "dark", "brown", "chestnut", "light", "blond", "red")
    dark = np.array([0.62, 0.28, 0.08, 0.02, 0.0, 0.0, 0.0])
    fair = np.array([0.05, 0.17, 0.25, 0.15, 0.16, 0.15, 0.07])
    return str(rng.choice(names, p=dark * (1 - light) + fair * light))


def _eye_colour(
    rng: np.random.Generator, light: float
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    names = tuple(EYE_COLOURS)
    dark = np.array([0.62, 0.33, 0.05, 0.0, 0.0, 0.0])
    fair = np.array([0.06, 0.22, 0.17, 0.13, 0.28, 0.14])
    return EYE_COLOURS[str(rng.choice(names, p=dark * (1 - light) + fair * light))]


def _style(rng: np.random.Generator, male: bool, old: float, african: float) -> str:
    odds = dict.fromkeys(STYLES, 0.0)
    if male:
        odds |= {"bald": 0.05 + 0.12 * old,
                 "fringe": 0.22 * max(old - 0.3, 0), "buzz": 0.13, "crop": 0.20, "short": 0.22,
                 "side": 0.16, "quiff": 0.12, "curly": 0.08, "long": 0.03, "wavy": 0.03, "bun": 0.02}  # fmt: skip
    else:
        odds |= {"long": 0.22, "wavy": 0.22, "bob": 0.16, "bun": 0.13, "ponytail": 0.10, "short": 0.04 + 0.12 * old,
                 "side": 0.04 + 0.05 * old, "curly": 0.05, "curly_long": 0.08, "crop": 0.03 + 0.04 * old}  # fmt: skip
    if african > 0.5:
        odds = {key: value * (0.25 if key in ("long", "side", "quiff", "wavy") else 1) for key, value in odds.items()}
        odds["afro"], odds["curly"] = 0.16, odds["curly"] + 0.10
        odds["curly_long"] += 0.02 if male else 0.16
        odds["buzz"] += 0.16 if male else 0.04
        odds["crop"] += 0.10 if male else 0.03
    weights = np.array([odds[name] for name in STYLES])
    return str(rng.choice(STYLES, p=weights / weights.sum()))


def _moles(rng: np.random.Generator) -> Float32:
    """(8, 4): place on the reference person (set by skin.py to the surface: x, y, -) and radius, 0 for none."""
    out = np.zeros((8, 4), np.float32)
    for k in range(min(int(rng.poisson(1.1)), 4)):
        out[k] = (rng.uniform(-0.6, 0.6), rng.uniform(6.25, 7.9), 0, rng.uniform(0.008, 0.017))
    return out


def _frame(rng: np.random.Generator) -> Float32:
    tones = np.array(
        [[0.01, 0.01, 0.012], [0.05, 0.025, 0.012], [0.30, 0.30, 0.32], [0.28, 0.20, 0.09], [0.02, 0.03, 0.06]]
    )
    return tones[rng.integers(len(tones))].astype(np.float32)
