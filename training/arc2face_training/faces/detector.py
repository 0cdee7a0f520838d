"""The face detector in SCRFD's format (Guo et al. 2021): strides 8, 16, 32, two anchors per cell, five points.

One small network with outputs every 8 pixels looks at the picture at full, half and quarter size; these three looks
are SCRFD's three levels. It therefore has to learn faces of 14 to 170 pixels only, on small training pictures.
Outputs per level: score (n, 1), box distances (n, 4) and points (n, 10), the latter two in units of the stride from
the cell's corner, which is where insightface puts it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from arc2face_training.common import augment
from arc2face_training.common.checkpoint import averaged_state
from arc2face_training.common.config import NOT_EXPERIMENT
from arc2face_training.common.exports import put_into_bundle, write_json
from arc2face_training.common.loop import Batch, Loop, Objective, Turn, total
from arc2face_training.common.memory import layout_of
from arc2face_training.common.session import Session
from arc2face_training.common.settings import FaceLoopConfig
from arc2face_training.faces.onnx_export import export
from arc2face_training.faces.sprites import Composition, Sprites, compose, make_sprites

Float32 = NDArray[np.float32]
STRIDES = (8, 16, 32)
CELL = STRIDES[0]
ANCHORS = 2
SIZE_RANGES = ((0.0, 44.0), (44.0, 170.0))
"""Longer side of a face's box, pixels, per anchor. Larger faces are left to the next look."""
RANGE_OVERLAP = 1.15


@dataclass(frozen=True)
class DetectorConfig:
    """`canvas`: sides of the training pictures, drawn at random per step.

    `start`: a detector's checkpoint to begin with; what does not fit in shape is left at random. `accept`: the trained
    network's own probability that is exported as 0.5, where everybody's threshold lies.
    """

    sprites: int = 1500
    first_seed: int = 0
    canvas: tuple[int, ...] = (128, 160, 192)
    smallest_face: float = 14.0
    widths: tuple[int, ...] = (16, 24, 40, 64, 96)
    neck: int = 64
    points_weight: float = 16.0
    accept: float = field(default=0.5, metadata=NOT_EXPERIMENT)
    start: Path | None = None
    output: Path | None = None
    loop: FaceLoopConfig = field(default_factory=lambda: FaceLoopConfig(steps=700, batch_size=24, learning_rate=3e-3))


def conv(before: int, after: int, stride: int = 1, kernel: int = 3) -> nn.Sequential:
    """Convolution, batch norm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(before, after, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True)
    )


class Residual(nn.Module):
    """Two convolutions around a skip."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(width, width), conv(width, width))

    def forward(self, x: Tensor) -> Tensor:
        """Residual sum."""
        return x + self.body(x)


class Detector(nn.Module):
    """(B, 3, H, W) to logits (B, n, 1), box distances (B, n, 4) and points (B, n, 10), n = 2 H W / 64."""

    def __init__(self, widths: tuple[int, ...] = (16, 24, 40, 64, 96), neck: int = 64) -> None:
        super().__init__()
        a, b, c, d, e = widths
        self.stem = nn.Sequential(conv(3, a, 2), conv(a, b, 2))
        self.level8 = nn.Sequential(conv(b, c, 2), Residual(c))
        self.level16 = nn.Sequential(conv(c, d, 2), Residual(d))
        self.level32 = nn.Sequential(conv(d, e, 2), Residual(e), Residual(e))
        self.lateral = nn.ModuleList(nn.Conv2d(width, neck, 1) for width in (c, d, e))
        self.head = nn.Sequential(conv(neck, neck), conv(neck, neck))
        self.out = nn.Conv2d(neck, ANCHORS * 15, 1)
        assert self.out.bias is not None
        nn.init.constant_(self.out.bias[:ANCHORS], -4.0)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Cells row by row, anchors innermost; distances and points in cells of 8 pixels."""
        f8 = self.level8(self.stem(x))
        f16 = self.level16(f8)
        f32 = self.level32(f16)
        p16 = self.lateral[1](f16) + F.interpolate(self.lateral[2](f32), size=f16.shape[-2:], mode="nearest")
        p8 = self.lateral[0](f8) + F.interpolate(p16, size=f8.shape[-2:], mode="nearest")
        raw = self.out(self.head(p8)).permute(0, 2, 3, 1)
        score, box, points = raw.split([ANCHORS, 4 * ANCHORS, 10 * ANCHORS], dim=-1)
        n = len(raw)
        distances = F.softplus(box.reshape(n, -1, 4)) * 2.0
        return score.reshape(n, -1, 1), distances, points.reshape(n, -1, 10) * 2.0


class SCRFDOutputs(nn.Module):
    """The nine outputs insightface expects of a batch of one: scores, boxes, points, each for strides 8, 16, 32."""

    def __init__(self, model: nn.Module, accept: float = 0.5) -> None:
        super().__init__()
        self.model, self.shift = model, math.log(accept / (1 - accept))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Rank-2 outputs, probabilities instead of logits; `accept` comes out as 0.5."""
        levels = [self.model(look) for look in (x, F.avg_pool2d(x, 2), F.avg_pool2d(x, 4))]
        scores = [torch.sigmoid(score[0] - self.shift) for score, _, _ in levels]
        return (*scores, *(box[0] for _, box, _ in levels), *(points[0] for _, _, points in levels))


