"""The time embeddings of a whole schedule as one table."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from arc2face.diffusion.forward.blocks import Layers


def time_table(network: Any, layers: Layers, timesteps: Tensor, prompt: Tensor) -> Tensor:
    """Every ResNet's time projection at every step, (steps, 1 or B, width), in the network's dtype and device.

    `timesteps`: (steps,), on any device. `prompt`: (B, L, D); networks whose time embedding also holds the prompt get
    a row for each of its rows, the others one row for all. Each step is computed as the network itself would (with
    the same B rows): the same matrix shapes give the same bits.
    """
    here = timesteps.to(prompt.device)
    added = network.add_embedding(prompt) if network.config["addition_embed_type"] == "text" else None
    return torch.stack([_row(network, layers, here[k], len(prompt), added) for k in range(len(here))])


def _row(network: Any, layers: Layers, timestep: Tensor, rows: int, added: Tensor | None) -> Tensor:
    embedded = network.time_proj(timestep.expand(rows)).to(network.dtype)
    embedding = network.time_embedding(embedded)
    if added is not None:
        embedding = embedding + added
    active = functional.silu(embedding)
    row = torch.cat([resnet.time_emb_proj(active) for resnet in layers.resnets], dim=1)
    return row if added is not None else row[:1]
