"""Contact sheets: rows of people, columns of moments, to look at.

`python -m arc2face_training.people.sheet OUT.png [--people N] [--seed S] [--group african] [--kind KIND] [--size
PIXELS]`, KIND one of moments, faces, expressions, poses, groups, styles.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from arc2face_training.people.columns import GROUPS
from arc2face_training.people.expressions import FACES
from arc2face_training.people.looks import STYLES
from arc2face_training.people.person import Person
from arc2face_training.people.state import State, sample_state
from arc2face_training.people.world import PeopleWorld

U8 = NDArray[np.uint8]
KINDS = ("moments", "faces", "expressions", "poses", "groups", "styles")


def _calm(rng: np.random.Generator) -> State:
    return sample_state(rng, neutral=True)


def telling_moments(rng: np.random.Generator) -> list[State]:
    """Eight moments that show most of what can go wrong."""
    states = [_calm(rng) for _ in range(8)]
    states[1].set(mouthSmile=0.9, cheekSquint=0.5)
    states[2].set(mouthSmile=0.8, mouthUpperUp=0.4).yaw = 0.6
    states[2].jaw[0] = 0.12
    states[3].set(mouthFrown=1.0, browDown=1.0).yaw = -0.55
    states[4].set(browInnerUp=0.8, browOuterUp=0.9, eyeWide=0.8).jaw[0] = 0.32
    states[5].set(mouthSmileLeft=0.7).eyelids[0] = 1.0
    states[6].set(mouthPucker=1.0).pitch = 0.25
    states[6].eyelids[:] = 1.0
    states[7].yaw, states[7].pitch = -0.85, -0.2
    return states


def expression_states(rng: np.random.Generator) -> list[State]:
    """Every group of expressions at full strength, and lids and jaw."""
    states = []
    for faces in FACES.values():
        for parts, _, opening in faces:
            state = _calm(rng).set(**parts)
            state.jaw[0] = 0.2 * opening
            states.append(state)
    for lids, jaw in (((1, 1), 0), ((1, 0), 0), ((0, 1), 0), ((0.5, 0.5), 0), ((0, 0), 0.15), ((0, 0), 0.36)):
        state = _calm(rng)
        state.eyelids[:], state.jaw[0] = lids, jaw
        states.append(state)
    return states


def pose_states(rng: np.random.Generator) -> list[State]:
    """Yaw, pitch and roll one by one."""
    states = []
    for yaw in (-0.87, -0.55, -0.25, 0.25, 0.55, 0.87):
        states.append(_calm(rng))
        states[-1].yaw, states[-1].upright = yaw, 1.0
    for pitch, roll in ((-0.42, 0.0), (0.42, 0.0), (0.0, -0.35), (0.0, 0.35)):
        states.append(_calm(rng))
        states[-1].pitch, states[-1].roll, states[-1].upright = pitch, roll, 0.0
    return states


COLUMNS = 8


def sheet(world: PeopleWorld, people: list[Person], states: list[list[State]], size: int) -> U8:
    """RGB contact sheet: a row per person, broken after ten pictures into rows of eight."""
    rows: list[U8] = []
    for person, own in zip(people, states, strict=True):
        pictures = [world.render(person, state, size, ("rgb",)).rgb_u8 for state in own]
        found = [picture for picture in pictures if picture is not None]
        rows.append(_grid(found, len(found) if len(found) <= COLUMNS + 2 else COLUMNS))
    return np.concatenate(rows)


def _grid(pictures: list[U8], columns: int) -> U8:
    blank = np.full_like(pictures[0], 255)
    pictures = pictures + [blank] * (-len(pictures) % columns)
    return np.concatenate([np.concatenate(pictures[k : k + columns], 1) for k in range(0, len(pictures), columns)])


def faces(world: PeopleWorld, people: list[Person], columns: int, size: int, seed: int) -> U8:
    """One calm picture of everybody."""
    rng = np.random.default_rng([seed, 3])
    pictures = [world.render(person, _calm(rng), size, ("rgb",)).rgb_u8 for person in people]
    return _grid([picture for picture in pictures if picture is not None], columns)


def make(kind: str, count: int, seed: int, group: str | None, size: int) -> U8:
    """A sheet of one of KINDS."""
    world, rng = PeopleWorld(), np.random.default_rng([seed, 4])
    if kind == "groups":
        rows = [[world.identity(seed + 2 * k, name) for k in range(count)] for name in GROUPS]
        return np.concatenate([faces(world, people, count, size, seed) for people in rows])
    if kind == "styles":
        found: dict[str, Person] = {}
        for k in range(4000):
            person_look = world.identity(seed + 2 * k, group)
            found.setdefault(person_look.look.style, person_look)
            if len(found) == len(STYLES):
                break
        people = [found[name] for name in STYLES if name in found]
        return sheet(world, people, [_turns(rng) for _ in people], size)
    people = [world.identity(seed + 2 * k, group) for k in range(count)]
    if kind == "faces":
        return faces(world, people, COLUMNS, size, seed)
    makers = {"moments": telling_moments, "expressions": expression_states, "poses": pose_states}
    return sheet(world, people, [makers[kind](rng) for _ in people], size)


def _turns(rng: np.random.Generator) -> list[State]:
    states = [_calm(rng) for _ in range(5)]
    for state, yaw in zip(states, (0.0, 0.35, -0.35, 0.8, -0.8), strict=True):
        state.yaw = yaw
    return states


def main() -> None:
    """Write a contact sheet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--people", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--group", choices=GROUPS)
    parser.add_argument("--kind", choices=KINDS, default="moments")
    parser.add_argument("--size", type=int, default=256)
    o = parser.parse_args()
    Image.fromarray(make(o.kind, o.people, o.seed, o.group, o.size)).save(o.out)


if __name__ == "__main__":
    main()
