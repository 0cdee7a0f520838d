"""The recogniser: 112-pixel crop to a 512-number identity embedding, exported as `antelopev2/arcface.onnx`.

Loss: additive angular margin softmax (ArcFace, Deng et al. 2019, eq. 3). Our addition: a linear layer on the
embedding regresses the avatar's shape and appearance numbers, so that the embedding holds what an image generator
needs, in a form that is easy to read. The layer is dropped at export.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from training.common import augment
from training.common.world import N_ATTRIBUTES
from training.faces.loop import Loop, LoopConfig, put_into_bundle
from training.faces.onnx_export import export
from training.faces.people import AvatarPeople, PhotoPeople

EMBEDDING = 512
CROP = 112


@dataclass(frozen=True)
class RecogniserConfig:
    """Data folders written by `training.avatars.dataset`, network widths, the loss; `output`: a models folder.

    `photos`: a folder tree (one folder per person) or WebDataset tar files of 112-pixel crops aligned on the ArcFace
    template, in place of the avatars; every twentieth person is kept for evaluation. `stem_stride`: 4 for pictures that
    were small before the crop, 2 for photos.
    """

    data: tuple[str, ...] = ("data/avatars_train",)
    evaluation: str = "data/avatars_eval"
    widths: tuple[int, ...] = (24, 48, 96, 160)
    blocks: tuple[int, ...] = (1, 1, 2, 1)
    stem_stride: int = 4
    photos: str = ""
    scale: float = 24.0
    margin: float = 0.3
    attribute_weight: float = 2.0
    output: str = ""
    loop: LoopConfig = field(default_factory=lambda: LoopConfig(steps=1200, batch_size=64, learning_rate=2.5e-3))


class Block(nn.Module):
    """The residual block of IResNet, with the stride on the first convolution to save time."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(before),
            nn.Conv2d(before, after, 3, stride, 1, bias=False),
            nn.BatchNorm2d(after),
            nn.PReLU(after),
            nn.Conv2d(after, after, 3, 1, 1, bias=False),
            nn.BatchNorm2d(after),
        )
        self.skip: nn.Module = nn.Identity()
        if stride > 1 or before != after:
            self.skip = nn.Sequential(nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after))

    def forward(self, x: Tensor) -> Tensor:
        """Residual sum."""
        return self.body(x) + self.skip(x)


