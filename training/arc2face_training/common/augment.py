"""Changes of light, focus and position that a face network must not mind. Batches are (B, 3, H, W) in -1..1."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def photometric(x: Tensor, strength: float = 1.0) -> Tensor:
    """Brightness, contrast and a slight tint, different per picture."""
    n, device = len(x), x.device
    gain = 1 + strength * (torch.rand(n, 1, 1, 1, device=device) - 0.5) * 0.4
    tint = 1 + strength * (torch.rand(n, 3, 1, 1, device=device) - 0.5) * 0.10
    mean = x.mean((2, 3), keepdim=True)
    contrast = 1 + strength * (torch.rand(n, 1, 1, 1, device=device) - 0.5) * 0.3
    return (((x - mean) * contrast + mean + 1) * gain * tint - 1).clamp(-1, 1)


def grey(x: Tensor, share: float = 0.15) -> Tensor:
    """Part of the batch without colour, as old photos are."""
    chosen = torch.rand(len(x), 1, 1, 1, device=x.device) < share
    weights = torch.tensor([0.299, 0.587, 0.114], device=x.device).view(1, 3, 1, 1)
    return torch.where(chosen, (x * weights).sum(1, keepdim=True).expand_as(x), x)


def covered(x: Tensor, share: float = 0.2, most: float = 0.4) -> Tensor:
    """Part of the batch with a rectangle of one colour before it: hands, masks, dark glasses, hair."""
    n, height, width = len(x), *x.shape[-2:]
    size, place = torch.rand(n, 2, device=x.device) * most, torch.rand(n, 2, device=x.device)
    chosen = torch.rand(n, 1, 1, 1, device=x.device) < share
    inside = chosen
    for axis, length in enumerate((height, width)):
        at = (torch.arange(length, device=x.device) / length)[None]
        within = ((at - place[:, axis, None]).abs() < size[:, axis, None] / 2).view(
            n, 1, *((-1, 1) if axis == 0 else (1, -1))
        )
        inside = inside & within
    return torch.where(inside, torch.rand(n, 3, 1, 1, device=x.device) * 2 - 1, x)


def focus(x: Tensor, share: float = 0.5) -> Tensor:
    """Blur or sharpen part of the batch, as resizing, generation and real cameras do."""
    n, out = len(x), x.clone()
    order = torch.randperm(n, device=x.device)[: max(1, int(n * share))]
    soft_part, softer_part, sharp_part = order.tensor_split(3)
    out[soft_part] = _blurred(x[soft_part])
    if len(softer_part):
        small = F.avg_pool2d(x[softer_part], 2)
        out[softer_part] = F.interpolate(small, size=x.shape[-2:], mode="bilinear", align_corners=False)
    if len(sharp_part):
        picked = x[sharp_part]
        amount = 0.8 * torch.rand(len(picked), 1, 1, 1, device=x.device)
        out[sharp_part] = (picked + amount * (picked - _blurred(picked))).clamp(-1, 1)
    return out


def _blurred(x: Tensor) -> Tensor:
    return F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)


def noise(x: Tensor, most: float = 0.08) -> Tensor:
    """Gaussian noise of a random strength per picture."""
    return x + torch.randn_like(x) * (torch.rand(len(x), 1, 1, 1, device=x.device) * most)


def jitter(x: Tensor, shift: float = 0.03, scale: float = 0.04, turn: float = 0.05) -> Tensor:
    """Small similarity transforms; `shift` is a share of the picture, `turn` in radians."""
    n, device = len(x), x.device

    def spread(most: float) -> Tensor:
        return (torch.rand(n, device=device) * 2 - 1) * most

    size, angle = 1 + spread(scale), spread(turn)
    cos, sin = size * torch.cos(angle), size * torch.sin(angle)
    theta = torch.stack([cos, -sin, 2 * spread(shift), sin, cos, 2 * spread(shift)], 1).view(n, 2, 3)
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)
