"""The invisible watermark: only on request, found by its own command, and what it does not survive."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from arc2face.errors import SettingsError
from arc2face.pictures.recipes import check_marks, recipe_png
from arc2face.pictures.watermark import ENOUGH, SWITCH, find_watermark, watermarked
from arc2face_app.cli import main

FACES = Path(__file__).resolve().parents[1] / "app" / "arc2face_app" / "page" / "assets" / "examples" / "faces"
RECIPE = {"app": "Arc2Face Studio", "settings": {"seed": 3}}


def face(side: int = 256) -> np.ndarray:
    path = sorted(FACES.glob("*.webp"))[0]
    return np.asarray(Image.open(path).convert("RGB").resize((side, side)))


def test_nothing_is_touched_unless_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SWITCH, raising=False)
    picture = face()
    assert watermarked(picture) is picture
    assert (np.asarray(Image.open(io.BytesIO(recipe_png(picture, RECIPE)))) == picture).all()


def test_a_marked_picture_is_found_and_looks_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("imwatermark")
    monkeypatch.setenv(SWITCH, "on")
    picture = face()
    png = recipe_png(picture, RECIPE)
    assert png and recipe_png(picture, RECIPE)[-20:] == png[-20:]
    made = np.asarray(Image.open(io.BytesIO(png)))
    assert 35 < 10 * np.log10(255**2 / np.mean((made.astype(float) - picture) ** 2)) < 60
    found = find_watermark(png)
    assert found.state == "found" and found.bits == 64
    half = io.BytesIO()
    Image.fromarray(made).resize((128, 128)).resize((256, 256)).save(half, "PNG")
    assert find_watermark(half.getvalue()).bits >= ENOUGH
    plain = io.BytesIO()
    Image.fromarray(picture).save(plain, "PNG")
    assert find_watermark(plain.getvalue()).state == "none"
    assert (watermarked(face(128)) == face(128)).all()  # too few pixels


def test_the_command_tells_marked_from_unmarked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("imwatermark")
    Image.fromarray(face()).save(tmp_path / "plain.png")
    Image.fromarray(face(64)).save(tmp_path / "small.png")
    monkeypatch.setenv(SWITCH, "on")
    (tmp_path / "marked.png").write_bytes(recipe_png(face(), RECIPE))
    assert main(["provenance", "--watermark", str(tmp_path / "marked.png")]) == 0
    assert "carries the watermark" in capsys.readouterr().out
    names = [str(tmp_path / name) for name in ("marked.png", "plain.png", "small.png")]
    assert main(["provenance", "--watermark", "--json", *names]) == 1
    states = [one["state"] for one in json.loads(capsys.readouterr().out).values()]
    assert states == ["found", "none", "too small"]


def test_it_is_refused_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong switch, or a missing package, is said before a picture is computed."""
    monkeypatch.setenv(SWITCH, "maybe")
    with pytest.raises(SettingsError, match="on or off"):
        check_marks()
    monkeypatch.setenv(SWITCH, "on")
    monkeypatch.setitem(sys.modules, "imwatermark", None)
    with pytest.raises(SettingsError, match=r"arc2face-studio\[watermark\]"):
        check_marks()
