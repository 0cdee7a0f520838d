"""Numbered boxes over a picture, so that a person can say which face is meant."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from arc2face.faces.face import Face
from arc2face.types import RgbU8

_CHOSEN = (255, 176, 0)
_OTHER = (245, 245, 245)
_EDGE = (20, 20, 20)


def draw_boxes(rgb_u8: RgbU8, faces: Sequence[Face], selected: int | None = 0) -> RgbU8:
    """A copy of the picture with a box and a number (from 1) on every face.

    The selected face has a thick amber box, the others thin white ones; all have a dark edge, so that they show on
    any background and the choice does not rest on colour alone. Line widths follow the picture's size.
    """
    image = Image.fromarray(np.ascontiguousarray(rgb_u8))
    draw = ImageDraw.Draw(image)
    unit = max(1.0, max(image.size) / 400.0)
    for face in sorted(faces, key=lambda item: item.index == selected):
        chosen = face.index == selected
        width = round(unit * (3.0 if chosen else 1.5))
        _draw_one(draw, face, _CHOSEN if chosen else _OTHER, max(1, width), unit, image.size)
    return np.asarray(image).copy()


def _draw_one(
    draw: ImageDraw.ImageDraw, face: Face, colour: tuple[int, int, int], width: int, unit: float, size: tuple[int, int]
) -> None:
    edge = max(1, round(unit * 0.7))
    grow = width + 2 * edge  # lines are drawn inwards; the face itself should stay free
    left, right = sorted((_clamp(face.box[0] - grow, size[0]), _clamp(face.box[2] + grow, size[0])))
    top, bottom = sorted((_clamp(face.box[1] - grow, size[1]), _clamp(face.box[3] + grow, size[1])))
    draw.rectangle((left, top, right, bottom), outline=_EDGE, width=grow)
    inner = (left + edge, top + edge, right - edge, bottom - edge)
    if inner[2] > inner[0] and inner[3] > inner[1]:
        draw.rectangle(inner, outline=colour, width=width)
    font = ImageFont.load_default(size=max(10.0, min(unit * 13.0, (right - left) * 0.4)))
    text = str(face.index + 1)
    extent = draw.textbbox((0, 0), text, font=font)
    pad = round(unit * 2.5)
    tag_width, tag_height = extent[2] - extent[0] + 2 * pad, extent[3] - extent[1] + 2 * pad
    tag_top = top - tag_height + edge if top >= tag_height else top  # above the box where there is room
    draw.rectangle((left, tag_top, left + tag_width, tag_top + tag_height), fill=colour, outline=_EDGE, width=edge)
    draw.text((left + pad - extent[0], tag_top + pad - extent[1]), text, fill=_EDGE, font=font)


def _clamp(value: float, size: int) -> int:
    return int(min(max(round(float(value)), 0), size - 1))
