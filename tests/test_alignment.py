from __future__ import annotations

import inspect
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from arc2face.errors import ImageError, InputError, SettingsError
from arc2face.faces.alignment import align_rgb_u8, alignment_quad, image_align
from arc2face.faces.ffhq import aligned_from_picture, invert_affine, transform_points
from tests.tiny_faces import mean_shape68

GOLDENS = Path(__file__).parent / "data" / "goldens_align"
ARRAYS = np.load(GOLDENS / "align.npz")
CASES: dict[str, Any] = json.loads(str(ARRAYS["cases"]))


def landmarks(x: float, y: float, size: float, degrees: float = 0.0) -> np.ndarray:
    """The mean face around (x, y), `size` from its middle to its edge."""
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return (mean_shape68() * size) @ turn + np.array([x, y])


@pytest.mark.parametrize("name", CASES)
def test_parity_with_the_original(name: str) -> None:
    case = CASES[name]
    picture = Image.open(GOLDENS / case["input"])
    assert picture.mode == case["mode"]
    aligned = np.asarray(image_align(picture, ARRAYS[f"{name}/landmarks"], **case["kwargs"]))
    expected = ARRAYS[f"{name}/sample"]
    difference = np.abs(aligned[1::4, 2::4].astype(int) - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-4


def test_signature_of_the_original() -> None:
    parameters = inspect.signature(image_align).parameters
    assert list(parameters) == ["img", "face_landmarks", "output_size", "transform_size", "enable_padding"]
    assert [p.default for p in parameters.values()][2:] == [1024, 4096, True]


def test_paths_arrays_and_images_agree() -> None:
    path = GOLDENS / "g_small_in.png"
    points = ARRAYS["small/landmarks"]
    before = points.copy()
    options: dict[str, Any] = {"output_size": 64, "transform_size": 256}
    expected = np.asarray(image_align(Image.open(path), points, **options))
    for source in (path, str(path), np.asarray(Image.open(path).convert("RGB"))):
        assert np.array_equal(np.asarray(image_align(source, points, **options)), expected)
    assert np.array_equal(points, before)
    assert np.array_equal(np.asarray(image_align(path, points.tolist(), **options)), expected)


def test_a_path_is_turned_upright(tmp_path: Path) -> None:
    upright = np.asarray(Image.open(GOLDENS / "g_small_in.png").convert("RGB"))
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.fromarray(np.rot90(upright).copy()).save(buffer, "PNG", exif=exif)
    (tmp_path / "turned.png").write_bytes(buffer.getvalue())
    points = ARRAYS["small/landmarks"]
    options: dict[str, Any] = {"output_size": 64, "transform_size": 256}
    turned = image_align(tmp_path / "turned.png", points, **options)
    assert np.array_equal(np.asarray(turned), np.asarray(image_align(upright, points, **options)))


@pytest.mark.parametrize("points", [np.zeros((68, 2)), np.zeros((5, 2)), np.full((68, 2), np.nan), np.zeros((68, 3))])
def test_bad_landmarks(points: np.ndarray) -> None:
    with pytest.raises(InputError):
        image_align(Image.new("RGB", (64, 64)), points, output_size=64, transform_size=64)


def test_landmarks_of_another_picture() -> None:
    with pytest.raises(InputError, match="outside"):
        image_align(Image.new("RGB", (64, 64)), landmarks(9000, 9000, 20), output_size=64, transform_size=64)


@pytest.mark.parametrize("size", [0, -1, 10**6, True])
def test_bad_sizes(size: int) -> None:
    with pytest.raises(SettingsError, match="8192"):
        image_align(Image.new("RGB", (64, 64)), landmarks(32, 32, 20), output_size=size)


def test_unreadable_path(tmp_path: Path) -> None:
    with pytest.raises(ImageError):
        image_align(tmp_path / "none.png", landmarks(32, 32, 20))


@pytest.mark.parametrize("degrees", [0, 30, -75, 180])
def test_the_quad_turns_and_scales_with_the_face(degrees: float) -> None:
    straight, turned = alignment_quad(landmarks(0, 0, 50)), alignment_quad(landmarks(0, 0, 100, degrees))
    assert turned.size == pytest.approx(2 * straight.size)
    edge = turned.corners[3] - turned.corners[0]
    assert np.rad2deg(np.arctan2(edge[1], edge[0])) % 360 == pytest.approx(degrees % 360)
    sides = np.hypot(*(np.roll(turned.corners, -1, 0) - turned.corners).T)
    assert np.allclose(sides, turned.size)


def smooth_photo(height: int, width: int, scale: float, seed: int = 0) -> np.ndarray:
    """Soft colour waves, so that a shift of a fraction of a pixel shows as a small difference."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    picture = np.full((height, width, 3), 128.0)
    for channel in range(3):
        for _ in range(6):
            wave = rng.normal(size=2) / scale
            picture[..., channel] += 18 * np.sin(wave[0] * x + wave[1] * y + rng.uniform(0, 6))
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(("size", "degrees"), [(60, 0), (50, 25), (140, -10)])
def test_the_affine_map_says_where_each_pixel_came_from(size: float, degrees: float) -> None:
    side = int(size * 6)
    photo = smooth_photo(side, side, size / 3)
    points = landmarks(side * 0.5 + 0.3, side * 0.5 - 0.2, size, degrees)
    aligned = align_rgb_u8(photo, points, 128)
    back = invert_affine(aligned_from_picture(points, (side, side), 128))
    grid = np.stack(np.meshgrid(np.arange(24, 104), np.arange(24, 104)), -1).reshape(-1, 2)
    source = np.rint(transform_points(back, grid)).astype(int)
    difference = aligned[grid[:, 1], grid[:, 0]].astype(int) - photo[source[:, 1], source[:, 0]]
    assert -0.7 < difference.mean() < 0.2  # Pillow's bilinear sampling rounds down
    assert np.abs(difference).mean() < 3


def test_inverse_of_an_affine_map() -> None:
    matrix = np.array([[2.0, 0.5, 3.0], [-0.25, 1.5, -7.0]])
    points = np.random.default_rng(0).normal(size=(20, 2))
    assert np.allclose(transform_points(invert_affine(matrix), transform_points(matrix, points)), points)
