"""Figures of a run: one JSON line per record, the last picture, and curves in TensorBoard or Weights & Biases."""

from __future__ import annotations

import importlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from arc2face_training.common.errors import TrainingError

NO_WANDB = "loop.tracker wandb needs the package: pip install wandb (WANDB_MODE=offline keeps everything here)"


class Tracker(ABC):
    """Somebody who draws curves."""

    @abstractmethod
    def figures(self, step: int, values: Mapping[str, float]) -> None:
        """Figures of one step, by name."""

    @abstractmethod
    def picture(self, step: int, rgb_u8: NDArray[np.uint8]) -> None:
        """A validation picture, (H, W, 3)."""

    @abstractmethod
    def close(self) -> None:
        """Flush and close."""


class TensorBoard(Tracker):
    """Event files in `out`/curves."""

    def __init__(self, out: Path) -> None:
        """Raises TrainingError where TensorBoard is not installed."""
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise TrainingError('Training curves need TensorBoard: pip install "arc2face-studio[training]".') from error
        self.writer = SummaryWriter(str(out / "curves"))

    def figures(self, step: int, values: Mapping[str, float]) -> None:
        """See Tracker."""
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def picture(self, step: int, rgb_u8: NDArray[np.uint8]) -> None:
        """See Tracker."""
        self.writer.add_image("validation", rgb_u8, step, dataformats="HWC")

    def close(self) -> None:
        """See Tracker."""
        self.writer.close()


class WandB(Tracker):
    """A run of Weights & Biases that goes on when the training does; files in `out`/wandb."""

    def __init__(self, out: Path, settings: Mapping[str, Any]) -> None:
        """Raises TrainingError where the package is missing or the service refuses."""
        try:
            wandb: Any = importlib.import_module("wandb")
        except ImportError as error:
            raise TrainingError(NO_WANDB) from error
        note = out / "wandb-run.txt"
        known = note.read_text(encoding="utf-8").strip() if note.exists() else None
        try:
            self.run = wandb.init(
                project="arc2face", name=out.name, dir=str(out), config=dict(settings), id=known, resume="allow"
            )
        except Exception as error:  # its own errors, undocumented
            raise TrainingError(f"Weights & Biases: {error}. WANDB_MODE=offline needs no account.") from error
        note.write_text(f"{self.run.id}\n", encoding="utf-8")
        self.image = wandb.Image

    def figures(self, step: int, values: Mapping[str, float]) -> None:
        """See Tracker."""
        self.run.log(dict(values), step=step)

    def picture(self, step: int, rgb_u8: NDArray[np.uint8]) -> None:
        """See Tracker."""
        self.run.log({"validation": self.image(rgb_u8)}, step=step)

    def close(self) -> None:
        """See Tracker."""
        self.run.finish()


class Curves:
    """Writer for `out`/log.jsonl and `out`/validation.png, and for the chosen tracker."""

    def __init__(self, out: Path, tracker: str = "tensorboard", settings: Mapping[str, Any] | None = None) -> None:
        """`tracker`: tensorboard, wandb or none. Raises TrainingError where it is not installed."""
        out.mkdir(parents=True, exist_ok=True)
        self.image, self.lines = out / "validation.png", out / "log.jsonl"
        self.tracker: Tracker | None = None
        if tracker != "none":
            self.tracker = TensorBoard(out) if tracker == "tensorboard" else WandB(out, settings or {})

    def record(self, group: str, step: int, values: Mapping[str, float]) -> None:
        """Figures of one step; `group`: train or validation."""
        if self.tracker is not None:
            self.tracker.figures(step, {f"{group}/{name}": value for name, value in values.items()})
        rounded = {name: float(f"{value:.5g}") for name, value in values.items()}
        with self.lines.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, "group": group, **rounded}) + "\n")

    def picture(self, step: int, rgb_u8: NDArray[np.uint8]) -> None:
        """A validation picture, (H, W, 3)."""
        if self.tracker is not None:
            self.tracker.picture(step, rgb_u8)
        Image.fromarray(rgb_u8).save(self.image)

    def close(self) -> None:
        """Flush and close."""
        if self.tracker is not None:
            self.tracker.close()
