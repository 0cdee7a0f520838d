"""One person many times: a contact sheet and a looping animation of a series of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import gradio as gr
import numpy as np
from PIL import Image

from app.runs.pictures import pack
from arc2face.errors import StorageError
from arc2face.pictures import sheets
from arc2face.types import RgbU8

if TYPE_CHECKING:
    from app.page.parts.results import ResultsPanel, Updates
    from app.runs.pictures import Picture

GAP = 6


def contact_sheet(pictures: Sequence[RgbU8], columns: int = 0) -> RgbU8:
    """Pictures of one size side by side on white; `columns` 0 chooses at most five."""
    return sheets.contact_sheet(pictures, columns or min(5, len(pictures)), GAP)


def save_series(pictures: Sequence[Picture]) -> tuple[Path, Path]:
    """Contact sheet (PNG) and animation (WebP) beside the pictures of a series."""
    frames = [np.asarray(Image.open(picture.path).convert("RGB")) for picture in pictures]
    folder = Path(pictures[0].path).parent
    sheet = folder / "contact-sheet.png"
    try:
        Image.fromarray(contact_sheet(frames)).save(sheet)
    except OSError as error:
        sheet.unlink(missing_ok=True)
        raise StorageError(f"The contact sheet could not be saved ({error.strerror or error}).") from error
    return sheet, sheets.save_animation(frames, folder / "animation.webp")


def updates(panel: ResultsPanel, pictures: Sequence[Picture]) -> Updates:
    """Show the animation of a series, and put it and the contact sheet into the zip."""
    sheet, motion = save_series(pictures)
    archive = pack([*(picture.path for picture in pictures), sheet, motion])
    return {**panel.with_motion(str(motion)), panel.zip: gr.update(value=str(archive))}