@dataclass(frozen=True)
class Targets:
    """Per anchor: `label` 1 face, 0 background, -1 ignored; distances in cells."""

    label: Float32
    box: Float32
    points: Float32


def assign(picture: Composition, size: int) -> Targets:
    """Cells in the middle of a face are positive, on the anchor of its size; the rest of the face is ignored."""
    cells = size // CELL
    centres = np.stack(np.mgrid[:cells, :cells][::-1], -1).reshape(-1, 2).astype(np.float32) * CELL
    label = np.zeros((len(centres), ANCHORS), np.float32)
    box, points = np.zeros((*label.shape, 4), np.float32), np.zeros((*label.shape, 10), np.float32)
    for face, five in zip(picture.boxes, picture.points, strict=True):
        side = float(max(face[2] - face[0], face[3] - face[1]))
        middle, half = (face[:2] + face[2:]) / 2, (face[2:] - face[:2]) / 2
        # At least one cell must qualify, however small the face is.
        away = (np.abs(centres - middle) / np.maximum(half * 0.35, 0.6 * CELL)).max(1)
        near = (np.abs(centres - middle) / np.maximum(half * 0.8, CELL)).max(1) < 1
        for anchor, (low, high) in enumerate(SIZE_RANGES):
            if low / RANGE_OVERLAP <= side < high * RANGE_OVERLAP:
                label[near & (label[:, anchor] == 0), anchor] = -1
                hit = away < 1
                label[hit, anchor] = 1
                box[hit, anchor] = np.c_[centres[hit] - face[:2], face[2:] - centres[hit]] / CELL
                points[hit, anchor] = ((five[None] - centres[hit][:, None]) / CELL).reshape(-1, 10)
            elif low / 1.7 <= side < high * 1.7:
                label[near & (label[:, anchor] == 0), anchor] = -1
    return Targets(label.reshape(-1), box.reshape(-1, 4), points.reshape(-1, 10))


def draw(rng: np.random.Generator, sprites: Sprites, size: int, smallest: float) -> Composition:
    """A training picture: nobody, one large face, several, or one too large for this look."""
    kind = rng.random()
    if kind < 0.12:
        return compose(rng, sprites, size, 0, (1, 2))
    if kind < 0.55:
        return compose(rng, sprites, size, 1, (0.3 * size, 0.9 * size))
    if kind < 0.90:
        return compose(rng, sprites, size, int(rng.integers(1, 5)), (smallest, 0.5 * size))
    return compose(rng, sprites, size, 1, (1.5 * size, 4.0 * size))


def detection_losses(
    found: tuple[Tensor, Tensor, Tensor], targets: Batch, points_weight: float = 16.0
) -> dict[str, Tensor]:
    """Focal loss on scores (gamma 2), generalised IoU on boxes, smooth L1 on points."""
    score, label = found[0].squeeze(-1), targets["label"]
    positive = label == 1
    count = positive.sum().clamp(min=1)
    probability = torch.sigmoid(score)
    right = torch.where(positive, probability, 1 - probability)
    weight = (label >= 0) * (1 - right) ** 2 * torch.where(positive, 0.75, 0.5)
    focal = (F.binary_cross_entropy_with_logits(score, positive.float(), reduction="none") * weight).sum() / count
    box, points = found[1][positive], found[2][positive]
    wanted_box, wanted_points = targets["box"][positive], targets["points"][positive]
    size = (wanted_box[:, :2] + wanted_box[:, 2:]).mean(1, keepdim=True).clamp(min=0.5)
    misplaced = F.smooth_l1_loss(points / size, wanted_points / size, beta=0.02, reduction="sum")
    return {
        "score": focal,
        "box": (1 - _giou(box, wanted_box)).sum() / count,
        "points": points_weight * misplaced / count / 10,
    }


