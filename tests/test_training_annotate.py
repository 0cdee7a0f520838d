"""`arc2face annotate` with the starter models: shards, batches, resuming, alignment, and what trainers make of it.

Numbers such as `12` in the docstrings are those of the list of findings that each test answers.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from arc2face.engine import Engine
from arc2face_training.common.errors import TrainingError
from arc2face_training.common.sources import DataConfig, open_source
from arc2face_training.faces.people import PhotoPeople
from arc2face_training.people import PeopleWorld
from arc2face_training.people.dataset import DatasetConfig, open_dataset, write_dataset
from arc2face_training.photos.annotate import AnnotateOptions, annotate, options_of
from arc2face_training.photos.annotations import ABOUT, DONE, NO_FACE, UNREADABLE, AnnotationFolder, default_folder
from arc2face_training.photos.source import PhotoSource
from arc2face_training.photos.store import open_store

STARTER = Path(__file__).resolve().parents[1] / "models" / "starter"
SIZE = 128
OPTIONS = AnnotateOptions(size=SIZE, per_shard=3, batch=2)


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine.open(STARTER, device="cpu") as engine:
        yield engine


@pytest.fixture(scope="module")
def pictures(world: PeopleWorld, tmp_path_factory: pytest.TempPathFactory) -> NDArray[np.uint8]:
    """Two rendered people, two pictures of each, (4, 128, 128, 3)."""
    folder = tmp_path_factory.mktemp("people")
    write_dataset(folder, DatasetConfig(people=2, per_person=2, size=SIZE, normals=False), processes=1)
    return np.asarray(open_dataset(folder).rgb)


def encoded(picture: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def photos(tmp_path: Path, pictures: NDArray[np.uint8]) -> Path:
    """A zip as the published set has it: two people, a wall and a broken file."""
    path = tmp_path / "photos" / "0_0.zip"
    path.parent.mkdir()
    with zipfile.ZipFile(path, "w") as archive:
        for k, picture in enumerate(pictures):
            archive.writestr(f"p{k // 2}/{k}.png", encoded(picture))
        archive.writestr("p0/wall.png", encoded(np.full((SIZE, SIZE, 3), 120, np.uint8)))
        archive.writestr("p1/broken.png", encoded(pictures[0])[:2000])
    return path.parent


def test_shards_of_two_processes_and_a_resumed_one_make_one_set(photos: Path, engine: Engine) -> None:
    """12: in batches, straight from a zip, sharded and resumable; 3: what is unusable is noted and left out."""
    first = annotate(photos, engine, None, replace(OPTIONS, shard=(1, 2)))
    assert (first.photos, first.shards, first.no_face, first.unreadable) == (3, 1, 1, 1)
    folder = default_folder(photos)
    half = open_source(DataConfig(kind="photos", path=photos, size=SIZE), None, ("embedding",))
    assert isinstance(half, PhotoSource) and half.usable.sum() == 1
    second = annotate(photos, engine, None, OPTIONS)
    assert (second.photos, second.shards, second.already) == (3, 1, 1)
    assert annotate(photos, engine, None, OPTIONS).already == 2
    found = AnnotationFolder(folder, open_store(photos).index)
    assert found.state.tolist() == [DONE, DONE, DONE, DONE, NO_FACE, UNREADABLE]
    assert found.why_not() == "1 without a face, 1 unreadable"
    config = DataConfig(kind="photos", path=photos, size=SIZE)
    source = open_source(config, None, ("embedding", "expression", "normals"))
    assert [own.tolist() for own in source.people] == [[0, 1], [2, 3]]
    numbers = np.arange(4)
    wanted = torch.stack([torch.from_numpy(engine.identify(open_store(photos).photo(k)).identity.normalized)
                          for k in range(4)])  # fmt: skip
    torch.testing.assert_close(source.identities(numbers), wanted, atol=2e-3, rtol=0)
    assert source.normals(numbers).shape == (4, 3, SIZE, SIZE) and source.expressions(numbers).abs().sum() > 0


def test_normal_maps_lie_where_the_product_draws_them(
    photos: Path, engine: Engine, pictures: NDArray[np.uint8]
) -> None:
    """12: drawn into the photo's frame in one batch; the product's own map, carried back, agrees."""
    annotate(photos, engine, None, replace(OPTIONS, kinds=("normals",), shard=(0, 2)))
    source = AnnotationFolder(default_folder(photos), open_store(photos).index)
    drawn = np.asarray(Image.open(io.BytesIO(source.normals(0))))
    from arc2face.faces.ffhq import aligned_from_picture

    reading = engine.read_pose(pictures[0], pictures[0])
    matrix = aligned_from_picture(engine.landmarks(pictures[0]), (SIZE, SIZE), reading.normal_map.shape[0])
    flat = (*matrix[0], *matrix[1])
    product = Image.fromarray(reading.normal_map).transform((SIZE, SIZE), Image.Transform.AFFINE, flat)
    head, other = (np.ptp(m.astype(int), axis=2) > 20 for m in (drawn, np.asarray(product)))
    assert (head & other).sum() / (head | other).sum() > 0.85


def test_aligned_faces_are_a_data_set_of_their_own(
    photos: Path, engine: Engine, tmp_path: Path, pictures: NDArray[np.uint8]
) -> None:
    """12: a command that aligns a folder: FFHQ's frame with annotations, ArcFace's for the recogniser."""
    with pytest.raises(TrainingError, match="--output"):
        annotate(photos, engine, None, replace(OPTIONS, align="ffhq"))
    out = tmp_path / "aligned"
    counts = annotate(photos, engine, out, replace(OPTIONS, align="ffhq", per_shard=4, kinds=("embedding",)))
    assert (counts.photos, counts.no_face, counts.unreadable) == (6, 1, 1)
    source = open_source(DataConfig(kind="photos", path=out, size=SIZE), None, ("embedding",))
    assert [len(own) for own in source.people] == [2, 2]
    aligned = ((source.pixels(np.array([0]))[0] + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    wanted = engine.align(pictures[0], size=SIZE)
    assert np.abs(aligned.astype(int) - wanted).mean() < 2
    assert b"wall.png" in (out / "00001.left_out.json").read_bytes()
    crops = tmp_path / "crops"
    annotate(photos, engine, crops, replace(OPTIONS, align="arcface"))
    assert PhotoPeople(crops).sample(np.random.default_rng(0), 3)[0].shape == (3, 112, 112, 3)


def test_annotations_of_other_photos_are_refused(photos: Path, engine: Engine, tmp_path: Path) -> None:
    options = replace(OPTIONS, kinds=("embedding",), shard=(1, 2))
    annotate(photos, engine, None, options)
    with pytest.raises(TrainingError, match="begun with other per_shard"):
        annotate(photos, engine, None, replace(options, per_shard=2))
    moved = tmp_path / "elsewhere"
    os.rename(photos, moved)
    os.rename(default_folder(photos), default_folder(moved))
    config = DataConfig(kind="photos", path=moved, size=SIZE)
    assert open_source(config, None, ("embedding",)).count == 6  # a moved set takes its annotations along
    with zipfile.ZipFile(moved / "0_0.zip", "a") as archive:
        archive.writestr("p2/new.png", b"")
    with pytest.raises(TrainingError, match="other photos"):
        open_source(config, None, ("embedding",))
    (default_folder(moved) / ABOUT).write_text("{")
    with pytest.raises(TrainingError, match="damaged"):
        open_source(config, None, ("embedding",))
    with pytest.raises(TrainingError, match="is not empty"):
        annotate(moved, engine, moved.parent, options)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"shard": "2/2"}, "from 0 to n - 1"), ({"shard": "x"}, "for example 0/4"), ({"skip": ("eyes",)}, "--skip takes"),
     ({"align": "no"}, "ffhq or arcface"), ({"people": "me"}, "--people takes"), ({"picture": "gif"}, "png or jpg")],
)  # fmt: skip
def test_options_that_make_no_sense_are_refused(change: dict[str, str], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        options_of(**({"align": "none", "skip": (), "shard": "0/1", "people": "auto"} | change))  # type: ignore[arg-type]
