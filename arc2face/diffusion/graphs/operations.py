"""Which form of norm, layout and attention a card runs fastest: measured once, decided by one rule.

Nothing here is believed beforehand. The plain form stays unless another one is clearly faster, agrees with it, and does
not fail; what was chosen is logged, and stays for as long as the program runs, so that the same request meets the same
kernels.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from arc2face.diffusion.forward import PlainOperations
from arc2face.diffusion.graphs.backend import Action

log = logging.getLogger(__name__)

GAIN = 0.97
"""Another form has to need less than this share of the plain one's time; what is closer is noise."""
AGREEMENT = 5e-3
"""Largest relative difference to the plain form's result, in half precision."""
KERNELS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
}
Timer = Callable[[Action], float]
"""Seconds that one call takes on the device."""


class FusedOperations(PlainOperations):
    """The Triton kernels in place of the plain norm and GEGLU, and the attention kernel that was measured per shape.

    `fused`: whether norm and GEGLU are Triton's. `attention`: (query tokens, key tokens, head width) -> kernel.
    """

    def __init__(self, fused: bool, attention: Mapping[tuple[int, int, int], str] | None = None) -> None:
        self.fused = fused
        self.attention = dict(attention or {})

    def norm(self, x: Tensor, layer: nn.GroupNorm, *, silu: bool, time: Tensor | None = None) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        if not self.fused:
            return super().norm(x, layer, silu=silu, time=time)
        from arc2face.diffusion.graphs.kernels import group_norm

        return group_norm(x, layer, silu, time)

    def gated(self, x: Tensor) -> Tensor:
        """(B, L, 2 W) -> (B, L, W)."""
        if not self.fused:
            return super().gated(x)
        from arc2face.diffusion.graphs.kernels import geglu

        return geglu(x)

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """(B, heads, L, head width) -> the same."""
        chosen = self.attention.get((query.shape[2], key.shape[2], query.shape[3]))
        with nullcontext() if chosen is None else sdpa_kernel(KERNELS[chosen]):
            return functional.scaled_dot_product_attention(query, key, value)


@dataclass(frozen=True)
class Choice:
    """`channels_last`: the networks' layout. `operations`: how they compute. `seconds`: what was measured, by arm."""

    channels_last: bool
    operations: FusedOperations
    seconds: Mapping[str, float] = field(default_factory=dict[str, float])

    def apply_to(self, forward: Any, network: nn.Module) -> None:
        """Make an own forward of `network`, and the network's layout, what was chosen."""
        forward.ops = self.operations
        layout = torch.channels_last if self.channels_last else torch.contiguous_format
        if not all(weight.is_contiguous(memory_format=layout) for weight in network.parameters() if weight.ndim == 4):
            network.to(memory_format=layout)  # pyright: ignore[reportCallIssue]


def fastest(arms: Mapping[str, Callable[[], Tensor]], timer: Timer) -> tuple[str, dict[str, float]]:
    """The arm to use, and every arm's seconds. The first one is the plain form, which the others are held against.

    An arm that fails or disagrees is out; one that gains less than 3 % is not worth the change.
    """
    names = list(arms)
    wanted = arms[names[0]]().float()
    seconds: dict[str, float] = {}
    for name, arm in arms.items():
        try:
            made = arm().float()
            gap = float((made - wanted).norm() / wanted.norm().clamp(min=1e-6))
            if gap == gap and gap <= AGREEMENT:
                seconds[name] = timer(lambda arm=arm: _run(arm))
            else:
                log.warning("%s is not used: it differs by %.1e", name, gap)
        except (
            Exception
        ) as error:  # a kernel that this card, driver or triton does not have, in whatever way it says so
            log.info("%s is not used: %s", name, str(error).splitlines()[0] if str(error) else type(error).__name__)
    best = min(seconds, key=lambda name: seconds[name], default=names[0])
    plain = seconds.get(names[0], float("inf"))
    return (best if seconds.get(best, plain) < GAIN * plain else names[0]), seconds


def choose(network: nn.Module, size: tuple[int, int], rows: int, timer: Timer) -> Choice:
    """Measure on one ResNet and one attention of `network` (a UNet on the card). `size`: latent (h, w); `rows`: B."""
    weight = next(network.parameters())
    with torch.no_grad():
        layout, seconds = fastest(_layouts(network, weight, size, rows), timer)
        attention = _attentions(network, weight, size, rows, timer)
    log.info("measured here: %s of %s; attention %s", layout, _milliseconds(seconds), attention)
    return Choice(layout != "plain", FusedOperations(layout == "fused", attention), seconds)


def _layouts(network: Any, weight: Tensor, size: tuple[int, int], rows: int) -> dict[str, Callable[[], Tensor]]:
    """A ResNet's first half in each layout, on copies, so that the network itself stays as it is."""
    resnet = network.down_blocks[0].resnets[0]
    generator = torch.Generator().manual_seed(0)
    x = torch.randn((rows, resnet.norm1.num_channels, *size), generator=generator).to(weight.device, weight.dtype)
    last: Any = copy.deepcopy(resnet).to(memory_format=torch.channels_last)
    wide = x.contiguous(memory_format=torch.channels_last)
    plain, fused = FusedOperations(False), FusedOperations(True)

    def arm(layer: Any, given: Tensor, ops: FusedOperations) -> Callable[[], Tensor]:
        return lambda: layer.conv2(
            ops.norm(layer.conv1(ops.norm(given, layer.norm1, silu=True)), layer.norm2, silu=True)
        )

    return {"plain": arm(resnet, x, plain), "channels_last": arm(last, wide, plain), "fused": arm(last, wide, fused)}


def _attentions(
    network: Any, weight: Tensor, size: tuple[int, int], rows: int, timer: Timer
) -> dict[tuple[int, int, int], str]:
    """The kernel of every (tokens, head width) of the self-attentions, where one beats torch's own choice."""
    chosen: dict[tuple[int, int, int], str] = {}
    tokens = size[0] * size[1]
    for stage in network.down_blocks:
        for transformer in list(getattr(stage, "attentions", ()))[:1]:
            heads = transformer.transformer_blocks[0].attn1.heads
            width = transformer.transformer_blocks[0].attn1.to_q.out_features // heads
            qkv = tuple(torch.randn((3, rows, heads, tokens, width), device=weight.device, dtype=weight.dtype))
            shape = tokens, tokens, width
            arms = {"torch's own": partial(FusedOperations(False).attend, *qkv)}
            arms |= {name: partial(FusedOperations(False, {shape: name}).attend, *qkv) for name in KERNELS}
            best, _ = fastest(arms, timer)
            if best in KERNELS:
                chosen[shape] = best
        tokens = -(-tokens // 4)
    return chosen


def cuda_timer(action: Action, repeats: int = 20) -> float:
    """Median seconds of `action` on the current CUDA device."""
    for _ in range(3):
        action()
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(repeats + 1)]
    marks[0].record()
    for mark in marks[1:]:
        action()
        mark.record()
    torch.cuda.synchronize()
    spans = sorted(one.elapsed_time(two) for one, two in pairwise(marks))
    return spans[len(spans) // 2] / 1000


def _run(arm: Callable[[], Tensor]) -> None:
    arm()


def _milliseconds(seconds: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {1000 * spent:.3f} ms" for name, spent in seconds.items())
