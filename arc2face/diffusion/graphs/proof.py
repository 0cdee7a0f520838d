"""Whether a table of numbers does what a diffusers sampler does, found out by running both.

A sampler that is linear in what it sees can be run on formal vectors: the start noise and the network's output at
every step are the axes of a space, and where it ends says how much of each went in. A run of 25 steps takes a few
milliseconds, and happens once per sampler, config and number of steps.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from arc2face.diffusion.schedulers import takes_generator

TOLERANCE = 1e-4
"""Largest difference per axis, relative to the largest share; the sampler's own float32 is off by about 1e-6."""


def follows(rows: Tensor, start: float, scheduler: Any) -> bool:
    """Whether `rows` (steps, 12) takes the same way as `scheduler`, whose run this uses up."""
    steps = len(scheduler.timesteps)
    axes = torch.eye(steps + 1, dtype=torch.float64)  # axis 0: the start noise; k + 1: the output at step k
    x = last = axes[0] * start
    m1 = m2 = torch.zeros_like(x)
    theirs = (axes[0] * start).float().reshape(1, -1, 1, 1)
    for k, timestep in enumerate(scheduler.timesteps):
        i, p, q, a_x, a_last, a_m, a_m1, a_m2, r, s, t, u = rows[k]
        seen = scheduler.scale_model_input(theirs, timestep)
        theirs, drawn = _step(scheduler, axes[k + 1].float().reshape(1, -1, 1, 1), timestep, theirs, k)
        m = p * x + q * axes[k + 1]
        c = a_x * x + a_last * last + a_m * m + a_m1 * m1 + a_m2 * m2
        if not _near(i * x, seen) or not _near(torch.stack([u]), torch.tensor([drawn])):
            return False
        x, last, m1, m2 = r * c + s * m + t * m1, c, m, m1
        if not _near(x, theirs):
            return False
    return True


def _step(scheduler: Any, output: Tensor, timestep: Tensor, sample: Tensor, number: int) -> tuple[Tensor, float]:
    """The sampler's own step without its noise, and how much noise it would have added."""
    # A seeded generator, because a sampler that draws anything must not touch the process's own random numbers.
    extra = {"generator": torch.Generator().manual_seed(0)} if takes_generator(scheduler) else {}
    after = scheduler.step(output, timestep, sample, **extra)
    denoised = getattr(after, "denoised", None)
    if denoised is None:
        return after.prev_sample, 0.0
    if number == len(scheduler.timesteps) - 1:
        return denoised, 0.0
    share = scheduler.alphas_cumprod[scheduler.timesteps[number + 1]]
    return share.sqrt() * denoised, float((1 - share).sqrt())


def _near(ours: Tensor, theirs: Tensor) -> bool:
    theirs = theirs.double().flatten()
    return bool(((ours - theirs).abs() <= TOLERANCE * theirs.abs().max().clamp(min=1e-3)).all())
