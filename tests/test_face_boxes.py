"""Boxes around faces: drawing, dropping and turning them."""

from __future__ import annotations

import numpy as np
import pytest

from arc2face.faces.analyser import (
    Face,
    draw_boxes,
)
from tests.tiny_faces import (
    FIVE_POINTS,
    blank,
)


def test_numbered_boxes() -> None:
    picture = blank(300, 500)
    boxes = [(50, 60, 150, 180), (300, 50, 380, 150), (480, 280, 560, 340)]
    faces = [
        Face(np.array(box, np.float32), np.zeros((5, 2), np.float32), 0.9, index=index)
        for index, box in enumerate(boxes)
    ]
    before = picture.copy()
    first, second = draw_boxes(picture, faces, 0), draw_boxes(picture, faces, 1)
    assert np.array_equal(picture, before)
    assert first.shape == picture.shape and first.dtype == np.uint8
    assert not np.array_equal(first, second)
    assert np.abs(first[58, 100].astype(int) - picture[58, 100]).max() > 20  # the box's edge
    assert np.array_equal(first[120, 100], picture[120, 100])  # its inside
    assert np.array_equal(draw_boxes(picture, []), picture)


def test_boxes_nested_in_a_more_certain_face_are_dropped() -> None:
    from arc2face.faces.search import without_nested

    def face(box: tuple[float, float, float, float], score: float) -> Face:
        return Face(np.array(box, np.float32), np.zeros((5, 2), np.float32), score)

    whole, eye, neighbour = face((0, 0, 100, 100), 0.9), face((10, 10, 40, 40), 0.8), face((90, 0, 190, 100), 0.7)
    assert without_nested([eye, neighbour, whole]) == [whole, neighbour]


def test_boxes_that_are_hardly_faces_are_not_offered() -> None:
    """C7: choice by squared score times area; far below the best or the largest is dropped; at most eight."""
    from arc2face.faces.search import MAX_FACES, believable

    def face(x: float, side: float, score: float) -> Face:
        return Face(np.array([x, 0, x + side, side], np.float32), np.zeros((5, 2), np.float32), score)

    doubtful_but_large, certain = face(0, 120, 0.6), face(200, 100, 0.9)
    assert [f.score for f in believable([doubtful_but_large, certain])] == pytest.approx([0.9, 0.6])
    assert [f.index for f in believable([doubtful_but_large, certain])] == [0, 1]
    assert len(believable([certain, face(400, 49, 0.9)])) == 1  # under a quarter of the largest
    assert len(believable([certain, face(400, 51, 0.9)])) == 2
    assert len(believable([certain, face(400, 100, 0.5)])) == 1  # far below the best score
    assert len(believable([face(200 * k, 100, 0.9) for k in range(12)])) == MAX_FACES == 8
    assert believable([]) == ()


@pytest.mark.parametrize("turns", range(4))
def test_turning_there_and_back(turns: int) -> None:
    """C6: a face keeps its place when picture and points are turned together."""
    from arc2face.faces.turns import quarter_turns, turn_face, turn_picture, turn_points

    picture = np.zeros((40, 60, 3), np.uint8)
    picture[7, 11] = 255
    point = np.array([[11.0, 7.0]])
    turned = turn_picture(picture, turns)
    (x, y) = turn_points(point, turns, (40, 60))[0]
    assert turned[int(y), int(x)].max() == 255
    assert np.array_equal(turn_points(turn_points(point, turns, (40, 60)), -turns, turned.shape[:2]), point)
    face = Face(np.array([5, 4, 25, 30], np.float32), (FIVE_POINTS * 8 + [15, 16]).astype(np.float32), 0.9)
    moved = turn_face(face, turns, (40, 60))
    assert (quarter_turns(moved) + turns) % 4 == 0
    assert np.allclose(turn_face(moved, -turns, turned.shape[:2]).box, face.box)
