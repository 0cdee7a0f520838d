"""Contact sheets and animations."""

from __future__ import annotations

import importlib
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from arc2face.errors import SettingsError
from arc2face.pictures.animation import NO_MP4, animation_bytes, can_write, save_animation
from arc2face.pictures.enlarge import check_factor, enlarge, enlarge_png
from arc2face.pictures.recipes import read_recipe, recipe_png
from arc2face.pictures.sheets import contact_sheet

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


def test_other_formats_and_sizes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"\.webp, \.gif or \.mp4"):
        save_animation(PICTURES, tmp_path / "a.avi")
    with pytest.raises(SettingsError, match="one size"):
        animation_bytes([PICTURES[0], PICTURES[1][:5]])


@pytest.mark.skipif(not can_write("mp4"), reason="MP4 needs PyAV")
def test_an_mp4_plays_everywhere(tmp_path: Path) -> None:
    """U9: H.264 in 4:2:0 colours, of the pictures' size, repeated to a few seconds."""
    av: Any = importlib.import_module("av")
    odd = [np.full((31, 45, 3), 30 * k, np.uint8) for k in range(4)]
    with av.open(str(save_animation(odd, tmp_path / "a.mp4"))) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert frames[0].shape == (32, 46, 3)
        assert len(frames) == 20  # two rounds of 3 + 1 + 1 + 3 + 1 + 1
        assert abs(int(frames[5][10, 10, 0]) - 90) < 6


@pytest.mark.skipif(can_write("mp4"), reason="PyAV is there")
def test_without_its_package_an_mp4_is_refused_with_the_way_to_get_it() -> None:
    """U9: nothing fails silently."""
    with pytest.raises(SettingsError, match=re.escape(NO_MP4)):
        animation_bytes(PICTURES, "mp4")


def test_enlarging_adds_pixels_and_no_detail(tmp_path: Path) -> None:
    flat = np.full((16, 24, 3), (10, 200, 90), np.uint8)
    assert enlarge(flat, 4).shape == (64, 96, 3)
    assert (enlarge(flat) == np.array([10, 200, 90])).all()
    recipe = {"settings": {"steps": 4, "seed": 7}}
    source = tmp_path / "anna.png"
    source.write_bytes(recipe_png(flat, recipe))
    larger = enlarge_png(source, 2)
    assert larger.name == "anna-2x.png"
    with Image.open(larger) as picture:
        assert picture.size == (48, 32)
    assert read_recipe(larger) == {**recipe, "enlarged": 2}


@pytest.mark.parametrize("factor", [0, 1, 3, 8, True, "2", None, 2.5, float("nan")])
def test_other_factors_are_refused(factor: Any) -> None:
    with pytest.raises(SettingsError, match="enlargement must be 2 or 4"):
        check_factor(factor)


def test_what_would_be_too_large_is_refused_before_any_work() -> None:
    with pytest.raises(SettingsError, match="too many"):
        enlarge(np.broadcast_to(np.zeros((1, 1, 3), np.uint8), (4000, 4001, 3)), 2)
