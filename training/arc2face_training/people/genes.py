"""What a person is made of: ancestry, sex, age, build and local features, drawn from a seed, as target weights."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arc2face_training.people.assets import Assets
from arc2face_training.people.columns import GROUPS

Float32 = NDArray[np.float32]
OPPOSITES = (
    ("incr", "decr"), ("up", "down"), ("out", "in"), ("forward", "backward"), ("convex", "concave"),
    ("uncompress", "compress"),
)  # fmt: skip
LEFT_OUT = ("measure", "head-trans", "neck-trans", "nose-trans-back", "nose-trans-for", "head-age", "head-angle",
            "mouth-trans-in", "mouth-trans-out", "asymm-", "ear-shape-pointed", "ear-shape-triangle", "eye-push",
            "neck-scale-vert",
            "head-diamond", "head-triangular", "head-invertedtriangular", "eyebrows-trans-forward",
            "eyebrows-trans-backward", "eye-eyefold", "nose-greek", "head-scale-vert", "forehead-scale-vert",
            "chin-jaw-drop", "eye-bag-height", "nose-trans-out", "nose-trans-in",
            "mouth-laugh-lines", "neck-double", "neck-back")  # fmt: skip
SPREAD = {"cheek": 0.30, "chin": 0.27, "ear": 0.22, "eyebrows": 0.30, "eye": 0.18, "forehead": 0.26, "head": 0.18,
          "mouth": 0.22, "neck": 0.24, "nose": 0.25, "asym": 0.13}  # fmt: skip
"""Standard deviation of a local target's weight by its family."""


@dataclass(frozen=True)
class Genes:
    """`race` (3,): shares of GROUPS, sum 1. `male` 0..1. `age` in years. `weight`, `muscle` -1..1.

    `local`: weights of local targets by name. `group`: the largest share's name.
    """

    race: Float32
    male: float
    age: float
    weight: float
    muscle: float
    local: dict[str, float]

    @property
    def group(self) -> str:
        """The name of the largest share of ancestry."""
        return GROUPS[int(np.argmax(self.race))]

    @property
    def agedness(self) -> float:
        """0 at 25 years or less, 1 at 80 or more."""
        return float(np.clip((self.age - 25) / 55, 0, 1))

    def weights(self) -> dict[str, float]:
        """Weights of all targets."""
        out = dict(self.local)
        old = self.agedness * 0.85
        child = float(np.clip((22 - self.age) / 22, 0, 0.15))
        ages = {"child": child, "young": (1 - child) * (1 - old), "old": (1 - child) * old}
        sexes = {"male": self.male, "female": 1 - self.male}
        muscles = _three(self.muscle, "muscle")
        builds = _three(self.weight, "weight")
        for sex, s in sexes.items():
            for age, a in ages.items():
                for group, r in zip(GROUPS, self.race, strict=True):
                    out[f"{group}-{sex}-{age}"] = float(r * s * a)
                for muscle, m in muscles.items():
                    for build, b in builds.items():
                        out[f"universal-{sex}-{age}-{muscle}-{build}"] = s * a * m * b
        return {name: weight for name, weight in out.items() if abs(weight) > 1e-4}


def _three(value: float, what: str) -> dict[str, float]:
    return {f"min{what}": max(-value, 0.0), f"average{what}": 1 - abs(value), f"max{what}": max(value, 0.0)}


@functools.cache
def local_parameters(names: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Pairs (target of positive values, target of negative values or ""), without the side prefix."""
    base = sorted({name[2:] if name[:2] in ("l-", "r-") else name for name in names})
    known = set(base)
    pairs: list[tuple[str, str]] = []
    for name in base:
        if any(part in name for part in LEFT_OUT) or "universal" in name or name.startswith((*GROUPS, "arkit")):
            continue
        if name.startswith("asym-"):
            if name.endswith("-l") and name[:-1] + "r" in known:
                pairs.append((name, name[:-1] + "r"))
            continue
        stem, _, last = name.rpartition("-")
        for plus, minus in OPPOSITES:
            if last == plus and f"{stem}-{minus}" in known:
                pairs.append((name, f"{stem}-{minus}"))
                break
            if last == minus and f"{stem}-{plus}" in known:
                break
        else:
            pairs.append((name, ""))
    return tuple(pairs)


_BIAS = {"mouth-angles-up": 0.12, "eye-height2-incr": 0.10}
_FEMALE_BIAS = {"neck-scale-horiz-incr": -0.42, "neck-scale-depth-incr": -0.2, "head-fat-incr": -0.05,
                "chin-width-incr": -0.18, "chin-bones-incr": -0.12, "eye-scale-incr": 0.08}  # fmt: skip


def _friendly(rng: np.random.Generator) -> dict[str, float]:
    """The assets' resting face looks stern; people's resting faces, a trace less so."""
    smile, brow, wide = (float(np.clip(rng.normal(m, 0.08), 0, 0.4)) for m in (0.10, 0.16, 0.10))
    return {"arkit/mouthSmileLeft": smile, "arkit/mouthSmileRight": smile, "arkit/browInnerUp": brow,
            "arkit/eyeWideLeft": wide, "arkit/eyeWideRight": wide}  # fmt: skip


def sample_genes(rng: np.random.Generator, assets: Assets, group: str | None = None) -> Genes:
    """Draw a person. `group` asks for one of GROUPS as the main ancestry."""
    race = rng.dirichlet([0.22] * 3).astype(np.float32)
    if group is not None:
        place = GROUPS.index(group)
        top = int(np.argmax(race))
        race[[place, top]] = race[[top, place]]
    male = float(rng.random() < 0.5)
    male = float(np.clip(abs(male - abs(rng.normal(0, 0.10))), 0, 1))
    age = float(18 + 60 * rng.beta(1.1, 2.1))
    weight = float(np.clip(rng.normal(-0.05, 0.38), -0.8, 1))
    muscle = float(np.clip(rng.normal(0.05, 0.35), -0.8, 0.8))
    return Genes(race, male, age, weight, muscle, _sample_local(rng, assets, race, male))


def _sample_local(rng: np.random.Generator, assets: Assets, race: Float32, male: float) -> dict[str, float]:
    out = _friendly(rng)
    for plus, minus in local_parameters(tuple(assets.names)):
        spread = next(value for key, value in SPREAD.items() if plus.startswith(key))
        value = float(np.clip(rng.normal(0, spread), -2.2 * spread, 2.2 * spread))
        skew = float(rng.normal(0, 0.06))
        value += _BIAS.get(plus, 0.0) + _FEMALE_BIAS.get(plus, 0.0) * (1 - male)
        if "epicanthus" in plus:
            value = float(np.clip(value - 0.5 * race[1], -0.9, 0.5))
        if not minus and value < 0:
            continue
        name = plus if value >= 0 else minus
        if plus.startswith("asym-") or name in assets.names:
            out[name] = abs(value)
        else:
            out[f"l-{name}"], out[f"r-{name}"] = abs(value) * (1 + skew), abs(value) * (1 - skew)
    return out
