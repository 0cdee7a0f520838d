"""The 68-landmark network in the interface of insightface's `1k3d68.onnx`: 192-pixel input, 3309 outputs.

Only the last 68 of the 1103 points mean anything, and only their x and y; z is 0. Coordinates are -1..1.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from arc2face_training.common import augment
from arc2face_training.common.exports import put_into_bundle, write_json
from arc2face_training.common.loop import Batch, Loop, Objective, Turn, total
from arc2face_training.common.memory import layout_of
from arc2face_training.common.session import Session
from arc2face_training.common.settings import FaceLoopConfig
from arc2face_training.common.world import PeopleDataset, open_dataset, random_rows
from arc2face_training.faces.onnx_export import export

Float32 = NDArray[np.float32]
INPUT = 192
TRAINED = 96
POINTS = 68
OUTPUTS = 3309


@dataclass(frozen=True)
class LandmarksConfig:
    """Data folders and widths; `jitter` of the box's place and size, as shares of its size."""

    data: Path = Path("data/people_train")
    evaluation: Path = Path("data/people_eval")
    widths: tuple[int, ...] = (24, 40, 72, 112)
    jitter: float = 0.08
    output: Path | None = None
    loop: FaceLoopConfig = field(default_factory=lambda: FaceLoopConfig(steps=1500, batch_size=48, learning_rate=2e-3))


class LandmarkNet(nn.Module):
    """(B, 3, 96, 96) in about -1..1 to (B, 68, 2) in -1..1 of the crop."""

    def __init__(self, widths: tuple[int, ...] = (24, 40, 72, 112)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for index, after in enumerate(widths):
            layers += _conv(before, after, 2)
            if index > 0:
                layers += _conv(after, after, 1)
            before = after
        self.body = nn.Sequential(*layers)
        side = TRAINED // 2 ** len(widths)
        self.head = nn.Sequential(
            nn.Flatten(), nn.Linear(before * side * side, 128), nn.ReLU(inplace=True), nn.Linear(128, 2 * POINTS)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Landmarks."""
        return self.head(self.body(x)).view(-1, POINTS, 2)


def _conv(before: int, after: int, stride: int) -> list[nn.Module]:
    return [nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True)]


class InsightfaceOutputs(nn.Module):
    """Halves the input and lays the 68 points at the end of the 1103 that the original has."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, 192, 192) to (B, 3309)."""
        points = F.pad(self.model(F.avg_pool2d(x, 2)), (0, 1)).flatten(1)
        return F.pad(points, (OUTPUTS - 3 * POINTS, 0))


def crop_matrix(box: Float32, size: int, turn: float = 0.0) -> Float32:
    """insightface's crop: the box's centre in the middle, 1.5 times its longer side across."""
    scale = size / (float(max(box[2] - box[0], box[3] - box[1])) * 1.5)
    linear = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    middle = np.array([box[0] + box[2], box[1] + box[3]]) / 2
    return np.c_[linear, size / 2 - linear @ middle].astype(np.float32)


def sample_crop(
    data: PeopleDataset, row: int, rng: np.random.Generator, jitter: float
) -> tuple[NDArray[np.uint8], Float32]:
    """A crop (96, 96, 3) around a box that errs a little, and its landmarks (68, 2) in -1..1."""
    label = data.labels[row]
    box = label[204:208].astype(np.float32).copy()
    side = float(max(box[2] - box[0], box[3] - box[1]))
    box += rng.normal(0, jitter * 0.5, 4).astype(np.float32) * side
    matrix = crop_matrix(box, TRAINED, float(rng.normal(0, 0.12)) if jitter else 0.0)
    crop = cv2.warpAffine(np.asarray(data.rgb[row]), matrix, (TRAINED, TRAINED), flags=cv2.INTER_LINEAR)
    points = label[58:194].reshape(POINTS, 2) @ matrix[:, :2].T + matrix[:, 2]
    return np.asarray(crop, np.uint8), (points / (TRAINED / 2) - 1).astype(np.float32)


def _batch(pairs: list[tuple[NDArray[np.uint8], Float32]]) -> tuple[Tensor, Tensor]:
    x = torch.from_numpy(np.stack([crop for crop, _ in pairs])).permute(0, 3, 1, 2).float()
    return (x - 127.5) / 128, torch.from_numpy(np.stack([points for _, points in pairs]))


class LandmarksObjective(Objective):
    """Distance of the points of a batch of `pixels` from `points`."""

    def __init__(self, model: LandmarkNet) -> None:
        super().__init__()
        self.model = model
        self.layout = layout_of(model)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Loss `points`; `pixels_off` is the error in pixels."""
        x = augment.noise(augment.focus(augment.photometric(batch["pixels"]), 0.4))
        error = (self.model(x.contiguous(memory_format=self.layout)) - batch["points"]).norm(dim=-1).mean()
        return total({"points": 10 * error}, pixels_off=error * TRAINED / 2)


def train(config: LandmarksConfig, out: Path, resume: bool = True) -> dict[str, float]:
    """Train (a piece); measure on unseen people and export `1k3d68.onnx` into `out` when finished."""
    session, data = Session(config.loop), open_dataset(config.data)
    torch.manual_seed(config.loop.seed)
    model = LandmarkNet(config.widths)
    model = model.to(memory_format=layout_of(model))
    loop = Loop(session, LandmarksObjective(model), out, config, resume)

    def draw(turn: Turn, n: int) -> Batch:
        x, y = _batch([sample_crop(data, row, turn.rng, config.jitter) for row in random_rows(data, turn.rng, n)])
        return {"pixels": x, "points": y}

    outcome = loop.run(draw)
    figures = outcome.figures()
    if outcome.export:
        with loop.average.applied():
            figures |= evaluate(model.eval(), open_dataset(config.evaluation))
            example, batch = torch.zeros(2, 3, INPUT, INPUT), {"x": {0: torch.export.Dim("batch")}}
            export(InsightfaceOutputs(model), example, out / "1k3d68.onnx", ["input"], ["points"], batch)
        put_into_bundle(out / "1k3d68.onnx", config.output, "antelopev2/1k3d68.onnx")
        write_json(out / "figures.json", figures)
    return figures


@torch.no_grad()
def evaluate(model: nn.Module, data: PeopleDataset) -> dict[str, float]:
    """Mean distance on unseen people, in percent of the face box's longer side."""
    rng = np.random.default_rng(0)
    rows = np.flatnonzero(np.repeat(np.asarray(data.done), data.config.per_person))
    device = next(model.parameters()).device
    errors: list[Tensor] = []
    for start in range(0, len(rows), 64):
        x, y = _batch([sample_crop(data, int(row), rng, 0.04) for row in rows[start : start + 64]])
        errors.append((model(x.to(device)).cpu() - y).norm(dim=-1).mean(1))
    # The crop is 1.5 box sides wide and spans 2 units.
    return {"pictures": float(len(rows)), "error_percent_of_box": float(torch.cat(errors).mean()) * 0.75 * 100}
