"""The people an evaluation is made of, all from odd seeds, and the moments they are put into."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arc2face_training.common.world import PeopleWorld, Person, Rendering, State

U8 = NDArray[np.uint8]
FIRST_SEED = 1_000_001


@dataclass(frozen=True)
class Subject:
    """One unseen person with an input picture (calm, nearly frontal)."""

    seed: int
    person: Person
    state: State
    photo: Rendering

    @property
    def rgb_u8(self) -> U8:
        """The input picture."""
        assert self.photo.rgb_u8 is not None
        return self.photo.rgb_u8


class Cast:
    """Maker of subjects and renders. `size`: pixels of the input pictures."""

    def __init__(self, size: int = 256, first: int = FIRST_SEED) -> None:
        self.world, self.size, self.first = PeopleWorld(), size, first

    def subject(self, number: int) -> Subject:
        """Subject `number` (0, 1, ...)."""
        seed = self.first + 2 * number
        person = self.world.identity(seed)
        state = self.world.sample_state(np.random.default_rng([seed, 1]), neutral=True)
        return Subject(seed, person, state, self.world.render(person, state, self.size))

    def subjects(self, count: int) -> list[Subject]:
        """The first `count` subjects."""
        return [self.subject(k) for k in range(count)]

    def moment(self, seed: int) -> State:
        """A random moment."""
        return self.world.sample_state(np.random.default_rng([seed, 2]))

    def render(self, person: Person, state: State, size: int | None = None) -> Rendering:
        """A picture with normal map and labels."""
        return self.world.render(person, state, size or self.size)

    def turned(self, seed: int) -> State:
        """A calm face in a random pose."""
        state = self.world.sample_state(np.random.default_rng([seed, 3]), neutral=True)
        other = self.moment(seed)
        state.yaw, state.pitch, state.roll = other.yaw, other.pitch, other.roll
        return state


def with_expression(state: State, other: State) -> State:
    """`state` with the expression, lids and jaw of `other`."""
    changed = copy.deepcopy(state)
    changed.expression, changed.eyelids, changed.jaw = other.expression, other.eyelids, other.jaw
    return changed
