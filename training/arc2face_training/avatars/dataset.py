"""Datasets of rendered avatars: one folder of memory-mapped arrays, resumable, written by several processes.

`python -m arc2face_training.avatars.dataset FOLDER --people 6000 --per-person 8 --first 0`

Row k belongs to person k // per_person. Files: `rgb.npy` (n, 128, 128, 3), `normals.npy` (same), `crops.npy`
(n, 112, 112, 3), all uint8 RGB; `labels.npy` (n, 212) float32, see `LABEL_SLICES`; `seeds.npy` (people,) int64;
`attributes.npy` (people, N_ATTRIBUTES) float32; `done.npy` (people,) bool; `dataset.json`.
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from arc2face_training.avatars.looks import N_ATTRIBUTES
from arc2face_training.avatars.state import State, same_moment
from arc2face_training.avatars.world import AvatarWorld, Rendering
from arc2face_training.common.errors import TrainingError

Float32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
CROP_SIZE = 112
PAIR_TURN = 0.05
CLOSER = 0.8
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
"""Columns of `labels.npy`; landmarks, points and box are in pixels of the 128-pixel picture."""
N_LABELS = 212


@dataclass(frozen=True)
class DatasetConfig:
    """What a dataset holds. Seeds are first, first + 2, ...: an even `first` is training, an odd one evaluation.

    `studio`: even light, plain backgrounds, moderate turns (see `sample_state`), and two of five pictures as close as
    the product's alignment brings a face. `pairs`: every second picture of a person is the moment of the one before
    with another expression; in a studio all of them are close, as the photos of the reference adapter are.
    """

    people: int = 6000
    per_person: int = 8
    first: int = 0
    size: int = 128
    normals: bool = True
    studio: bool = False
    pairs: bool = False


@dataclass(frozen=True)
class AvatarDataset:
    """An opened folder; arrays are memory maps. `rows(person)` gives the slice of a person's pictures."""

    config: DatasetConfig
    rgb: U8
    normals: U8 | None
    crops: U8
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
    """The recogniser's crop: similarity transform of five points (pixels) onto its template; RGB in, RGB out."""
    source, target = points5 - points5.mean(0), CROP_POINTS - CROP_POINTS.mean(0)
    norm = (source**2).sum()
    a = (source * target).sum() / norm
    b = (source[:, 0] * target[:, 1] - source[:, 1] * target[:, 0]).sum() / norm
    linear = np.array([[a, -b], [b, a]])
    matrix = np.c_[linear, CROP_POINTS.mean(0) - linear @ points5.mean(0)] * (size / CROP_SIZE)
    return np.asarray(cv2.warpAffine(picture, matrix, (size, size), flags=cv2.INTER_LINEAR), np.uint8)


def label_row(rendering: Rendering, view: float) -> Float32:
    """(212,) float32 of LABEL_SLICES."""
    flat = (rendering.landmarks68.ravel(), rendering.points5.ravel(), rendering.box, rendering.camera)
    return np.concatenate([rendering.expression55, rendering.pose, *flat, [view]]).astype(np.float32)


def open_dataset(folder: Path) -> AvatarDataset:
    """Open a folder that `write_dataset` has finished or is still writing; check `done`."""
    if not (folder / "dataset.json").exists():
        raise TrainingError(
            f"There is no avatar dataset in {folder}. Write one: python -m arc2face_training.avatars.dataset {folder}"
        )
    config = DatasetConfig(**json.loads((folder / "dataset.json").read_text())["config"])
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _shapes(config)}
    arrays.setdefault("normals", None)
    return AvatarDataset(config=config, **arrays)


def write_dataset(folder: Path, config: DatasetConfig, processes: int = 2, chunk: int = 50) -> AvatarDataset:
    """Write (or go on writing) a dataset; people already done are kept."""
    _prepare(folder, config)
    done = np.load(folder / "done.npy")
    todo = np.flatnonzero(~done)
    chunks = [todo[k : k + chunk].tolist() for k in range(0, len(todo), chunk)]
    if processes <= 1:
        for part in chunks:
            _write_chunk(folder, config, part)
    else:
        with ProcessPoolExecutor(processes) as pool:
            list(pool.map(_write_chunk, [folder] * len(chunks), [config] * len(chunks), chunks))
    return open_dataset(folder)


