"""The pose encoder in EMOCA's format, with the people's head in FLAME's place.

One small ResNet trunk serves E_flame and E_expression (the file holds it twice, as EMOCA's layout has it). It learns
shape, expression, head and jaw rotation and the camera of the crop that `emoca.preprocess` cuts out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from arc2face_emoca import FlameGeometry, checkpoint_entries
from arc2face_emoca.crop import CROP_SIZE, crop_box
from arc2face_emoca.resnet import Encoder, EncoderConfig
from arc2face_training.common import augment
from arc2face_training.common.checkpoint import save_torch
from arc2face_training.common.exports import deflate, put_into_bundle, write_json
from arc2face_training.common.loop import Batch, Loop, Objective, Turn, total
from arc2face_training.common.memory import layout_of
from arc2face_training.common.session import Session
from arc2face_training.common.settings import FaceLoopConfig
from arc2face_training.common.world import (
    EXPRESSION_COLUMNS,
    N_CODES,
    HeadModel,
    PeopleDataset,
    head_model,
    landmark_corners,
    open_dataset,
    random_rows,
    rotation,
)
from arc2face_training.expression.smirk import correlation

Float32 = NDArray[np.float32]
CHECKPOINT_PATH = "EMOCA/models/EMOCA_v2_lr_mse_20/detail/checkpoints/people-epoch=00-val_loss=0.00.ckpt"
SHAPE, EXPRESSION, TURN, JAW, CAMERA = slice(0, 100), slice(150, 200), slice(200, 203), slice(203, 206), slice(206, 209)
N_EXPRESSION = len(EXPRESSION_COLUMNS)
CAMERA_MEAN = (8.5, 0.0, 0.0)


@dataclass(frozen=True)
class EmocaConfig:
    """Trunk of both encoders and the weights of the loss' parts."""

    data: Path = Path("data/people_train")
    evaluation: Path = Path("data/people_eval")
    stem: int = 12
    widths: tuple[int, ...] = (12, 24, 40, 56)
    blocks: tuple[int, ...] = (1, 2, 2, 1)
    channels: tuple[int, ...] = (48, 96, 160, 224)
    hidden: int = 192
    jitter: float = 0.015
    shape_weight: float = 0.3
    expression_weight: float = 0.5
    turn_weight: float = 30.0
    jaw_weight: float = 30.0
    camera_weight: float = 1.0
    output: Path | None = None
    loop: FaceLoopConfig = field(default_factory=lambda: FaceLoopConfig(steps=1200, batch_size=32, learning_rate=2e-3))

    def encoder(self, outputs: int) -> EncoderConfig:
        """Architecture of one encoder."""
        return EncoderConfig(self.stem, self.widths, self.blocks, self.channels, self.hidden, outputs)


