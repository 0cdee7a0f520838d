"""Reading photos to train on: folders and tar files."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from training.common.errors import TrainingError
from training.common.sources import DataConfig, open_source
from training.common.stores import open_store


def photo(colour: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (40, 40), (colour, 0, 0)).save(stream, "PNG")
    return stream.getvalue()


def labels() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, embedding=np.ones(512, np.float32), expression=np.zeros(55, np.float32))
    return stream.getvalue()


def test_photos_of_a_folder_and_of_a_tar_file_are_the_same(tmp_path: Path) -> None:
    files = {"ann/1.png": photo(10), "ann/1.npz": labels(), "ann/1.normals.png": photo(255),
             "ann/2.png": photo(20), "ann/2.npz": labels(), "bob/1.png": photo(30), "bob/1.npz": labels()}  # fmt: skip
    tree, archive = tmp_path / "tree", tmp_path / "photos.tar"
    with tarfile.open(archive, "w") as tar:
        for name, content in files.items():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_bytes(content)
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    assert open_store(archive).stems == open_store(tree).stems == ["ann/1", "ann/2", "bob/1"]
    batches = []
    for path in (tree, archive):
        source = open_source(DataConfig(kind="photos", path=path, size=16))
        batches.append(source.draw(np.random.default_rng(3), 4, ("pixels", "other_pixels", "identity", "expression")))
        assert float(source.normals(np.array([0]))[0, 0].min()) == 1.0
        with pytest.raises(TrainingError, match=r"training\.common\.annotate"):
            source.normals(np.array([1]))
    for name, value in batches[0].items():
        assert torch.equal(value, batches[1][name])
    torch.testing.assert_close(batches[0]["identity"].norm(dim=1), torch.ones(4))


def test_empty_and_broken_photo_folders(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no photos"):
        open_source(DataConfig(kind="photos", path=tmp_path))
    with pytest.raises(TrainingError, match="does not exist"):
        open_source(DataConfig(kind="photos", path=tmp_path / "nowhere"))
    with pytest.raises(TrainingError, match="no avatar dataset"):
        open_source(DataConfig(path=tmp_path))
    (tmp_path / "a.png").write_bytes(photo(50))
    (tmp_path / "b.png").write_bytes(b"this is no picture")
    source = open_source(DataConfig(kind="photos", path=tmp_path, size=8))
    assert torch.equal(*source.pixels(np.array([0, 1])))
    (tmp_path / "a.png").write_bytes(b"neither is this")
    with pytest.raises(TrainingError, match="could not be read"):
        open_source(DataConfig(kind="photos", path=tmp_path, size=8)).pixels(np.array([0]))
