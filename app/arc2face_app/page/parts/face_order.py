"""In which order people count the faces of a photo: from left to right, whatever order the detector gives them in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from arc2face.faces.face import Face


def left_to_right(faces: Sequence[Face]) -> list[int]:
    """Places in `faces` of the first face from the left, the second, and so on."""
    return sorted(range(len(faces)), key=lambda place: faces[place].centre)


def numbered(faces: Sequence[Face]) -> list[Face]:
    """The same faces, counted from left to right."""
    return [replace(faces[place], index=number) for number, place in enumerate(left_to_right(faces))]
