"""How different the pictures of one person look: LPIPS where its network is at hand, and always plain pixels."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arc2face.errors import InputError
from arc2face.evaluation.bootstrap import mean_figure
from arc2face.evaluation.features import Features
from arc2face.evaluation.figure import Figure, absent
from arc2face.evaluation.looking import aligned_face
from arc2face.evaluation.protocol import Protocol
from arc2face.evaluation.samples import FaceSet
from arc2face.evaluation.scores import Float64, Int64
from arc2face.evaluation.state import Shard
from arc2face.readers import Perception
from arc2face.types import RgbU8
from arc2face.weights.store import replace_with

Distance = Callable[[RgbU8, RgbU8], NDArray[np.float32]]
NO_PAIR = "nobody has two pictures with a face"
BLOCK = 16
"""People per file of distances."""


def groups(features: Features, drawn: bool) -> list[tuple[int, Int64]]:
    """(person, places of their pictures with landmarks) of everybody with two or more."""
    places = np.flatnonzero((features.drawn == drawn) & features.raw["aligned"] & (features.person >= 0))
    order = places[np.argsort(features.person[places], kind="stable")]
    numbers, starts = np.unique(features.person[order], return_index=True)
    parts = np.split(order, starts[1:]) if len(order) else []
    return [(int(number), part) for number, part in zip(numbers, parts, strict=True) if len(part) > 1]


def pairs_of(places: Int64, most: int, seed: int, person: int) -> Iterator[tuple[int, int]]:
    """All pairs of one person's pictures, or `most` of them drawn with the seed."""
    first, second = np.triu_indices(len(places), 1)
    chosen = np.arange(len(first))
    if len(chosen) > most:
        chosen = np.sort(np.random.default_rng([seed, 7, person]).choice(len(first), most, replace=False))
    yield from ((int(places[a]), int(places[b])) for a, b in zip(first[chosen], second[chosen], strict=True))


def pixel_diversity(features: Features, drawn: bool, protocol: Protocol) -> Figure:
    """Root mean square difference of 32-pixel aligned faces of one person, in grey levels (0 to 255)."""
    thumbs = features.raw["thumb"]
    means: list[float] = []
    people: list[int] = []
    for person, places in groups(features, drawn):
        found = [
            float(np.sqrt(((thumbs[a].astype(np.float64) - thumbs[b]) ** 2).mean()))
            for a, b in pairs_of(places, protocol.lpips_pairs, protocol.seed, person)
        ]
        means.append(float(np.mean(found)))
        people.append(person)
    return _figure(np.array(means), np.array(people, np.int64), protocol) | {"unit": "grey levels"}


def folder_of(state: Path, distance: Distance, protocol: Protocol) -> Path:
    """Where distances of this network and these pairs are kept; others get another folder."""
    network = str(getattr(distance, "sha256", "given"))[:12]
    return state / f"lpips-{network}-{protocol.lpips_pairs}-{protocol.seed}"


def lpips_diversity(folder: Path, features: Features, drawn: bool, protocol: Protocol) -> Figure:
    """Mean LPIPS between pictures of one person, from the distances that `measure` has kept."""
    means: list[float] = []
    people: list[int] = []
    for number in range(_blocks(features, drawn)):
        stored: dict[str, float | None] = json.loads(_path(folder, drawn, number).read_text(encoding="utf-8"))
        means += [np.nan if value is None else value for value in stored.values()]
        people += [int(person) for person in stored]
    return _figure(np.array(means), np.array(people, np.int64), protocol)


def measure(
    folder: Path, faces: FaceSet, features: Features, perception: Perception, distance: Distance,
    protocol: Protocol, shard: Shard,
) -> None:  # fmt: skip
    """LPIPS of everybody, kept per block of people: first those of this shard, then what others have not done."""
    for drawn in (False, True):
        people = groups(features, drawn)
        for number in sorted(range(_blocks(features, drawn)), key=lambda k: k % shard.count != shard.index):
            path = _path(folder, drawn, number)
            if not path.is_file():
                block = people[number * BLOCK : (number + 1) * BLOCK]
                found = {str(person): _of_person(faces, places, perception, distance, protocol, person)
                         for person, places in block}  # fmt: skip
                with replace_with(path) as temporary:
                    temporary.write_text(json.dumps(found), encoding="utf-8")


def _of_person(
    faces: FaceSet, places: Int64, perception: Perception, distance: Distance, protocol: Protocol, person: int
) -> float | None:
    wanted = list(pairs_of(places, protocol.lpips_pairs, protocol.seed, person))
    aligned: dict[int, Any] = {}
    for place in sorted({place for pair in wanted for place in pair}):
        source = faces.samples[place].open
        try:
            aligned[place] = None if source is None else aligned_face(perception, source())
        except InputError:
            aligned[place] = None
    usable = [(aligned[a], aligned[b]) for a, b in wanted if aligned[a] is not None and aligned[b] is not None]
    return float(np.mean([distance(a[None], b[None])[0] for a, b in usable])) if usable else None


def _figure(means: Float64, people: Int64, protocol: Protocol) -> Figure:
    """Mean over people of each one's mean, as the published protocol has it."""
    if not len(means):
        return absent(NO_PAIR)
    return mean_figure(means, people, protocol.replicates, protocol.seed, "pair of pictures of one person")


def _blocks(features: Features, drawn: bool) -> int:
    return -(-len(groups(features, drawn)) // BLOCK)


def _path(folder: Path, drawn: bool, number: int) -> Path:
    return folder / f"{'drawn' if drawn else 'real'}-{number:06d}.json"
