"""What is measured: pictures with the names of the people they show, and what was asked for where they were drawn."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np

from arc2face.errors import InputError
from arc2face.types import Float32Array

Role = Literal["real", "drawn"]
"""Photographs (or whatever stands for them), or pictures that a model made of them."""
Opener = Callable[[], "bytes | Path"]
MAX_SAMPLES = 10_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """What a drawn picture was asked to show; what was not asked is None.

    `input_key`: key of the real sample that it was drawn from. `vector`: (512,) float32, the identity embedding.
    `pose`: yaw, pitch and roll in degrees. `expression`: (55,) float32. `error`: why there is no picture.
    """

    input_key: str | None = None
    vector: Float32Array | None = None
    pose: tuple[float, float, float] | None = None
    expression: Float32Array | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One picture.

    `key`: unique in the set; for a file its path relative to the set, with forward slashes. `person`: whom it shows,
    None when nobody says. `open`: gives the file's path or its bytes, None where a picture could not be drawn.
    `labels`: such as {"sex": "f", "age": "30-39"}.
    """

    key: str
    person: str | None
    open: Opener | None
    role: Role = "real"
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    asked: Asked | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """A pair of a published list: keys of two samples, and whether they show one person. `fold`: from 0."""

    first: str
    second: str
    same: bool
    fold: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class FaceSet:
    """Samples in a fixed order, and the published pairs where the set has a list.

    `notes`: sentences about what was left out. Raises InputError when there is none, or a key is used twice.
    """

    name: str
    samples: tuple[Sample, ...]
    pairs: tuple[Pair, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.samples:
            raise InputError(f"The set {self.name!r} holds no picture. Check the folder and its layout.")
        if len(self.samples) > MAX_SAMPLES:
            raise InputError(f"The set {self.name!r} has more than {MAX_SAMPLES} pictures; measure a part of it.")
        twice = [key for key, count in Counter(sample.key for sample in self.samples).items() if count > 1]
        if twice:
            raise InputError(f"The set {self.name!r} names the picture {twice[0]!r} twice; give each a key of its own.")

    @property
    def people(self) -> tuple[str, ...]:
        """Names in the order of their first picture."""
        return tuple(dict.fromkeys(sample.person for sample in self.samples if sample.person is not None))

    def digest(self) -> str:
        """SHA-256 of keys, people and roles, in order: two runs with the same one looked at the same list."""
        rows = [[sample.key, sample.person, sample.role] for sample in self.samples]
        return hashlib.sha256(json.dumps(rows, ensure_ascii=True).encode()).hexdigest()

    def limited(self, per_person: int, people: int = 0, seed: int = 0) -> FaceSet:
        """At most `per_person` photographs and drawn pictures of each of at most `people` people; 0 takes all.

        They are drawn with `seed`; who is depends on the names alone, not on the other people in the set. A photo that
        a kept picture was drawn from stays. A set with a published list of pairs is never cut: the list names its
        pictures.
        """
        if self.pairs or not (per_person or people):
            return self
        chosen = set(self.people)
        if people:
            chosen = set(sorted(chosen, key=lambda name: _lot(seed, "person", name))[:people])
        kept: set[str] = set()
        for (name, _), group in _by_person(self.samples).items():
            if name is None or name in chosen:
                lots = sorted(group, key=lambda sample: _lot(seed, "picture", sample.key))
                kept |= {sample.key for sample in (lots[:per_person] if per_person and name is not None else group)}
        inputs = {one.asked.input_key for one in self.samples if one.key in kept and one.asked is not None}
        return replace(self, samples=tuple(one for one in self.samples if one.key in kept or one.key in inputs))

    def joined(self, other: FaceSet) -> FaceSet:
        """Both sets as one, such as real photos and the pictures drawn from them."""
        notes = (*self.notes, *other.notes)
        return replace(self, samples=(*self.samples, *other.samples), notes=notes, pairs=(*self.pairs, *other.pairs))


def _lot(seed: int, kind: str, name: str) -> bytes:
    return hashlib.sha256(f"{seed}:{kind}:{name}".encode()).digest()


def _by_person(samples: Sequence[Sample]) -> dict[tuple[str | None, Role], list[Sample]]:
    groups: dict[tuple[str | None, Role], list[Sample]] = {}
    for sample in samples:
        groups.setdefault((sample.person, sample.role), []).append(sample)
    return groups


def codes_of(names: Sequence[str | None]) -> tuple[np.ndarray, list[str]]:
    """(n,) int64 number of each name in order of first appearance, -1 for None; and the names."""
    order = {name: number for number, name in enumerate(dict.fromkeys(name for name in names if name is not None))}
    return np.array([-1 if name is None else order[name] for name in names], np.int64), list(order)