def _giou(a: Tensor, b: Tensor) -> Tensor:
    """Generalised IoU of boxes given as distances from one shared point."""
    shared = torch.minimum(a, b)
    intersection = (shared[:, 0] + shared[:, 2]).clamp(min=0) * (shared[:, 1] + shared[:, 3]).clamp(min=0)
    area_a, area_b = ((x[:, 0] + x[:, 2]) * (x[:, 1] + x[:, 3]) for x in (a, b))
    union = area_a + area_b - intersection
    hull = torch.maximum(a, b)
    around = (hull[:, 0] + hull[:, 2]) * (hull[:, 1] + hull[:, 3])
    return intersection / (union + 1e-6) - (around - union) / (around + 1e-6)


class DetectorObjective(Objective):
    """Detection losses of a batch of `pixels` with `label`, `box` and `points` of every anchor."""

    def __init__(self, model: Detector, points_weight: float) -> None:
        super().__init__()
        self.model, self.points_weight = model, points_weight
        self.layout = layout_of(model)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Losses `score`, `box`, `points`."""
        x = augment.noise(augment.focus(augment.photometric((batch["pixels"] - 127.5) / 128), 0.3))
        found = self.model(x.contiguous(memory_format=self.layout))
        return total(detection_losses(found, batch, self.points_weight))


def train(config: DetectorConfig, out: Path, resume: bool = True) -> dict[str, float]:
    """Train (a piece); export `scrfd_10g_bnkps.onnx` into `out` when finished; `evaluate` has the figures."""
    session = Session(config.loop)
    sprites = make_sprites(config.sprites, config.first_seed, out)
    torch.manual_seed(config.loop.seed)
    model = Detector(config.widths, config.neck)
    model = model.to(memory_format=layout_of(model))
    if config.start:
        _start_from(model, config.start)
    loop = Loop(session, DetectorObjective(model, config.points_weight), out, config, resume)
    outcome = loop.run(lambda turn, n: _batch(config, sprites, turn, n))
    figures = outcome.figures()
    if outcome.export:
        with loop.average.applied():
            export_detector(model, out / "scrfd_10g_bnkps.onnx", config.accept)
        put_into_bundle(out / "scrfd_10g_bnkps.onnx", config.output, "antelopev2/scrfd_10g_bnkps.onnx")
        write_json(out / "figures.json", figures)
    return figures


def _batch(config: DetectorConfig, sprites: Sprites, turn: Turn, n: int) -> Batch:
    size = int(turn.shared().choice(config.canvas))
    # The same amount of pixels per step, whatever their arrangement.
    count = max(2, int(n * (160 / size) ** 2))
    pictures = [draw(turn.rng, sprites, size, config.smallest_face) for _ in range(count)]
    targets = [assign(p, size) for p in pictures]
    batch = {name: np.stack([getattr(one, name) for one in targets]) for name in ("label", "box", "points")}
    pixels = np.stack([p.picture for p in pictures]).transpose(0, 3, 1, 2).astype(np.float32)
    return {name: torch.from_numpy(value) for name, value in {**batch, "pixels": pixels}.items()}


def _start_from(model: nn.Module, checkpoint: Path) -> None:
    found = averaged_state(checkpoint)
    own = model.state_dict()
    model.load_state_dict({k: found[k] if k in found and found[k].shape == v.shape else v for k, v in own.items()})


def export_detector(model: nn.Module, path: Path, accept: float = 0.5) -> None:
    """Write the ONNX file that insightface's SCRFD loads; the input's height and width are free."""
    names = [f"{kind}_{stride}" for kind in ("score", "bbox", "kps") for stride in STRIDES]
    side = torch.export.Dim("h", min=1, max=128), torch.export.Dim("w", min=1, max=128)
    example = torch.zeros(1, 3, 192, 256)
    export(SCRFDOutputs(model, accept), example, path, ["input"], names, {"x": {2: 32 * side[0], 3: 32 * side[1]}})
