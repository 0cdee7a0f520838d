"""The README's picture: people nobody trained on, and what the bundle makes of them.

`python -m arc2face_training.evaluate.showcase docs/images/hero.png --seeds 1000015 1000031`

Row by row, one person each: the photo, three new pictures, turned left and right, a smile, an open mouth, a wink, and
the photo's own look kept with another expression.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from arc2face.engine import Engine
from arc2face.pictures.sheets import contact_sheet
from arc2face.types import ExpressionCondition, GenerationRequest, PoseCondition, ReferenceCondition
from arc2face_training.common.world import SMILE, expression
from arc2face_training.evaluate.subjects import Cast

U8 = NDArray[np.uint8]
COLUMNS = ("photo", "new", "new", "new", "turned", "turned", "smile", "open mouth", "wink", "own look kept")
SEED = 12
SIZE = 160
CAPTION = 18


def row(engine: Engine, cast: Cast, seed: int) -> list[U8]:
    """The pictures of one person, in the order of COLUMNS."""
    number = (seed - cast.first) // 2
    photo = cast.subject(number).rgb_u8
    plain = GenerationRequest(identity=engine.perception.embed(photo), num_images=3, seed=SEED, score=False)
    one = plain.with_(num_images=1)
    smile = ExpressionCondition(expression(**{SMILE: 1.0}))
    aligned = engine.align(photo)
    requests = [
        plain,
        one.with_(pose=PoseCondition(engine.normal_map(-40, 0, 0))),
        one.with_(pose=PoseCondition(engine.normal_map(40, 0, 0))),
        one.with_(expression=smile),
        one.with_(expression=ExpressionCondition(expression(jaw=0.2))),
        one.with_(expression=ExpressionCondition(expression(left_lid=1.0))),
        one.with_(expression=smile, reference=ReferenceCondition(aligned)),
    ]
    made = [image.rgb_u8 for request in requests for image in engine.generate(request).images]
    return [_resized(picture) for picture in (photo, *made)]


def _resized(picture: U8) -> U8:
    return np.asarray(Image.fromarray(picture).resize((SIZE, SIZE), Image.Resampling.LANCZOS))


def captioned(sheet: U8, columns: tuple[str, ...], gap: int) -> U8:
    """The sheet below a line of captions."""
    canvas = Image.new("RGB", (sheet.shape[1], sheet.shape[0] + CAPTION), "white")
    canvas.paste(Image.fromarray(sheet), (0, CAPTION))
    draw = ImageDraw.Draw(canvas)
    for k, text in enumerate(columns):
        draw.text((k * (SIZE + gap) + SIZE / 2, CAPTION / 2), text, fill=(60, 60, 60), anchor="mm")
    return np.asarray(canvas)


def main() -> None:
    """Write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--models", type=Path, default=Path("models/starter"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1_000_015, 1_000_031, 1_000_003, 1_000_035])
    options = parser.parse_args()
    engine = Engine.open(options.models)
    cast = Cast(size=2 * engine.native_size)
    pictures = [picture for seed in options.seeds for picture in row(engine, cast, seed)]
    sheet = contact_sheet(pictures, len(COLUMNS), gap=4)
    Image.fromarray(captioned(sheet, COLUMNS, 4)).save(options.out, optimize=True)
    engine.close()


if __name__ == "__main__":
    main()
