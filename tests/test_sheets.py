"""Contact sheets and animations."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from arc2face.errors import SettingsError
from arc2face.pictures.sheets import animation_bytes, contact_sheet, save_animation

PICTURES = [np.full((10, 12, 3), 20 * k, np.uint8) for k in range(7)]


def test_a_sheet_keeps_the_order_and_fills_with_white() -> None:
    sheet = contact_sheet(PICTURES)
    assert sheet.shape == (3 * 14 - 4, 3 * 16 - 4, 3)
    assert (sheet[0, 16] == 20).all() and (sheet[14, 0] == 60).all() and (sheet[-1, -1] == 255).all()
    assert contact_sheet(PICTURES[:4]).shape[0] == 10 and contact_sheet(PICTURES, 1).shape[1] == 12


def test_sheets_refuse_what_does_not_fit() -> None:
    with pytest.raises(SettingsError):
        contact_sheet([])
    with pytest.raises(SettingsError):
        contact_sheet([PICTURES[0], PICTURES[1][:5]])


@pytest.mark.parametrize("kind", ["webp", "gif"])
def test_animations_run_there_and_back_for_ever(tmp_path: Path, kind: str) -> None:
    path = save_animation(PICTURES[:4], tmp_path / f"a.{kind}")
    with Image.open(path) as movie:
        assert getattr(movie, "n_frames", 1) == 6 and movie.info.get("loop") == 0
        durations = []
        for frame in range(6):
            movie.seek(frame)
            movie.load()
            durations.append(movie.info["duration"])
        assert durations == [660, 220, 220, 660, 220, 220]
    with Image.open(io.BytesIO(animation_bytes(PICTURES[:4], kind, bounce=False))) as movie:
        assert getattr(movie, "n_frames", 1) == 4


def test_other_formats_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"webp or \.gif"):
        save_animation(PICTURES, tmp_path / "a.mp4")