def _shapes(config: DatasetConfig) -> dict[str, tuple[tuple[int, ...], type]]:
    n, s = config.people * config.per_person, config.size
    shapes: dict[str, tuple[tuple[int, ...], type]] = {
        "rgb": ((n, s, s, 3), np.uint8),
        "normals": ((n, s, s, 3), np.uint8),
        "crops": ((n, CROP_SIZE, CROP_SIZE, 3), np.uint8),
        "labels": ((n, N_LABELS), np.float32),
        "seeds": ((config.people,), np.int64),
        "attributes": ((config.people, N_ATTRIBUTES), np.float32),
        "done": ((config.people,), np.bool_),
    }
    if not config.normals:
        del shapes["normals"]
    return shapes


def _prepare(folder: Path, config: DatasetConfig) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    description = folder / "dataset.json"
    if description.exists():
        found = json.loads(description.read_text())["config"]
        if found != asdict(config):
            raise TrainingError(f"{folder} holds a dataset of another configuration: {found}. Choose another folder.")
        return
    for name, (shape, dtype) in _shapes(config).items():
        np.lib.format.open_memmap(folder / f"{name}.npy", "w+", dtype, shape).flush()
    seeds = np.lib.format.open_memmap(folder / "seeds.npy", "r+")
    seeds[:] = config.first + 2 * np.arange(config.people)
    seeds.flush()
    description.write_text(json.dumps({"config": asdict(config)}, indent=2))


def _write_chunk(folder: Path, config: DatasetConfig, people: list[int]) -> None:
    cv2.setNumThreads(1)
    world = AvatarWorld()
    arrays = {name: np.lib.format.open_memmap(folder / f"{name}.npy", "r+") for name in _shapes(config)}
    want = ("rgb", "normals") if config.normals else ("rgb",)
    for index in people:
        seed = int(arrays["seeds"][index])
        person, rng = world.identity(seed), np.random.default_rng([seed, 29])
        arrays["attributes"][index] = person.attributes()
        state = State()
        for k in range(config.per_person):
            state = _next_state(config, world, rng, k, state)
            picture = world.render(person, state, config.size, want)
            row = index * config.per_person + k
            assert picture.rgb_u8 is not None
            arrays["rgb"][row] = picture.rgb_u8
            if picture.normal_map_u8 is not None:
                arrays["normals"][row] = picture.normal_map_u8
            # The product's crops follow a detector that errs a little; so do these.
            jitter = rng.normal(0, 0.006 * config.size, (5, 2)).astype(np.float32)
            arrays["crops"][row] = align_crop(picture.rgb_u8, picture.points5 + jitter)
            arrays["labels"][row] = label_row(picture, state.view)
        arrays["done"][index] = True


def _next_state(config: DatasetConfig, world: AvatarWorld, rng: np.random.Generator, k: int, before: State) -> State:
    if config.pairs and k % 2 == 1:
        return same_moment(before, rng, PAIR_TURN)
    state = world.sample_state(rng, neutral=k == 0 and not config.pairs, studio=config.studio)
    if config.studio and (config.pairs or k % 5 >= 3):
        state.view *= CLOSER
    return state


def main() -> None:
    """Write a dataset."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--people", type=int, default=6000)
    parser.add_argument("--per-person", type=int, default=8)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--no-normals", action="store_true")
    parser.add_argument("--studio", action="store_true", help="even light, plain backgrounds, moderate turns")
    parser.add_argument("--pairs", action="store_true", help="frames of the reference adapter, two and two")
    parser.add_argument("--processes", type=int, default=2)
    o = parser.parse_args()
    config = DatasetConfig(o.people, o.per_person, o.first, o.size, not o.no_normals, o.studio, o.pairs)
    write_dataset(o.folder, config, o.processes)


if __name__ == "__main__":
    main()
