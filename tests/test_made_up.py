"""Photos of people who do not exist, for those without a photo at hand."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from arc2face.errors import CorruptWeightsError, InputError, SettingsError
from arc2face.faces.made_up import POOL, made_up_people, made_up_person
from arc2face_app.cli import main
from tests.conftest import PROJECT


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three plain pictures as a pool."""
    with zipfile.ZipFile(tmp_path / POOL, "w") as pool:
        for grey in (10, 120, 240):
            stream = io.BytesIO()
            Image.new("RGB", (48, 48), (grey, grey, grey)).save(stream, "WEBP")
            pool.writestr(f"{grey:04d}.webp", stream.getvalue())
    return tmp_path


def test_a_seed_is_a_person_and_seeds_in_a_row_are_all_of_them(folder: Path) -> None:
    assert made_up_people(folder) == 3
    greys = [int(made_up_person(seed, folder).mean()) for seed in (0, 1, 2, 3, 3 * 10**9)]
    assert np.allclose(greys, [10, 120, 240, 10, 10], atol=2)


def test_what_is_missing_or_damaged_is_said(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="The seed must be a whole number"):
        made_up_person(-1, folder)
    whole = (folder / POOL).read_bytes()
    broken = whole.replace(b"RIFF", b"RAFF"), whole[:200], b"", whole.replace(b".webp", b".text")
    for contents in broken:
        (folder / POOL).write_bytes(contents)
        with pytest.raises(CorruptWeightsError, match=r"people\.zip is damaged"):
            made_up_person(1, folder)
    (folder / POOL).unlink()
    assert made_up_people(folder) == 0
    with pytest.raises(InputError, match=r"people\.zip, in the folder of the starter models"):
        made_up_person(1, folder)


def test_the_command_saves_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["draw-person", str(tmp_path / "somebody.png"), "--seed", "4", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["seed"] == 4
    saved = np.asarray(Image.open(tmp_path / "somebody.png"))
    assert np.array_equal(saved, made_up_person(4))
    assert main(["draw-person", str(tmp_path / "somebody.jpg")]) == 1
    assert "must end in .png" in capsys.readouterr().err


def test_the_starter_models_bring_many_different_people() -> None:
    starter = PROJECT / "models" / "starter"
    count = made_up_people(starter)
    assert count >= 100
    pictures = np.stack([made_up_person(seed, starter) for seed in range(0, count, 10)]).astype(np.float32)
    assert pictures.shape[1:] == (384, 384, 3)
    apart = [np.abs(a - b).mean() for k, a in enumerate(pictures) for b in pictures[:k]]
    assert min(apart) > 5
