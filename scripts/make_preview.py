"""Draws the picture that other sites show beside a link to the page, from the rows of the showcase.

python scripts/make_preview.py app/arc2face_app/page/assets/preview.jpg
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from arc2face_app.page.front import PREVIEW_SIZE, TITLE
from arc2face_app.page.parts.showcase import FOLDER

PAPER, INK, QUIET = (243, 241, 237), (27, 27, 31), (85, 81, 74)
ROWS = ("identity-1", "pose-2", "expression-1")
CELLS, CELL, GAP = 5, 150, 14
LINES = ("One photo in,", "new pictures of", "the same person out")


def main(target: Path) -> None:
    """Write the picture as JPEG."""
    picture = Image.new("RGB", PREVIEW_SIZE, PAPER)
    draw = ImageDraw.Draw(picture)
    draw.text((56, 190), TITLE.replace(" ", "\n"), INK, ImageFont.load_default(58), spacing=10)
    draw.text((58, 350), "\n".join(LINES), QUIET, ImageFont.load_default(29), spacing=10)
    height = len(ROWS) * CELL + (len(ROWS) - 1) * GAP
    left, top = PREVIEW_SIZE[0] - 40 - CELLS * CELL - (CELLS - 1) * GAP, (PREVIEW_SIZE[1] - height) // 2
    for number, name in enumerate(ROWS):
        row = Image.open(FOLDER / f"{name}.webp").convert("RGB")
        side = row.width // CELLS
        for place in range(CELLS):
            cell = row.crop((place * side, 0, (place + 1) * side, row.height)).resize(
                (CELL, CELL), Image.Resampling.LANCZOS
            )
            at = (left + place * (CELL + GAP), top + number * (CELL + GAP))
            mask = Image.new("L", (CELL * 4, CELL * 4), 0)
            ImageDraw.Draw(mask).rounded_rectangle((0, 0, CELL * 4 - 1, CELL * 4 - 1), 18 * 4, 255)
            picture.paste(cell, at, mask.resize((CELL, CELL), Image.Resampling.LANCZOS))
    picture.save(target, quality=86, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