class TwoHeads(nn.Module):
    """Both encoders in training: E_flame's trunk and layers, and E_expression's layers on the same trunk."""

    def __init__(self, config: EmocaConfig) -> None:
        super().__init__()
        self.flame = Encoder(config.encoder(236))
        self.expression = Encoder(config.encoder(50)).layers
        with torch.no_grad():
            self.flame.layers[2].bias[CAMERA] = torch.tensor(CAMERA_MEAN)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 236) and (B, 50)."""
        features = self.flame.features(x)
        return self.flame.layers(features), self.expression(features)

    def encoders(self, config: EmocaConfig) -> tuple[Encoder, Encoder]:
        """Two whole encoders, as the checkpoint holds them."""
        second = Encoder(config.encoder(50))
        second.encoder.load_state_dict(self.flame.encoder.state_dict())
        second.layers.load_state_dict(self.expression.state_dict())
        return self.flame, second


def sample(
    data: PeopleDataset, row: int, rng: np.random.Generator, jitter: float
) -> tuple[NDArray[np.uint8], Float32, Float32]:
    """Crop (224, 224, 3) uint8 RGB, its 236 numbers (unused ones 0) and its picture-to-crop matrix (2, 3)."""
    label = data.labels[row]
    points = label[58:194].reshape(68, 2).astype(np.float64)
    side = float(np.ptp(points[:, 0]) + np.ptp(points[:, 1])) / 2
    wrong = points + rng.normal(0, jitter, points.shape) * side + rng.normal(0, jitter, 2) * side
    size = data.config.size
    x, y, across = crop_box(size, size, wrong)
    scale = (CROP_SIZE - 1) / across
    matrix = np.array([[scale, 0, -scale * (x - across / 2)], [0, scale, -scale * (y - across / 2)]])
    crop = cv2.warpAffine(np.asarray(data.rgb[row]), matrix, (CROP_SIZE, CROP_SIZE), flags=cv2.INTER_LINEAR)
    target = np.zeros(236, np.float32)
    target[:N_CODES] = data.attributes[row // data.config.per_person, :N_CODES]
    target[EXPRESSION] = label[:50]
    target[TURN] = cv2.Rodrigues(rotation(*(float(a) for a in label[55:58])))[0].ravel()
    target[JAW] = label[52:55]
    target[CAMERA] = crop_camera(label[208:211], matrix, size)
    return np.asarray(crop, np.uint8), target, matrix.astype(np.float32)


def crop_camera(camera: Float32, matrix: NDArray[np.float64], size: int) -> Float32:
    """EMOCA's camera (scale, tx, ty) in the crop, from that in the picture.

    Picture and crop coordinates run from -1 to 1 over `size` and 224 pixels; y is flipped after the camera.
    """
    scale, tx, ty = (float(c) for c in camera)
    factor = matrix[0, 0] * (size / 2) / (CROP_SIZE / 2)
    shift = (matrix[:, 0:2].sum(1) * (size / 2) + matrix[:, 2]) / (CROP_SIZE / 2) - 1
    new = scale * factor
    return np.array([new, tx + shift[0] / new, ty - shift[1] / new], np.float32)


def _batch(samples: list[tuple[NDArray[np.uint8], Float32, Float32]]) -> tuple[Tensor, Tensor]:
    x = torch.from_numpy(np.stack([s[0] for s in samples])).permute(0, 3, 1, 2).float() / 255
    return x, torch.from_numpy(np.stack([s[1] for s in samples]))


class EmocaObjective(Objective):
    """Squared errors of the 236 numbers of a batch of `pixels`, against `numbers`, part by part."""

    def __init__(self, model: TwoHeads, config: EmocaConfig) -> None:
        super().__init__()
        self.model, self.config = model, config
        self.layout = layout_of(model)
        self.register_buffer("unit", torch.tensor([0.4, 40.0, 40.0]), persistent=False)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Losses `shape`, `expression`, `turn`, `jaw`, `camera`, `rest`."""
        x = (augment.noise(augment.focus(augment.photometric(2 * batch["pixels"] - 1), 0.3)) + 1) / 2
        y, config = batch["numbers"], self.config
        flame, expression = self.model(x.contiguous(memory_format=self.layout))
        difference = flame - y

        def mean(part: slice) -> Tensor:
            return (difference[:, part] ** 2).mean()

        return total(
            {
                "shape": config.shape_weight * _shape_error(difference[:, SHAPE]),
                "expression": config.expression_weight * 50 / N_EXPRESSION * _square(expression - y[:, EXPRESSION]),
                "turn": config.turn_weight * mean(TURN),
                "jaw": config.jaw_weight * mean(JAW),
                "camera": config.camera_weight * _square(difference[:, CAMERA] * self.unit),
                "rest": 0.01 * _square(flame[:, 100:200]) + 0.01 * _square(flame[:, 209:]),
            }
        )


def _square(x: Tensor) -> Tensor:
    return (x**2).mean()


def _shape_error(difference: Tensor) -> Tensor:
    """Of the coefficients that the world has, and of the others, which are zero."""
    own, others = difference[:, :N_CODES], difference[:, N_CODES:]
    return _square(own) + (_square(others) if others.numel() else 0.0)


