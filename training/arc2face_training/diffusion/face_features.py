"""A perceptual loss from our own recogniser: how far apart two pictures are in what its layers see.

As LPIPS (arXiv 1801.03924), without learned weights: features of each stage, of unit length per position, squared
differences. Seen are the aligned face, as the recogniser knows it, and one random part at the picture's own scale.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from arc2face_training.common.world import CROP_POINTS, CROP_SIZE
from arc2face_training.faces.recogniser import Recogniser, trained_recogniser


class FaceFeatures(nn.Module):
    """Distance of picture pairs in the features of a frozen recogniser."""

    def __init__(self, recogniser: Recogniser) -> None:
        super().__init__()
        self.recogniser = recogniser.requires_grad_(False).eval()
        self.register_buffer("template", torch.from_numpy(CROP_POINTS.copy()), persistent=False)

    @classmethod
    def of(cls, checkpoint: Path) -> FaceFeatures:
        """From a recogniser's training checkpoint (an ONNX file has no gradients)."""
        return cls(trained_recogniser(checkpoint))

    def train(self, mode: bool = True) -> FaceFeatures:
        """Stays in evaluation mode: its batch norms must not follow the pictures."""
        return super().train(False)

    def forward(self, real: Tensor, made: Tensor, points: Tensor | None) -> Tensor:
        """Scalar distance of (B, 3, S, S) in -1..1; `points` (B, 5, 2) in pixels of both."""
        grids = [_random_grid(real)] if points is None else [_random_grid(real), self._aligned_grid(real, points)]
        views = [torch.cat([_cut(x, grid) for grid in grids]) for x in (real, made)]
        with torch.no_grad():
            wanted = self._stages(views[0])
        parts = [(a - b).square().sum(1).mean() for a, b in zip(self._stages(views[1]), wanted, strict=True)]
        return torch.stack(parts).mean()

    def _stages(self, x: Tensor) -> list[Tensor]:
        x = self.recogniser.stem(x)
        found = [x]
        for layer in self.recogniser.layers:
            x = layer(x)
            found.append(x)
        return [functional.normalize(stage, dim=1) for stage in found]

    def _aligned_grid(self, x: Tensor, points: Tensor) -> Tensor:
        """Sampling grid of the recogniser's crop: inverse of the similarity from the points to its template."""
        template, size = self.template, x.shape[-1]
        source, target = points - points.mean(1, keepdim=True), template - template.mean(0)
        a = (source * target).sum((1, 2))
        b = (source[..., 0] * target[:, 1] - source[..., 1] * target[:, 0]).sum(1)
        # The similarity is [[a, -b], [b, a]] over the points' norm.
        a, b = (part * source.square().sum((1, 2)) / (a**2 + b**2) for part in (a, b))
        linear = torch.stack([torch.stack([a, b], 1), torch.stack([-b, a], 1)], 1)
        pixel = torch.arange(CROP_SIZE, device=x.device, dtype=x.dtype)
        place = torch.stack(torch.meshgrid(pixel, pixel, indexing="xy"), -1) - template.mean(0)
        where = torch.einsum("nij,hwj->nhwi", linear, place) + points.mean(1)[:, None, None]
        return 2 * where / size - 1  # points count pixel centres at half integers


def _random_grid(x: Tensor) -> Tensor:
    """A part of CROP_SIZE pixels at the picture's own scale (smaller pictures: all of them, resized)."""
    n, size = len(x), x.shape[-1]
    share = min(1.0, CROP_SIZE / size)
    theta = torch.zeros(n, 2, 3, device=x.device)
    theta[:, 0, 0] = theta[:, 1, 1] = share
    theta[:, :, 2] = (torch.rand(n, 2, device=x.device) * 2 - 1) * (1 - share)
    return functional.affine_grid(theta, [n, 3, CROP_SIZE, CROP_SIZE], align_corners=False)


def _cut(x: Tensor, grid: Tensor) -> Tensor:
    return functional.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)
