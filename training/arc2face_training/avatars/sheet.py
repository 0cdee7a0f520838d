"""Contact sheets: rows of people, columns of moments, to look at.

`python -m arc2face_training.avatars.sheet out.png --seeds 1 3 5 7`
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from arc2face_training.avatars.state import State, sample_state
from arc2face_training.avatars.world import AvatarWorld


def moments() -> list[State]:
    """Eight telling states."""
    turned = State(yaw=0.55).set(smile=0.8)
    turned.jaw[0] = 0.18
    surprised = State().set(brow_raise=1.0, eye_widen=0.8)
    surprised.jaw[0] = 0.32
    wink = State(yaw=0.2, pitch=-0.1, roll=0.15).set(smirk_left=1.0)
    wink.eyelids[0] = 1.0
    asleep = State(pitch=0.25).set(pucker=1.0)
    asleep.eyelids[:] = 1.0
    return [
        State(),
        State().set(smile=1.0),
        turned,
        State(yaw=-0.5).set(frown=1.0, brow_furrow=1.0),
        surprised,
        wink,
        asleep,
        State(yaw=-1.0).set(cheek_puff=0.6, brow_raise_right=1.0),
    ]


def sheet(seeds: list[int], size: int = 128, states: list[State] | None = None) -> NDArray[np.uint8]:
    """RGB contact sheet; the last row holds the first person's normal maps."""
    world, rows, rng = AvatarWorld(), [], np.random.default_rng(0)
    states = moments() if states is None else states
    normals: list[NDArray[np.uint8]] = []
    for seed in seeds:
        person, row = world.identity(seed), []
        for state in states:
            random = sample_state(rng)
            for name in ("background", "light_direction", "light_colour", "ambient", "cloth", "gaze"):
                setattr(state, name, getattr(random, name))
            picture = world.render(person, state, size)
            assert picture.rgb_u8 is not None and picture.normal_map_u8 is not None
            row.append(picture.rgb_u8)
            if seed == seeds[0]:
                normals.append(picture.normal_map_u8)
        rows.append(np.concatenate(row, 1))
    return np.concatenate([*rows, np.concatenate(normals, 1)])


def main() -> None:
    """Write a contact sheet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 3, 5, 7, 9, 11])
    parser.add_argument("--size", type=int, default=160)
    options = parser.parse_args()
    Image.fromarray(sheet(options.seeds, options.size)).save(options.out)


if __name__ == "__main__":
    main()
