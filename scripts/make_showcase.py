"""Draw the rows of pictures that the page shows before the first click, with the starter models.

`python -m scripts.make_showcase` writes app/arc2face_app/page/assets/examples/showcase/; repeat it when the starter
models change. One WebP per row: the photo of an example person, then what the tab makes of it, with the page's usual
settings.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from arc2face.engine import Engine
from arc2face.pictures.loading import load_rgb_u8
from arc2face.sources import find_person, find_preset
from arc2face.types import ExpressionCondition, GenerationRequest, PoseCondition
from arc2face_app.page.parts.showcase import CELLS, FOLDER
from arc2face_app.page.theme import EXAMPLES

PEOPLE = ("100005", "100045")
"""Example people, one row each."""
SEED = 12
ANGLES = {"left": (-30.0, 0.0, 0.0), "right": (30.0, 0.0, 0.0), "up": (0.0, -20.0, 0.0), "down": (0.0, 20.0, 0.0)}
PRESETS = {"smile": "Smile", "laugh": "Laugh", "surprised": "Surprised", "wink": "Wink, left eye"}
CELL, QUALITY = 160, 82
"""Pixels a side at most, and WebP quality: both rows of all tabs stay well under 300 kB."""


def rows(engine: Engine, photo: Path) -> Iterator[tuple[str, list[NDArray[np.uint8]]]]:
    """Tab and pictures of one person, in the order of CELLS."""
    base = GenerationRequest(identity=find_person(engine, [photo]).identity, num_images=1, seed=SEED, score=False)
    root = engine.models.root
    asked = {
        "identity": [base.with_(num_images=len(CELLS["identity"]) - 1)],
        "pose": [
            base.with_(pose=PoseCondition(engine.normal_map(*ANGLES[name]), angles=ANGLES[name]))
            for name in CELLS["pose"][1:]
        ],
        "expression": [
            base.with_(expression=ExpressionCondition(find_preset(PRESETS[name], root)))
            for name in CELLS["expression"][1:]
        ],
    }
    for tab, requests in asked.items():
        yield tab, [image.rgb_u8 for request in requests for image in engine.generate(request).images]


def strip(pictures: list[NDArray[np.uint8]], size: int) -> Image.Image:
    """Pictures side by side, each `size` pixels wide."""
    canvas = Image.new("RGB", (size * len(pictures), size))
    for k, picture in enumerate(pictures):
        cell = Image.fromarray(picture)
        canvas.paste(cell.resize((size, size), Image.Resampling.LANCZOS), (k * size, 0))
    return canvas


def main() -> None:
    """Write all rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, default=Path("models/starter"))
    parser.add_argument("--people", nargs=2, default=PEOPLE, help="example people, by the names of their files")
    parser.add_argument("--out", type=Path, default=FOLDER)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with Engine.open(options.models) as engine:
        size = min(CELL, engine.native_size)
        for number, name in enumerate(options.people, 1):
            photo = EXAMPLES / "faces" / f"{name}.webp"
            for tab, made in rows(engine, photo):
                target = options.out / f"{tab}-{number}.webp"
                strip([load_rgb_u8(photo), *made], size).save(target, quality=QUALITY, method=6)
                print(target, target.stat().st_size)


if __name__ == "__main__":
    main()
