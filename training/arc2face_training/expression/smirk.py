"""The expression encoder in SMIRK's architecture: trained to read the person's 55 numbers off a face crop.

Crops and channel order are those of the product (`arc2face.expression.smirk`): 1.4 times the face box, B, G, R. Most
steps run at 112 pixels, which costs a quarter; the last ones at the 224 pixels of use, so that the features settle.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from arc2face.expression.network import ExpressionNet, to_adapter_order
from arc2face.expression.smirk import CROP_SIZE, KEY_PREFIX, crop_points, crop_transform
from arc2face_training.common import augment
from arc2face_training.common.checkpoint import averaged_state, save_torch
from arc2face_training.common.exports import put_into_bundle, write_json
from arc2face_training.common.loop import Batch, Loop, Objective, Turn, total
from arc2face_training.common.memory import layout_of
from arc2face_training.common.session import Session
from arc2face_training.common.settings import FaceLoopConfig
from arc2face_training.common.world import EXPRESSION_COLUMNS, PeopleDataset, open_dataset, random_rows

Float32 = NDArray[np.float32]
FILE_NAME = "SMIRK_em1.pt"
USED = len(EXPRESSION_COLUMNS)


@dataclass(frozen=True)
class SmirkConfig:
    """`small_share`: share of the steps at `small` pixels; `jitter`: error of the landmarks, share of the face.

    `start`: a checkpoint of another run to begin with. The weights are of the squared errors: expression components
    are about 1 in size, eyelids too, jaw rotations 0.3 at most.
    """

    data: Path = Path("data/people_train")
    evaluation: Path = Path("data/people_eval")
    small: int = 112
    small_share: float = 0.75
    jitter: float = 0.015
    start: Path | None = None
    expression_weight: float = 1.0
    eyelid_weight: float = 4.0
    jaw_weight: float = 60.0
    output: Path | None = None
    loop: FaceLoopConfig = field(default_factory=lambda: FaceLoopConfig(steps=1200, batch_size=16, learning_rate=2e-3))


def sample_crop(
    data: PeopleDataset, row: int, rng: np.random.Generator, jitter: float, size: int = CROP_SIZE
) -> NDArray[np.uint8]:
    """The network's input (size, size, 3) uint8 B, G, R for one picture, cut by slightly wrong landmarks."""
    points = data.labels[row, 58:194].reshape(68, 2).astype(np.float64)
    side = float(np.ptp(points[:, 0]) + np.ptp(points[:, 1])) / 2
    # A detector errs both per point and as a whole.
    wrong = points + rng.normal(0, jitter, points.shape) * side + rng.normal(0, jitter, 2) * side
    matrix = crop_transform(crop_points(wrong))[:2] * (size / CROP_SIZE)
    crop = cv2.warpAffine(np.asarray(data.rgb[row]), matrix, (size, size), flags=cv2.INTER_LINEAR)
    return np.ascontiguousarray(crop[:, :, ::-1])


def to_batch(crops: list[NDArray[np.uint8]]) -> Tensor:
    """(B, 3, s, s) float32 in 0..1."""
    return torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 255


class SmirkObjective(Objective):
    """Weighted squared errors of the 55 numbers of a batch of `pixels`, against `numbers`."""

    def __init__(self, model: ExpressionNet, config: SmirkConfig) -> None:
        super().__init__()
        self.model = model
        self.layout = layout_of(model)
        weights = torch.full((55,), config.expression_weight)
        weights[USED:50], weights[50:52], weights[52:] = 0.1, config.eyelid_weight, config.jaw_weight
        self.register_buffer("weights", weights / USED, persistent=False)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Loss `numbers`."""
        x = (augment.noise(augment.focus(augment.photometric(2 * batch["pixels"] - 1), 0.4)) + 1) / 2
        found = self.model(x.contiguous(memory_format=self.layout))
        return total({"numbers": ((found - batch["numbers"]) ** 2 * self.weights).sum(1).mean()})


def train(config: SmirkConfig, out: Path, resume: bool = True) -> dict[str, float]:
    """Train (a piece); measure on unseen people and write `SMIRK_em1.pt` (flat dict, float16) when finished."""
    session, data = Session(config.loop), open_dataset(config.data)
    torch.manual_seed(config.loop.seed)
    model = ExpressionNet()
    model = model.to(memory_format=layout_of(model))
    if config.start:
        model.load_state_dict(averaged_state(config.start))
    loop = Loop(session, SmirkObjective(model, config), out, config, resume)

    def draw(turn: Turn, n: int) -> Batch:
        size = config.small if turn.progress < config.small_share else CROP_SIZE
        rows = random_rows(data, turn.rng, n)
        x = to_batch([sample_crop(data, row, turn.rng, config.jitter, size) for row in rows])
        return {"pixels": x, "numbers": torch.from_numpy(np.asarray(data.labels[rows, :55], np.float32))}

    outcome = loop.run(draw)
    figures = outcome.figures()
    if outcome.export:
        with loop.average.applied():
            figures |= evaluate(model.eval(), open_dataset(config.evaluation))
            export_expression(model, out / FILE_NAME)
        put_into_bundle(out / FILE_NAME, config.output, f"smirk/{FILE_NAME}")
        write_json(out / "figures.json", figures)
    return figures


def export_expression(model: nn.Module, path: Path) -> None:
    """Write the state dict with SMIRK's key prefix; weights float16, batch-norm statistics float32."""
    state: dict[str, Tensor] = {}
    for name, value in model.state_dict().items():
        # Running statistics can leave float16's range; they are small anyway.
        halve = value.is_floating_point() and "running" not in name
        state[KEY_PREFIX + name] = (value.half() if halve else value).detach().cpu().contiguous().clone()
    save_torch(state, path)


@torch.no_grad()
def evaluate(model: nn.Module, data: PeopleDataset, most: int = 600) -> dict[str, float]:
    """Correlation per number on unseen people, at the size of use."""
    rng = np.random.default_rng(0)
    rows = np.flatnonzero(np.repeat(np.asarray(data.done), data.config.per_person))[:most]
    device = next(model.parameters()).device
    guesses = [
        to_adapter_order(model(to_batch([sample_crop(data, int(r), rng, 0.01) for r in rows[k : k + 32]]).to(device)))
        for k in range(0, len(rows), 32)
    ]
    guess, truth = torch.cat(guesses).cpu().numpy(), np.asarray(data.labels[rows, :55])
    names = [*EXPRESSION_COLUMNS, "eyelid_left", "eyelid_right", "jaw_open", "jaw_side"]
    columns = [*range(USED), 50, 51, 52, 53]
    return {name: correlation(guess[:, c], truth[:, c]) for name, c in zip(names, columns, strict=True)}


def correlation(a: Float32, b: Float32) -> float:
    """Pearson's, 0 when either does not vary."""
    if a.std() < 1e-8 or b.std() < 1e-8:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])
