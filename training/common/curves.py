"""Figures of a run: TensorBoard curves, one JSON line per record, the last picture; all in the run's folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.common.errors import TrainingError


class Curves:
    """Writer for `out`/curves, `out`/log.jsonl and `out`/validation.png.

    Raises TrainingError where TensorBoard is not installed.
    """

    def __init__(self, out: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise TrainingError("Training curves need TensorBoard: pip install 'arc2face-studio[training]'.") from error
        out.mkdir(parents=True, exist_ok=True)
        self.image = out / "validation.png"
        self.lines, self.writer = out / "log.jsonl", SummaryWriter(str(out / "curves"))

    def record(self, group: str, step: int, values: Mapping[str, float]) -> None:
        """Figures of one step; `group`: train or validation."""
        for name, value in values.items():
            self.writer.add_scalar(f"{group}/{name}", value, step)
        rounded = {name: float(f"{value:.5g}") for name, value in values.items()}
        with self.lines.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, "group": group, **rounded}) + "\n")

    def picture(self, step: int, rgb_u8: NDArray[np.uint8]) -> None:
        """A validation picture, (H, W, 3)."""
        self.writer.add_image("validation", rgb_u8, step, dataformats="HWC")
        Image.fromarray(rgb_u8).save(self.image)

    def close(self) -> None:
        """Flush and close."""
        self.writer.close()
