"""Content Credentials of saved pictures, checked by the C2PA library's own reader. Issue 15, point 7."""

from __future__ import annotations

import io
import logging
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from arc2face.errors import ImageError, SettingsError
from arc2face.pictures import provenance, selfmade
from arc2face.pictures.provenance import CERTIFICATE, KEY, MISSING, SWITCH, read_provenance
from arc2face.pictures.recipes import read_recipe, recipe_png

RGB = np.random.default_rng(1).integers(0, 256, (48, 64, 3), dtype=np.uint8)
RECIPE = {"app": "Arc2Face Studio", "settings": {"seed": 3}}

if not provenance._library():
    pytest.skip("c2pa-python is not installed", allow_module_level=True)


@pytest.fixture(autouse=True)
def usual(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (SWITCH, CERTIFICATE, KEY):
        monkeypatch.delenv(name, raising=False)


def test_a_saved_picture_says_that_it_is_synthetic() -> None:
    png = recipe_png(RGB, RECIPE)
    found = read_provenance(png)
    assert (found.state, found.synthetic, found.problems) == ("valid", True, ())
    assert found.generator.startswith("Arc2Face Studio") and "self-made" in found.signer
    assert read_recipe(png)["settings"]["seed"] == 3
    assert (np.asarray(Image.open(io.BytesIO(png))) == RGB).all()
    assert b"Exif" not in png and b"tEXtarc2face" in png


@pytest.mark.parametrize("share", [0.4, 0.6, 0.9])
def test_a_changed_picture_is_found_out(share: float) -> None:
    png = bytearray(recipe_png(RGB, RECIPE))
    start = png.index(b"IDAT") + 4
    png[start + int(share * (len(png) - start - 20))] ^= 1
    found = read_provenance(bytes(png))
    assert found.state == "invalid" and "assertion.dataHash.mismatch" in found.problems


def test_another_program_that_saves_it_anew_drops_them() -> None:
    again = io.BytesIO()
    Image.open(io.BytesIO(recipe_png(RGB, RECIPE))).save(again, "PNG")
    assert read_provenance(again.getvalue()).state == "none"


def test_off_on_purpose(monkeypatch: pytest.MonkeyPatch) -> None:
    signed_size = len(recipe_png(RGB, RECIPE))
    monkeypatch.setenv(SWITCH, "off")
    plain = recipe_png(RGB, RECIPE)
    assert read_provenance(plain).state == "none" and len(plain) < signed_size
    monkeypatch.setenv(SWITCH, "perhaps")
    with pytest.raises(SettingsError, match="on or off"):
        recipe_png(RGB, RECIPE)


def test_the_users_own_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    certificates, key = selfmade._made.__wrapped__(1)
    for name, text in (("own.pem", certificates), ("own.key", key), ("other.key", selfmade._made.__wrapped__(2)[1])):
        (tmp_path / name).write_bytes(text)
    monkeypatch.setenv(CERTIFICATE, str(tmp_path / "own.pem"))
    with pytest.raises(SettingsError, match="belong together"):
        recipe_png(RGB, RECIPE)
    monkeypatch.setenv(KEY, str(tmp_path / "own.key"))
    assert read_provenance(recipe_png(RGB, RECIPE)).state == "valid"
    assert certificates.splitlines()[1] not in selfmade.self_made()[0]
    monkeypatch.setenv(KEY, str(tmp_path / "nowhere"))
    with pytest.raises(SettingsError, match="cannot be read"):
        recipe_png(RGB, RECIPE)
    (tmp_path / "text.key").write_text("no key")
    monkeypatch.setenv(KEY, str(tmp_path / "text.key"))
    with pytest.raises(SettingsError, match="no private key"):
        recipe_png(RGB, RECIPE)


def test_a_key_of_somebody_else_does_not_pass_for_valid(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A certificate and a key that do not belong together: refused at once, or found out by the reader."""
    (tmp_path / "own.pem").write_bytes(selfmade._made.__wrapped__(1)[0])
    (tmp_path / "other.key").write_bytes(selfmade._made.__wrapped__(2)[1])
    monkeypatch.setenv(CERTIFICATE, str(tmp_path / "own.pem"))
    monkeypatch.setenv(KEY, str(tmp_path / "other.key"))
    try:
        state = read_provenance(recipe_png(RGB, RECIPE)).state
    except SettingsError as error:
        state = str(error)
    assert state == "invalid" or "could not be signed" in state


def test_without_the_library_pictures_are_saved_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "c2pa", None)
    provenance._complain.cache_clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert read_recipe(recipe_png(RGB, RECIPE))["settings"]["seed"] == 3
    assert [record.getMessage() for record in caplog.records].count(MISSING) == 1  # said, and once
    with pytest.raises(SettingsError, match="pip install c2pa-python"):
        read_provenance(b"\x89PNG")


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n" + b"\0" * 50, b"\xff\xd8\xff"])
def test_what_is_no_picture(data: bytes) -> None:
    try:
        assert read_provenance(data).state == "none"
    except ImageError as error:
        assert "Content Credentials" in str(error)
