"""Light set-ups: a key light with a soft edge, a fill, a rim and light from six sides."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
SETUPS = ("studio", "window", "overcast", "indoor", "outdoor", "flash")


def _unit(x: float, y: float, z: float) -> Float32:
    v = np.array([x, y, z], np.float32)
    return v / np.linalg.norm(v)


@dataclass
class Light:
    """Directions (3,) point to the lights; x to the image's right, y up, z to the viewer. Colours are linear RGB.

    `soft`: distance of shadow taps in shadow-map pixels. `cube` (6, 3): light from +x, -x, +y, -y, +z, -z.
    `catch` (3, 3): directions of what eyes mirror, `catch_sizes` (3, 3): strength, cosine of the half width, blue gain.
    """

    name: str = "studio"
    key: Float32 = field(default_factory=lambda: _unit(0.45, 0.5, 0.9))
    key_colour: Float32 = field(default_factory=lambda: np.array([1.25, 1.2, 1.12], np.float32))
    soft: float = 1.4
    fill: Float32 = field(default_factory=lambda: _unit(-0.7, 0.1, 0.8))
    fill_colour: Float32 = field(default_factory=lambda: np.full(3, 0.22, np.float32))
    rim: Float32 = field(default_factory=lambda: _unit(-0.8, 0.4, -0.6))
    rim_colour: Float32 = field(default_factory=lambda: np.full(3, 0.3, np.float32))
    cube: Float32 = field(default_factory=lambda: np.full((6, 3), 0.35, np.float32))
    catch: Float32 = field(default_factory=lambda: np.stack([_unit(0.45, 0.5, 0.9)] * 3))
    catch_sizes: Float32 = field(
        default_factory=lambda: np.array([[2.5, 0.955, 1.0], [0, 1, 1], [0, 1, 1]], np.float32)
    )


def sample_light(rng: np.random.Generator, name: str | None = None) -> Light:
    """Draw a set-up (any of SETUPS) and its details."""
    kind = name or str(rng.choice(SETUPS, p=(0.26, 0.20, 0.16, 0.16, 0.16, 0.06)))
    side = float(rng.choice((-1.0, 1.0)))
    warm, cool = np.array([1.0, 0.92, 0.80]), np.array([0.90, 0.97, 1.06])
    white = np.array([1.0, 0.98, 0.95])
    if kind == "studio":
        light = _make(rng, side, (0.25, 0.75), (0.30, 0.65), 1.25 * white, 1.5, 0.32, 0.30 * white, 0.35)
    elif kind == "window":
        light = _make(rng, side, (0.75, 1.25), (0.10, 0.42), 1.35 * cool, 2.2, 0.14, 0.20 * white, 0.10)
    elif kind == "overcast":
        light = _make(rng, side, (0.0, 0.5), (0.75, 1.15), 0.62 * cool, 3.0, 0.06, 0.52 * cool, 0.10)
    elif kind == "indoor":
        light = _make(
            rng, side, (0.1, 0.9), (0.55, 0.95), 1.0 * warm, 1.6, 0.16, 0.34 * (0.5 * warm + 0.5 * white), 0.18
        )
    elif kind == "outdoor":
        light = _make(
            rng, side, (0.3, 1.1), (0.45, 0.85), 1.75 * np.array([1.0, 0.94, 0.84]), 0.8, 0.12, 0.36 * cool, 0.5
        )
    else:
        light = _make(rng, side, (0.0, 0.12), (0.02, 0.12), 1.3 * white, 0.6, 0.02, 0.17 * warm, 0.05)
    light.name = kind
    return light


def _make(
    rng: np.random.Generator,
    side: float,
    azimuth: tuple[float, float],
    height: tuple[float, float],
    key: NDArray[np.float64],
    soft: float,
    fill: float,
    around: NDArray[np.float64],
    rim: float,
) -> Light:
    a, h = side * rng.uniform(*azimuth), rng.uniform(*height)
    direction = _unit(np.sin(a) * np.cos(h), np.sin(h), np.cos(a) * np.cos(h))
    tint = np.exp(rng.normal(0, 0.05, 3))
    sky = around * tint * rng.uniform(0.85, 1.2)
    ground = sky * np.array([0.62, 0.55, 0.48]) * rng.uniform(0.7, 1.2)
    near, far = sky * rng.uniform(0.85, 1.15), sky * rng.uniform(0.6, 1.0)
    left, right = (near, far) if side < 0 else (far, near)
    cube = np.stack([right, left, 1.25 * sky, ground, 0.95 * sky, 0.75 * sky])
    catch, sizes = _catch_lights(rng, direction, key, around)
    return Light(
        key=direction,
        key_colour=(key * tint * rng.uniform(0.85, 1.15)).astype(np.float32),
        soft=float(soft * rng.uniform(0.8, 1.25)),
        fill=_unit(-side * rng.uniform(0.4, 1.0), rng.uniform(-0.1, 0.4), 0.8),
        fill_colour=(fill * tint * rng.uniform(0.5, 1.4)).astype(np.float32) * np.ones(3, np.float32),
        rim=_unit(-side * rng.uniform(0.5, 1.0), rng.uniform(0.2, 0.8), -rng.uniform(0.3, 0.8)),
        rim_colour=(rim * rng.uniform(0.2, 1.6) * tint).astype(np.float32),
        cube=cube.astype(np.float32),
        catch=catch,
        catch_sizes=sizes,
    )


def _catch_lights(
    rng: np.random.Generator, key: Float32, colour: NDArray[np.float64], around: NDArray[np.float64]
) -> tuple[Float32, Float32]:
    """What the cornea mirrors: the key light moved towards the viewer, so that it is seen, and one or two dimmer."""
    main = _unit(*(0.75 * key + np.array([0, 0.16, 0.55]))) if rng.random() < 0.85 else key
    second = _unit(-main[0] * rng.uniform(0.5, 1.2), main[1] * rng.uniform(-0.3, 0.9), main[2])
    third = _unit(rng.uniform(-0.3, 0.3), -0.55, 0.8)
    strength = float(colour.mean()) * rng.uniform(1.0, 2.0)
    sizes = [
        [strength, np.cos(rng.uniform(0.10, 0.20)), 1.0],
        [strength * rng.uniform(0, 0.25), np.cos(rng.uniform(0.10, 0.2)), 1.05],
        [float(around.mean()) * rng.uniform(0.0, 0.10), np.cos(rng.uniform(0.25, 0.4)), 1.0],
    ]
    return np.stack([main, second, third]).astype(np.float32), np.array(sizes, np.float32)
