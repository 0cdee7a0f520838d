from __future__ import annotations

import numpy as np
import pytest

from arc2face.errors import ImageError, InputError, SettingsError
from arc2face.faces.alignment import alignment_quad, image_align
from arc2face.faces.pasteback import PasteMask, paste_back
from tests.test_alignment import landmarks, smooth_photo


def align(photo: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Alignment to 512 pixels with a smaller intermediate picture than usual, to save time."""
    return np.asarray(image_align(photo, points, output_size=512, transform_size=1024)).copy()


def jump(picture: np.ndarray) -> float:
    """Largest difference between neighbouring pixels."""
    values = picture.astype(int)
    return max(np.abs(np.diff(values, axis=0)).max(), np.abs(np.diff(values, axis=1)).max())


@pytest.mark.parametrize("mask", ["face", "head"])
@pytest.mark.parametrize(("size", "degrees"), [(22, 0), (80, 25), (200, -15)])
def test_the_photos_own_face_goes_back_where_it_was(mask: PasteMask, size: float, degrees: float) -> None:
    side = int(size * 6)
    photo = smooth_photo(side, side + 40, size / 3)
    points = landmarks(side * 0.5 + 10.3, side * 0.5 - 0.2, size, degrees)
    result = paste_back(photo, align(photo, points), points, mask)
    assert result.shape == photo.shape and result.dtype == np.uint8
    difference = np.abs(result.astype(int) - photo)
    assert difference.max() <= 4
    assert difference.mean() < 0.3


@pytest.mark.parametrize("mask", ["face", "head"])
def test_only_the_masked_part_changes_and_no_seam_shows(mask: PasteMask) -> None:
    photo = smooth_photo(500, 560, 60)
    points = landmarks(280, 250, 80, 10)
    generated = align(photo, points).astype(int) + np.array([35, -25, 15])
    generated = np.clip(generated, 0, 255).astype(np.uint8)
    before = photo.copy()
    result = paste_back(photo, generated, points, mask)
    assert np.array_equal(photo, before)
    changed = np.abs(result.astype(int) - photo).max(axis=2) > 0
    left, top = alignment_quad(points).corners.min(axis=0)
    right, bottom = alignment_quad(points).corners.max(axis=0)
    rows, columns = np.nonzero(changed)
    assert rows.min() > top - 2 and rows.max() < bottom + 2
    assert columns.min() > left - 2 and columns.max() < right + 2
    assert jump(result) <= jump(photo) + 3


def test_colour_matching_meets_the_photo_at_the_rim() -> None:
    photo = smooth_photo(500, 500, 60)
    points = landmarks(250, 250, 80)
    generated = np.clip(align(photo, points).astype(int) + 30, 0, 255).astype(np.uint8)
    plain = paste_back(photo, generated, points, "face", match_colour=False).astype(int) - photo
    matched = paste_back(photo, generated, points, "face").astype(int) - photo
    rim = (np.abs(plain).max(axis=2) > 2) & (np.abs(plain).max(axis=2) < 20)
    assert np.abs(matched[rim]).mean() < 0.4 * np.abs(plain[rim]).mean()


def test_something_else_on_the_rim_does_not_stain_the_face() -> None:
    """Where the pictures show different things (hair against skin), the difference says nothing about colour."""
    photo = smooth_photo(500, 500, 60)
    points = landmarks(250, 250, 80)
    generated = align(photo, points)
    generated[:, 400:] = 0
    plain = paste_back(photo, generated, points, "face", match_colour=False).astype(int)
    matched = paste_back(photo, generated, points, "face").astype(int)
    assert np.abs(matched - plain)[150:350, 150:280].max() <= 6


def test_head_is_wider_than_face_and_feather_widens_the_rim() -> None:
    photo = np.zeros((400, 400, 3), np.uint8)
    points = landmarks(200, 200, 70)
    white = np.full((128, 128, 3), 255, np.uint8)

    def coverage(mask: PasteMask, feather: float) -> tuple[int, int]:
        level = paste_back(photo, white, points, mask, feather, match_colour=False)[..., 0]
        return int((level > 0).sum()), int(((level > 5) & (level < 250)).sum())

    assert coverage("head", 0.08)[0] > 1.3 * coverage("face", 0.08)[0]
    assert coverage("face", 0.2)[1] > 1.5 * coverage("face", 0.05)[1]
    assert paste_back(photo, white, points, "face", match_colour=False)[200, 200, 0] == 255


def test_a_wider_open_mouth_widens_the_mask() -> None:
    photo = np.zeros((400, 400, 3), np.uint8)
    points = landmarks(200, 200, 70)
    white = np.full((512, 512, 3), 255, np.uint8)
    aligned_points = (points - alignment_quad(points).corners[0]) / alignment_quad(points).size * 512
    lower = aligned_points.copy()
    lower[4:13, 1] += 60
    closed = paste_back(photo, white, points, match_colour=False)
    opened = paste_back(photo, white, points, match_colour=False, generated_landmarks=lower)
    assert (opened > 0).sum() > (closed > 0).sum()


def test_a_face_at_the_edge_of_the_photo() -> None:
    photo = smooth_photo(300, 300, 40)
    points = landmarks(20, 280, 60)
    result = paste_back(photo, align(photo, points), points, "head")
    assert result.shape == photo.shape
    assert np.array_equal(result[:80, 200:], photo[:80, 200:])


def test_a_face_outside_the_photo_changes_nothing() -> None:
    photo = smooth_photo(100, 100, 30)
    result = paste_back(photo, np.zeros((64, 64, 3), np.uint8), landmarks(900, 900, 30))
    assert np.array_equal(result, photo) and result is not photo


def test_bad_input() -> None:
    photo, face, points = np.zeros((64, 64, 3), np.uint8), np.zeros((32, 32, 3), np.uint8), landmarks(32, 32, 20)
    with pytest.raises(SettingsError, match="face or head"):
        paste_back(photo, face, points, "hair")  # type: ignore[arg-type]
    for feather in (0.0, 0.5, float("nan")):
        with pytest.raises(SettingsError, match="feather"):
            paste_back(photo, face, points, feather=feather)
    with pytest.raises(ImageError, match="square"):
        paste_back(photo, face[:16], points)
    with pytest.raises(ImageError, match="photo"):
        paste_back(photo[..., 0], face, points)
    with pytest.raises(InputError):
        paste_back(photo, face, points[:5])
