"""A small patch critic for the VAE's decoder: the adversarial loss of arXiv 2012.09841, kept small.

The decoder's gradient from the critic never exceeds `cap` times that of the reconstruction (measured at the last
layer), so that it sharpens and does not invent.
"""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional


class PatchCritic(nn.Module):
    """(B, 3, S, S) to a map of scores, one per patch of about 46 pixels."""

    def __init__(self, width: int = 24) -> None:
        super().__init__()
        widths = (3, width, 2 * width, 4 * width)
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, 4, 2, 1), nn.LeakyReLU(0.2)]
        self.body = nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Higher for pictures that look real."""
        return self.body(x)

    def losses(self, real: Tensor, made: Tensor) -> tuple[Tensor, Tensor]:
        """(critic's own hinge loss, which reaches the critic only; score for the maker, which reaches `made` only)."""
        own = functional.relu(1 - self(real)).mean() + functional.relu(1 + self(made.detach())).mean()
        fixed = {name: p.detach() for name, p in self.named_parameters()}
        return own, -cast(Tensor, functional_call(self, fixed, (made,))).mean()


def capped(adversarial: Tensor, other: Tensor, last: nn.Parameter, cap: float) -> Tensor:
    """Factor for `adversarial` with which its gradient at `last` is at most `cap` times that of `other`."""
    (wanted,) = torch.autograd.grad(other, last, retain_graph=True)
    (pushed,) = torch.autograd.grad(adversarial, last, retain_graph=True)
    return (cap * wanted.norm() / (pushed.norm() + 1e-8)).clamp(max=1.0).detach()


def same_part(real: Tensor, made: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """One random square of `side` pixels, the same of both."""
    size = real.shape[-1]
    if side >= size:
        return real, made
    y, x = (int(k) for k in torch.randint(0, size - side + 1, (2,)))
    return real[..., y : y + side, x : x + side], made[..., y : y + side, x : x + side]
