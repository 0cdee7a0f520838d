"""The 68-landmark network in the interface of insightface's `1k3d68.onnx`: 192-pixel input, 3309 outputs.

Only the last 68 of the 1103 points mean anything, and only their x and y; z is 0. Coordinates are -1..1.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from training.common import augment
from training.common.world import AvatarDataset, open_dataset
from training.faces.loop import Loop, LoopConfig, put_into_bundle
from training.faces.onnx_export import export

Float32 = NDArray[np.float32]
INPUT = 192
TRAINED = 96
POINTS = 68
OUTPUTS = 3309


@dataclass(frozen=True)
class LandmarksConfig:
    """Data folders and widths; `jitter` of the box's place and size, as shares of its size."""

    data: str = "data/avatars_train"
    evaluation: str = "data/avatars_eval"
    widths: tuple[int, ...] = (24, 40, 72, 112)
    jitter: float = 0.08
    output: str = ""
    loop: LoopConfig = field(default_factory=lambda: LoopConfig(steps=1500, batch_size=48, learning_rate=2e-3))


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
    data: AvatarDataset, row: int, rng: np.random.Generator, jitter: float
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


def train(config: LandmarksConfig, out: Path, resume: bool = True, until: int | None = None) -> dict[str, float]:
    """Train, measure on unseen people and export `1k3d68.onnx` into `out`."""
    data = open_dataset(Path(config.data))
    model = LandmarkNet(config.widths).to(memory_format=torch.channels_last)
    loop = Loop(config.loop, model, out)

    def losses(step: int, rng: np.random.Generator) -> dict[str, Tensor]:
        people = rng.choice(np.flatnonzero(np.asarray(data.done)), config.loop.batch_size)
        rows = people * data.config.per_person + rng.integers(0, data.config.per_person, len(people))
        x, y = _batch([sample_crop(data, int(row), rng, config.jitter) for row in rows])
        x = augment.noise(augment.focus(augment.photometric(x), 0.4))
        x, y = x.to(loop.device), y.to(loop.device)
        error = (model(x.contiguous(memory_format=torch.channels_last)) - y).norm(dim=-1)
        return {"points": 10 * error.mean(), "_pixels": error.mean() * TRAINED / 2}

    averaged = loop.run(losses, resume=resume, until=until)
    figures = evaluate(averaged, open_dataset(Path(config.evaluation)))
    (out / "figures.json").write_text(json.dumps(figures, indent=2))
    example, batch = torch.zeros(2, 3, INPUT, INPUT), {"x": {0: torch.export.Dim("batch")}}
    export(InsightfaceOutputs(averaged), example, out / "1k3d68.onnx", ["input"], ["points"], batch)
    put_into_bundle(out / "1k3d68.onnx", config.output, "antelopev2/1k3d68.onnx")
    return figures


@torch.no_grad()
def evaluate(model: nn.Module, data: AvatarDataset) -> dict[str, float]:
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