class Recogniser(nn.Module):
    """(B, 3, 112, 112) in -1..1 to (B, 512); the last batch norm has no scale, so norms are near sqrt(512) = 22.6."""

    def __init__(
        self,
        widths: tuple[int, ...] = (24, 48, 96, 160),
        blocks: tuple[int, ...] = (1, 1, 2, 1),
        stem_stride: int = 4,
    ) -> None:
        super().__init__()
        # The avatars' crops come from pictures of 128 pixels: finer detail is not to be relied on, hence 4 at once.
        self.stem = nn.Sequential(
            nn.Conv2d(3, widths[0], 7, stem_stride, 3, bias=False), nn.BatchNorm2d(widths[0]), nn.PReLU(widths[0])
        )
        layers: list[nn.Module] = []
        before, side = widths[0], CROP // stem_stride
        for index, (after, count) in enumerate(zip(widths, blocks, strict=True)):
            layers.append(Block(before, after, 1 if index == 0 else 2))
            layers += [Block(after, after, 1) for _ in range(count - 1)]
            before, side = after, side if index == 0 else (side + 1) // 2
        self.layers = nn.Sequential(*layers)
        self.normalise = nn.BatchNorm2d(widths[-1])
        self.project = nn.Linear(widths[-1] * side * side, EMBEDDING)
        self.features = nn.BatchNorm1d(EMBEDDING, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        """Embedding, not normalised."""
        x = self.normalise(self.layers(self.stem(x)))
        return self.features(self.project(x.flatten(1)))


class Heads(nn.Module):
    """Class centres of the margin softmax and the attribute regression; used in training only."""

    def __init__(self, people: int, attributes: int) -> None:
        super().__init__()
        self.centres = nn.Parameter(torch.randn(people, EMBEDDING) * 0.02)
        self.attributes = nn.Linear(EMBEDDING, attributes)


def margin_logits(cosines: Tensor, labels: Tensor, margin: float, scale: float) -> Tensor:
    """scale * cos(theta + margin) for the right class, scale * cos(theta) for the others."""
    target = cosines.gather(1, labels[:, None]).clamp(-1 + 1e-6, 1 - 1e-6)
    moved = torch.cos(torch.arccos(target) + margin)
    # Beyond pi the cosine would rise again; continue it linearly.
    moved = torch.where(target > -np.cos(margin), moved, target - margin * np.sin(margin))
    return scale * cosines.scatter(1, labels[:, None], moved.to(cosines.dtype))


def to_batch(pictures: NDArray[np.uint8]) -> Tensor:
    """(B, H, W, 3) uint8 RGB to (B, 3, H, W) float32 in -1..1."""
    return torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


def train(config: RecogniserConfig, out: Path, resume: bool = True, until: int | None = None) -> dict[str, float]:
    """Train, evaluate on unseen people and export `arcface.onnx` into `out`; returns the figures."""
    people = PhotoPeople(config.photos) if config.photos else AvatarPeople(config.data)
    held_out = people.held_out(config.evaluation)  # before the work: it may not be usable
    model = Recogniser(config.widths, config.blocks, config.stem_stride)
    heads = Heads(len(people), N_ATTRIBUTES)
    model = model.to(memory_format=torch.channels_last)
    loop = Loop(config.loop, model, out, heads)
    device = loop.device

    def losses(step: int, rng: np.random.Generator) -> dict[str, Tensor]:
        crops, classes, attributes = people.sample(rng, config.loop.batch_size)
        x, labels = to_batch(crops).to(device), torch.from_numpy(classes).to(device)
        x = augment.noise(augment.focus(augment.photometric(augment.jitter(x))))
        embedding = F.normalize(model(x.contiguous(memory_format=torch.channels_last)))
        cosines = embedding @ F.normalize(heads.centres).T
        progress = step / config.loop.steps
        margin = config.margin * float(np.clip((progress - 0.1) / 0.4, 0, 1))
        identity = F.cross_entropy(margin_logits(cosines, labels, margin, config.scale), labels)
        attribute = F.mse_loss(heads.attributes(embedding * EMBEDDING**0.5), torch.from_numpy(attributes).to(device))
        accuracy = (cosines.argmax(1) == labels).float().mean()
        return {"identity": identity, "attributes": config.attribute_weight * attribute, "_accuracy": accuracy}

    averaged = loop.run(losses, resume=resume, until=until)
    figures = evaluate(averaged, held_out)
    (out / "figures.json").write_text(json.dumps(figures, indent=2))
    export_recogniser(averaged, out / "arcface.onnx")
    put_into_bundle(out / "arcface.onnx", config.output, "antelopev2/arcface.onnx")
    return figures


def export_recogniser(model: nn.Module, path: Path) -> None:
    """Write the ONNX file that insightface's ArcFaceONNX loads (mean and deviation 127.5)."""
    example = torch.zeros(2, 3, CROP, CROP)
    export(model, example, path, ["input"], ["embedding"], {"x": {0: torch.export.Dim("batch")}})


@torch.no_grad()
def embed_all(model: nn.Module, crops: NDArray[np.uint8], batch: int = 128) -> Tensor:
    """Embeddings (n, 512) of uint8 RGB crops."""
    model.eval()
    device = next(model.parameters()).device
    parts = [model(to_batch(crops[k : k + batch]).to(device)).cpu() for k in range(0, len(crops), batch)]
    return torch.cat(parts)


def evaluate(model: nn.Module, held_out: tuple[NDArray[np.uint8], NDArray[np.int64]]) -> dict[str, float]:
    """Verification and retrieval on crops (n, 112, 112, 3) and numbers (n,) of people never trained on."""
    raw = embed_all(model, held_out[0])
    return {
        "norm": float(raw.norm(dim=1).mean()),
        **verification(F.normalize(raw), torch.from_numpy(held_out[1])),
    }


def verification(embeddings: Tensor, labels: Tensor) -> dict[str, float]:
    """Figures from unit embeddings (n, 512) and person numbers (n,)."""
    cosines = embeddings @ embeddings.T
    same = labels[:, None] == labels[None]
    alike = cosines[same & ~torch.eye(len(labels), dtype=torch.bool)].numpy()
    different = cosines[~same].numpy()
    thresholds = np.linspace(-0.2, 0.9, 221)
    accuracy = [(np.mean(alike > t) + np.mean(different < t)) / 2 for t in thresholds]
    best = int(np.argmax(accuracy))
    cosines.fill_diagonal_(-1)
    rank1 = (labels[cosines.argmax(1)] == labels).float().mean()
    values = torch.linalg.svdvals(embeddings - embeddings.mean(0)) ** 2
    share = values / values.sum()
    return {
        "people": float(len(labels.unique())),
        "accuracy": float(accuracy[best]),
        "threshold": float(thresholds[best]),
        "cosine_same": float(alike.mean()),
        "cosine_different": float(different.mean()),
        "cosine_different_deviation": float(different.std()),
        "tar_at_far_1e-2": float(np.mean(alike > np.quantile(different, 0.99))),
        "tar_at_far_1e-3": float(np.mean(alike > np.quantile(different, 0.999))),
        "rank1": float(rank1),
        "effective_dimension": float(1 / (share**2).sum()),
    }