def train(config: EmocaConfig, out: Path, resume: bool = True) -> dict[str, float]:
    """Train (a piece); measure on unseen people and write the checkpoint, at EMOCA's place, when finished."""
    session, data = Session(config.loop), open_dataset(config.data)
    torch.manual_seed(config.loop.seed)
    model = TwoHeads(config)
    model = model.to(memory_format=layout_of(model))
    loop = Loop(session, EmocaObjective(model, config), out, config, resume)

    def draw(turn: Turn, n: int) -> Batch:
        x, y = _batch([sample(data, row, turn.rng, config.jitter) for row in random_rows(data, turn.rng, n)])
        return {"pixels": x, "numbers": y}

    outcome = loop.run(draw)
    figures = outcome.figures()
    if outcome.export:
        with loop.average.applied():
            figures |= evaluate(model.eval(), open_dataset(config.evaluation))
            export_pose(model, config, out / CHECKPOINT_PATH)
        put_into_bundle(out / CHECKPOINT_PATH, config.output, f"emoca/{CHECKPOINT_PATH}")
        write_json(out / "figures.json", figures)
    return figures


def head_geometry(head: HeadModel) -> FlameGeometry:
    """The people's head as emoca's FLAME, with its 68 landmarks."""
    geometry = FlameGeometry.from_arrays(head.flame_arrays())
    corners = landmark_corners(head)
    return FlameGeometry(
        **{
            **vars(geometry),
            "landmark_faces": torch.tensor([face for face, _ in corners]),
            "landmark_weights": torch.eye(3)[[corner for _, corner in corners]],
        }
    )


def export_pose(model: TwoHeads, config: EmocaConfig, path: Path) -> None:
    """Write a Lightning-style checkpoint {"state_dict": ...} of float16 tensors."""
    entries = checkpoint_entries(*model.encoders(config), head_geometry(head_model()))
    small: dict[str, Tensor] = {}
    for name, value in entries.items():
        if name == "deca.flame.posedirs" and not value.any():
            # All zero: one stored number, seen as the whole array.
            small[name] = torch.zeros(1, dtype=torch.float16).expand(value.shape)
        elif value.dtype == torch.int64:
            small[name] = value.int() if value.numel() > 1 else value
        else:
            small[name] = (value if "running" in name else value.half()).contiguous().clone()
    save_torch({"state_dict": small, "epoch": 0, "global_step": config.loop.steps}, path)
    deflate(path)  # most shape directions of the people's head are zero


@torch.no_grad()
def evaluate(model: TwoHeads, data: PeopleDataset, most: int = 600) -> dict[str, float]:
    """Errors on unseen people: rotation in degrees, jaw in radians, camera, correlations of shape and expression."""
    rng = np.random.default_rng(0)
    rows = np.flatnonzero(np.repeat(np.asarray(data.done), data.config.per_person))[:most]
    device = next(model.parameters()).device
    model.eval()
    guesses, truths = [], []
    for k in range(0, len(rows), 32):
        x, y = _batch([sample(data, int(row), rng, 0.01) for row in rows[k : k + 32]])
        flame, expression = model(x.to(device))
        flame[:, EXPRESSION] = expression
        guesses.append(flame.cpu())
        truths.append(y)
    guess, truth = torch.cat(guesses).numpy(), torch.cat(truths).numpy()
    angles = [
        np.degrees(np.linalg.norm(cv2.Rodrigues(cv2.Rodrigues(a)[0].T @ cv2.Rodrigues(b)[0])[0]))
        for a, b in zip(guess[:, TURN].astype(np.float64), truth[:, TURN].astype(np.float64), strict=True)
    ]
    shape = [correlation(guess[:, c], truth[:, c]) for c in range(N_CODES)]
    expression_columns = range(EXPRESSION.start, EXPRESSION.start + N_EXPRESSION)
    return {
        "pictures": float(len(rows)),
        "rotation_degrees": float(np.mean(angles)),
        "jaw_open_radians": float(np.abs(guess[:, JAW.start] - truth[:, JAW.start]).mean()),
        "camera_scale_percent": float((np.abs(guess[:, 206] / truth[:, 206] - 1)).mean() * 100),
        "shape_correlation": float(np.mean(shape)),
        "expression_correlation": float(np.mean([correlation(guess[:, c], truth[:, c]) for c in expression_columns])),
    }
