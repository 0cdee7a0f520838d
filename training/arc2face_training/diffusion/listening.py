"""Whether a network hears its conditions: a start in which it can, and figures that say how much it does.

A loss says little about it: most of a denoising loss is noise that nothing explains, so a run whose identity or normal
map has gone silent looks like any other for thousands of steps.
"""

from __future__ import annotations

import numpy as np
import torch
from diffusers import AutoencoderKL, ControlNetModel
from torch import Tensor, nn

from arc2face_training.common.sources import Source
from arc2face_training.diffusion.denoising_loss import DenoisingObjective
from arc2face_training.diffusion.latents import encode
from arc2face_training.diffusion.noise import amounts, target
from arc2face_training.diffusion.sampling import fixed_noise

TIMESTEPS = (600, 850)
PICTURES = 32


@torch.no_grad()
def level_hint(controlnet: ControlNetModel, normals: Tensor) -> None:
    """Scale each convolution that reads the normal map so that its output varies by about 1.

    `normals`: (n, 3, S, S) in 0..1, a few to measure on. With the usual random start the signal shrinks to a fifth at
    every layer, and what lies behind ten of them hears nothing. The last one stays zero (ControlNet, arXiv 2302.05543).
    """
    hint = controlnet.controlnet_cond_embedding
    signal = normals.to(hint.conv_in.weight.device)
    for layer in (hint.conv_in, *hint.blocks):
        found = layer(signal)
        spread, middle = found.std((0, 2, 3)).clamp_min(1e-6), found.mean((0, 2, 3))
        layer.weight.div_(spread[:, None, None, None])
        layer.bias.copy_((layer.bias - middle) / spread)
        signal = nn.functional.silu(layer(signal))


@torch.no_grad()
def gains(objective: DenoisingObjective, vae: AutoencoderKL, source: Source, device: torch.device) -> dict[str, float]:
    """Share of the loss that the right identity, and the right normal map, take away against somebody else's.

    At two noise levels, on the same pictures and noise every time; 0 is deaf.
    """
    rows = np.sort(np.array([own[0] for own in source.shown(PICTURES)]))
    clean = encode(vae, source.pixels(rows).to(device))
    identity = source.identities(rows).to(device)
    normals = source.normals(rows).to(device) if objective.controlnet is not None else None
    other = torch.roll(torch.arange(len(rows)), 1)
    noise = fixed_noise((len(rows), *clean.shape[1:]), device, 1)
    kept = torch.zeros(len(rows), dtype=torch.bool, device=device)
    figures: dict[str, float] = {}
    for step in TIMESTEPS:
        timesteps = torch.full((len(rows),), step, device=device)
        a, s = amounts(objective.abar, timesteps)
        wanted = target(objective.config.prediction, clean, noise, a, s)

        def loss(
            noisy: Tensor = a * clean + s * noise, moment: Tensor = timesteps, goal: Tensor = wanted, **given: Tensor
        ) -> float:
            made = objective.predict(noisy, {"timesteps": moment, "dropped": kept, **given})
            return float((made.float() - goal).square().mean())

        figures[f"identity_gain_{step}"] = 1 - loss(identity=identity) / loss(identity=identity[other])
        if normals is not None:
            right, wrong = (loss(identity=identity, normals=maps) for maps in (normals, normals[other]))
            figures[f"control_gain_{step}"] = 1 - right / wrong
    return figures
