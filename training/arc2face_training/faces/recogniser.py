"""The recogniser: 112-pixel crop to a 512-number identity embedding, exported as `antelopev2/arcface.onnx`.

Loss: additive angular margin softmax (ArcFace, Deng et al. 2019, eq. 3). Our addition: a linear layer on the
embedding regresses the person's shape and appearance numbers, so that the embedding holds what an image generator
needs, in a form that is easy to read. The layer is dropped at export.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from arc2face_training.common import augment
from arc2face_training.common.checkpoint import averaged_state, load_torch
from arc2face_training.common.errors import TrainingError
from arc2face_training.common.exports import put_into_bundle, write_json
from arc2face_training.common.loop import Batch, Loop, Objective, Turn, total
from arc2face_training.common.memory import layout_of
from arc2face_training.common.session import Session
from arc2face_training.common.settings import FaceLoopConfig
from arc2face_training.common.world import n_attributes
from arc2face_training.faces.onnx_export import export
from arc2face_training.faces.people import PhotoPeople, RenderedPeople

EMBEDDING = 512
CROP = 112


@dataclass(frozen=True)
class RecogniserConfig:
    """Data folders written by `arc2face_training.people.dataset`, network widths, the loss; `output`: a models folder.

    `photos`: a folder tree (one folder per person) or WebDataset tar files of 112-pixel crops aligned on the ArcFace
    template, in place of rendered people; every twentieth person is kept for evaluation. `stem_stride`: 4 for
    pictures that were small before the crop, 2 for photos. `sampled_classes`: other people that a step compares with,
    drawn anew each time (Partial FC, arXiv 2203.15565); 0 for all of them, which with a million people takes 4 KB per
    picture and thousand people.
    """

    data: tuple[Path, ...] = (Path("data/people_train"),)
    evaluation: Path = Path("data/people_eval")
    widths: tuple[int, ...] = (24, 48, 96, 160)
    blocks: tuple[int, ...] = (1, 1, 2, 1)
    stem_stride: int = 4
    photos: Path | None = None
    scale: float = 24.0
    margin: float = 0.3
    attribute_weight: float = 2.0
    sampled_classes: int = 0
    output: Path | None = None
    loop: FaceLoopConfig = field(
        default_factory=lambda: FaceLoopConfig(steps=1200, batch_size=64, learning_rate=2.5e-3)
    )


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


def some_classes(centres: Tensor, labels: Tensor, others: int) -> tuple[Tensor, Tensor]:
    """The rows of `centres` that a step uses, the right ones and so many random others, and the labels among them."""
    if not 0 < others < len(centres) - len(labels):
        return centres, labels
    drawn = torch.randint(len(centres), (others,), device=labels.device)
    chosen = torch.unique(torch.cat([labels, drawn]))
    return centres[chosen], torch.searchsorted(chosen, labels)


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


class RecogniserObjective(Objective):
    """Margin softmax over `classes` and regression of `attributes` for a batch of `crops` (n, 112, 112, 3) uint8."""

    def __init__(self, model: Recogniser, heads: Heads, config: RecogniserConfig) -> None:
        super().__init__()
        self.model, self.heads, self.config = model, heads, config
        self.layout = layout_of(model)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Losses `identity` and `attributes`; `accuracy` of the batch."""
        x = batch["crops"].permute(0, 3, 1, 2).float() / 127.5 - 1
        x = augment.covered(augment.grey(augment.photometric(augment.jitter(x))))
        x = augment.noise(augment.focus(x))
        embedding = F.normalize(self.model(x.contiguous(memory_format=self.layout)).float())
        centres, labels = some_classes(self.heads.centres, batch["classes"], self.config.sampled_classes)
        cosines = embedding @ F.normalize(centres).T
        # The margin grows after the first tenth of the run.
        margin = self.config.margin * float(((batch["progress"] - 0.1) / 0.4).clamp(0, 1))
        identity = F.cross_entropy(margin_logits(cosines, labels, margin, self.config.scale), labels)
        attribute = F.mse_loss(self.heads.attributes(embedding * EMBEDDING**0.5), batch["attributes"])
        accuracy = (cosines.argmax(1) == labels).float().mean()
        parts = {"identity": identity, "attributes": self.config.attribute_weight * attribute}
        return total(parts, accuracy=accuracy)


def train(config: RecogniserConfig, out: Path, resume: bool = True) -> dict[str, float]:
    """Train (a piece); evaluate on unseen people and export `arcface.onnx` into `out` when finished."""
    session = Session(config.loop)
    people = PhotoPeople(config.photos, session) if config.photos else RenderedPeople(config.data)
    held_out = people.held_out(config.evaluation)  # before the work: it may not be usable
    torch.manual_seed(config.loop.seed)
    model = Recogniser(config.widths, config.blocks, config.stem_stride)
    model = model.to(memory_format=layout_of(model))
    objective = RecogniserObjective(model, Heads(len(people), n_attributes()), config)
    loop = Loop(session, objective, out, config, resume)

    def draw(turn: Turn, n: int) -> Batch:
        names = ("crops", "classes", "attributes")
        arrays = dict(zip(names, map(torch.from_numpy, people.sample(turn.rng, n)), strict=True))
        return {**arrays, "progress": torch.tensor(turn.progress)}

    outcome = loop.run(draw)
    figures = outcome.figures()
    if outcome.export:
        with loop.average.applied():
            figures |= evaluate(model.eval(), held_out)
            export_recogniser(model, out / "arcface.onnx")
        put_into_bundle(out / "arcface.onnx", config.output, "antelopev2/arcface.onnx")
        write_json(out / "figures.json", figures)
    return figures


def trained_recogniser(checkpoint: Path) -> Recogniser:
    """The averaged network of a run's checkpoint, frozen, in evaluation mode."""
    settings = load_torch(checkpoint)["settings"]
    if settings.get("trainer") != "RecogniserConfig":
        raise TrainingError(f"{checkpoint} is not a recogniser's checkpoint. Train one: arc2face train recogniser")
    model = Recogniser(tuple(settings["widths"]), tuple(settings["blocks"]), int(settings["stem_stride"]))
    model.load_state_dict(averaged_state(checkpoint))
    return model.requires_grad_(False).eval()


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
