"""The time embeddings of a whole schedule as one table."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from arc2face.diffusion.forward.blocks import Layers

_TABLES = 4


class TimeTables:
    """The last few tables of one network, for requests with the same schedule and the same weights.

    Networks whose time embedding holds the prompt get theirs computed each time: nothing of a person is kept here.
    """

    def __init__(self, network: Any, layers: Layers) -> None:
        self.network, self.layers = network, layers
        self._kept: OrderedDict[tuple[Any, ...], Tensor] = OrderedDict()

    def get(self, timesteps: Tensor, prompt: Tensor) -> Tensor:
        """As `time_table`. The tensor is shared: do not change it."""
        if self.network.config["addition_embed_type"] is not None:
            return time_table(self.network, self.layers, timesteps, prompt)
        key = (len(prompt), tuple(timesteps.tolist()), self._weights())
        if key not in self._kept:
            self._kept[key] = time_table(self.network, self.layers, timesteps, prompt)
        self._kept.move_to_end(key)
        while len(self._kept) > _TABLES:
            self._kept.popitem(last=False)
        return self._kept[key]

    def _weights(self) -> tuple[tuple[int, int], ...]:
        """Address and number of changes of every weight that has a part in a table."""
        modules = (self.network.time_embedding, *(resnet.time_emb_proj for resnet in self.layers.resnets))
        return tuple((p.data_ptr(), p._version) for module in modules for p in module.parameters())


def time_table(network: Any, layers: Layers, timesteps: Tensor, prompt: Tensor) -> Tensor:
    """Every ResNet's time projection at every step, (steps, 1 or B, width), in the prompt's dtype, on its device.

    `timesteps`: (steps,), on any device. `prompt`: (B, L, D); networks whose time embedding also holds the prompt get
    a row for each of its rows, the others one row for all. Each step is computed as the network itself would (with
    the same B rows): the same matrix shapes give the same bits.
    """
    here = timesteps.to(prompt.device)
    added = network.add_embedding(prompt) if network.config["addition_embed_type"] == "text" else None
    return torch.stack([_row(network, layers, here[k], len(prompt), added) for k in range(len(here))])


def _row(network: Any, layers: Layers, timestep: Tensor, rows: int, added: Tensor | None) -> Tensor:
    embedded = network.time_proj(timestep.expand(rows)).to(network.conv_in.weight.dtype)
    embedding = network.time_embedding(embedded)
    if added is not None:
        embedding = embedding + added
    active = functional.silu(embedding)
    row = torch.cat([resnet.time_emb_proj(active) for resnet in layers.resnets], dim=1)
    return row if added is not None else row[:1]
