"""Datasets of rendered people: shards in one folder, resumable, written by several processes.

`python -m arc2face_training.people.dataset FOLDER --people 6000 --per-person 8 --first 0`

Row k belongs to person k // per_person. `open_dataset` gives `rgb` (n, S, S, 3), `normals` (same, or None), `crops`
(n, 112, 112, 3), all uint8 RGB, decoded when indexed; `labels` (n, 212) float32, see `LABEL_SLICES`; `seeds`
(people,) int64; `attributes` (people, N_ATTRIBUTES) float32; `done` (people,) bool. On disk: `dataset.json`, and for
every 32 people `shards/K.bin` (pictures) and `shards/K.npz` (numbers), which exists when the shard is whole.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from arc2face_training.common.errors import TrainingError
from arc2face_training.people.assets import save_npz
from arc2face_training.people.person import Person
from arc2face_training.people.pictures import Pictures, encode
from arc2face_training.people.state import State, same_moment
from arc2face_training.people.world import PeopleWorld, Rendering

Float32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
CROP_SIZE = 112
PAIR_TURN = 0.05
PEOPLE_PER_SHARD = 32
CROP_POINTS = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]], np.float32
)
LABEL_SLICES = {
    "expression55": slice(0, 55),
    "pose": slice(55, 58),
    "landmarks68": slice(58, 194),
    "points5": slice(194, 204),
    "box": slice(204, 208),
    "camera": slice(208, 211),
    "view": slice(211, 212),
}
N_LABELS = 212
KINDS = ("rgb", "crops", "normals")


@dataclass(frozen=True)
class DatasetConfig:
    """What a dataset holds. Seeds are `first`, `first` + 2, ...: even ones for training, odd ones for evaluation.

    `studio`: share of the moments with even light and plain walls, 0 to 1. `pairs`: rows come two and two, frames of
    one moment. `loose`: framed from the aligned square to twice as wide, off the centre, for detectors and landmarks.
    `quality`: of the stored JPEGs, 0 for raw pictures.
    """

    people: int = 6000
    per_person: int = 8
    first: int = 0
    size: int = 256
    normals: bool = True
    studio: float = 0.0
    pairs: bool = False
    loose: bool = False
    quality: int = 95


@dataclass(frozen=True, eq=False)
class PeopleDataset:
    """A dataset opened for reading."""

    config: DatasetConfig
    rgb: Pictures
    normals: Pictures | None
    crops: Pictures
    labels: Float32
    seeds: NDArray[np.int64]
    attributes: Float32
    done: NDArray[np.bool_]

    def rows(self, person: int) -> slice:
        """Rows of the person with this index (not seed)."""
        return slice(person * self.config.per_person, (person + 1) * self.config.per_person)

    def label(self, name: str) -> Float32:
        """One group of label columns, (n, width)."""
        return self.labels[:, LABEL_SLICES[name]]


def align_crop(picture: U8, points5: Float32, size: int = CROP_SIZE) -> U8:
    """The recogniser's crop: similarity transform of five points (pixels) onto its template; RGB in, RGB out.

    Points count pixel centres at half integers, the template (insightface's) at integers.
    """
    points, wanted = points5 - 0.5, CROP_POINTS * (size / CROP_SIZE)
    source, target = points - points.mean(0), wanted - wanted.mean(0)
    norm = (target**2).sum()
    a = (source * target).sum() / norm
    b = (target[:, 0] * source[:, 1] - target[:, 1] * source[:, 0]).sum() / norm
    linear = np.array([[a, -b], [b, a]])
    # Pillow asks for the way back, and counts pixel centres at half integers on both sides.
    offset = points.mean(0) + 0.5 - linear @ (wanted.mean(0) + 0.5)
    matrix = (*linear[0], offset[0], *linear[1], offset[1])
    moved = Image.fromarray(picture).transform((size, size), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
    return np.asarray(moved)


def label_row(rendering: Rendering, view: float) -> Float32:
    """(212,) float32 of LABEL_SLICES."""
    flat = (rendering.landmarks68.ravel(), rendering.points5.ravel(), rendering.box, rendering.camera)
    return np.concatenate([rendering.expression55, rendering.pose, *flat, [view]]).astype(np.float32)


def open_dataset(folder: Path) -> PeopleDataset:
    """Open a folder that `write_dataset` has finished or is still writing; check `done`."""
    if not (folder / "dataset.json").exists():
        raise TrainingError(
            f"There is no dataset of people in {folder}. Write one: python -m arc2face_training.people.dataset {folder}"
        )
    try:
        config = DatasetConfig(**json.loads((folder / "dataset.json").read_text())["config"])
    except (TypeError, KeyError, ValueError) as error:
        raise TrainingError(f"{folder} is no dataset of this version of people: {error}. Render it anew.") from error
    per = PEOPLE_PER_SHARD * config.per_person
    rows = config.people * config.per_person
    labels, places = np.zeros((rows, N_LABELS), np.float32), np.zeros((rows, 3, 2), np.int64)
    done, attributes = np.zeros(config.people, bool), np.zeros((config.people, 0), np.float32)
    for shard in range(_shards(config)):
        path = _shard(folder, shard, "npz")
        if not path.exists():
            continue
        people = _people(config, shard)
        with np.load(path, allow_pickle=False) as found:
            if not attributes.shape[1]:
                attributes = np.zeros((config.people, found["attributes"].shape[1]), np.float32)
            attributes[people], done[people] = found["attributes"], True
            own = slice(people[0] * config.per_person, (people[-1] + 1) * config.per_person)
            labels[own], places[own] = found["labels"], found["places"]
    files = tuple(_shard(folder, shard, "bin") for shard in range(_shards(config)))
    rgb, crops, normals = (
        Pictures(files, per, places[:, k], CROP_SIZE if kind == "crops" else config.size, config.quality)
        for k, kind in enumerate(KINDS)
    )
    seeds = config.first + 2 * np.arange(config.people, dtype=np.int64)
    return PeopleDataset(config, rgb, normals if config.normals else None, crops, labels, seeds, attributes, done)


def write_dataset(
    folder: Path, config: DatasetConfig, processes: int = 2, *, until: int = 0, seconds: float = 0.0
) -> PeopleDataset:
    """Write (or go on writing) a dataset; whole shards are kept.

    `until`: only the first so many people for now. `seconds`: no new shard begins after so long. 0: no limit.
    """
    end = time.monotonic() + seconds if seconds else float("inf")
    _prepare(folder, config)
    wanted = _shards(config) if not until else min(_shards(config), -(-until // PEOPLE_PER_SHARD))
    todo = [shard for shard in range(wanted) if not _shard(folder, shard, "npz").exists()]
    PeopleWorld()  # caches are written once, before processes start
    if processes <= 1:
        for shard in todo:
            _write_shard(folder, config, shard, end)
    elif todo:
        # A pool of fresh processes: threads of this one (torch, BLAS) must not be copied.
        with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
            list(pool.map(_write_shard, [folder] * len(todo), [config] * len(todo), todo, [end] * len(todo)))
    return open_dataset(folder)


def _shards(config: DatasetConfig) -> int:
    return -(-config.people // PEOPLE_PER_SHARD)


def _people(config: DatasetConfig, shard: int) -> NDArray[np.int64]:
    return np.arange(shard * PEOPLE_PER_SHARD, min((shard + 1) * PEOPLE_PER_SHARD, config.people))


def _shard(folder: Path, shard: int, ending: str) -> Path:
    return folder / "shards" / f"{shard:05d}.{ending}"


def _prepare(folder: Path, config: DatasetConfig) -> None:
    (folder / "shards").mkdir(parents=True, exist_ok=True)
    description = folder / "dataset.json"
    if description.exists():
        found = json.loads(description.read_text())["config"]
        if found != asdict(config):
            raise TrainingError(f"{folder} holds a dataset of another configuration: {found}. Choose another folder.")
        return
    part = description.with_suffix(".part")
    part.write_text(json.dumps({"config": asdict(config)}, indent=2))
    part.replace(description)


def _write_shard(folder: Path, config: DatasetConfig, shard: int, end: float) -> None:
    """Render the people of one shard; the npz appears last, so a killed run leaves nothing half.

    Nothing begins after `end` (seconds of this machine's monotonic clock).
    """
    if time.monotonic() > end:
        return
    world, people = PeopleWorld(), _people(config, shard)
    labels, places, attributes = [], [], []
    target = _shard(folder, shard, "bin")
    part = target.with_suffix(f".part{os.getpid()}")
    try:
        with part.open("wb") as stream:
            for index in people:
                person = world.identity(config.first + 2 * int(index))
                attributes.append(person.attributes())
                for rendering, state, crop in _moments(world, person, config):
                    labels.append(label_row(rendering, state.view))
                    pictures = (rendering.rgb_u8, crop, rendering.normal_map_u8)
                    for picture in pictures:
                        content = b"" if picture is None else encode(picture, config.quality)
                        places.append((stream.tell(), len(content)))
                        stream.write(content)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    numbers = {"labels": np.stack(labels), "attributes": np.stack(attributes),
               "places": np.array(places, np.int64).reshape(-1, 3, 2)}  # fmt: skip
    save_npz(_shard(folder, shard, "npz"), numbers)


def _moments(world: PeopleWorld, person: Person, config: DatasetConfig) -> Iterator[tuple[Rendering, State, U8]]:
    """Pictures of one person with their moments and crops."""
    rng = np.random.default_rng([person.seed, 29])
    want = ("rgb", "normals") if config.normals else ("rgb",)
    state = State()
    for k in range(config.per_person):
        state = next_state(config, world, rng, k, state)
        rendering = world.render(person, state, config.size, want)
        assert rendering.rgb_u8 is not None
        # The product's crops follow a detector that errs a little; so do these.
        jitter = rng.normal(0, 0.006 * config.size / state.view, (5, 2)).astype(np.float32)
        yield rendering, state, align_crop(rendering.rgb_u8, rendering.points5 + jitter)


def next_state(config: DatasetConfig, world: PeopleWorld, rng: np.random.Generator, k: int, before: State) -> State:
    """The moment of picture `k` of a person."""
    if config.pairs and k % 2 == 1:
        return same_moment(before, rng, PAIR_TURN)
    state = world.sample_state(rng, neutral=k == 0 and not config.pairs, studio=_studio(config.studio, rng))
    if config.loose:
        state.view = float(np.exp(rng.uniform(np.log(0.9), np.log(2.1))))
        state.shift = (rng.uniform(-0.5, 0.5, 2) * max(0.0, 1 - 0.8 / state.view)).astype(np.float32)
        state.upright = 0.0
    return state


def _studio(share: float, rng: np.random.Generator) -> bool:
    """No draw where there is no choice, so that such datasets are what they always were."""
    return share >= 1 or (share > 0 and bool(rng.random() < share))


def main() -> None:
    """Write a dataset."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--people", type=int, default=6000)
    parser.add_argument("--per-person", type=int, default=8)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--quality", type=int, default=95, help="of the stored JPEGs; 0 stores raw pictures")
    parser.add_argument("--no-normals", action="store_true")
    studio = "share of moments with even light and plain walls; all where no number follows"
    parser.add_argument("--studio", type=float, nargs="?", const=1.0, default=0.0, help=studio)
    parser.add_argument("--pairs", action="store_true", help="frames of the reference adapter, two and two")
    parser.add_argument("--loose", action="store_true", help="framed wider than aligned faces")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--until", type=int, default=0, help="only the first so many people for now")
    parser.add_argument("--seconds", type=float, default=0.0, help="begin no shard after so long; run again to go on")
    o = parser.parse_args()
    config = DatasetConfig(
        o.people, o.per_person, o.first, o.size, not o.no_normals, o.studio, o.pairs, o.loose, o.quality
    )
    write_dataset(o.folder, config, o.processes, until=o.until, seconds=o.seconds)


if __name__ == "__main__":
    main()
