"""Render the pool of people who do not exist that the starter models bring along: `people.zip`.

`python -m scripts.make_people models/starter/people.zip` needs the package anny (see training/README.md). Seeds are
odd, so that nobody of the training is among them. Who is not found by the detector of `--models` is left out. The same
command writes the same file.
"""

from __future__ import annotations

import argparse
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from arc2face.engine import Engine
from arc2face.errors import NoFaceError
from arc2face.weights.store import replace_with
from arc2face_training.people import PeopleWorld, State

FIRST, COUNT = 100_001, 200
"""Seed of the first person, and how many."""
SIDE, QUALITY = 384, 84
"""Pixels a side and WebP quality: about 12 kB each."""
EPOCH = (2026, 1, 1, 0, 0, 0)
U8 = NDArray[np.uint8]


def portrait(world: PeopleWorld, seed: int) -> State:
    """A calm moment as people photograph themselves for a profile: head and shoulders, even light, a plain wall."""
    state = world.sample_state(np.random.default_rng([seed, 7]), neutral=True, studio=True)
    state.view, state.upright = 1.3, 1.0
    state.distance = max(state.distance, 11.0)
    state.exposure *= 0.4
    state.grain, state.jpeg, state.soften = min(state.grain, 0.6), 0, 0.0
    return state


def drawn(world: PeopleWorld, seed: int, state: State, side: int = SIDE) -> U8:
    """(side, side, 3) uint8 RGB."""
    picture = world.render(world.identity(seed), state, side, want=("rgb",)).rgb_u8
    assert picture is not None  # asked for
    return picture


def people(engine: Engine, count: int) -> Iterator[tuple[int, U8]]:
    """Seed and picture of `count` people whose faces are found."""
    world, seed, found = PeopleWorld(), FIRST, 0
    while found < count:
        picture = drawn(world, seed, portrait(world, seed))
        try:
            engine.perception.embed(picture)
        except NoFaceError:
            print(seed, "left out: no face found")
        else:
            found += 1
            yield seed, picture
        seed += 2


def as_webp(picture: U8) -> bytes:
    """Encoded."""
    target = io.BytesIO()
    Image.fromarray(picture).save(target, "WEBP", quality=QUALITY, method=6)
    return target.getvalue()


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--models", type=Path, default=Path("models/starter"))
    parser.add_argument("--count", type=int, default=COUNT)
    options = parser.parse_args()
    with (
        Engine.open(options.models) as engine,
        replace_with(options.out) as part,
        zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as pool,
    ):
        for seed, picture in people(engine, options.count):
            pool.writestr(zipfile.ZipInfo(f"{seed:07d}.webp", EPOCH), as_webp(picture))
    print(options.out, options.out.stat().st_size)


if __name__ == "__main__":
    main()
