"""ResNets, self- and cross-attention, and transformers, as functions over diffusers' modules.

They keep diffusers' arithmetic and its order of operations, so that results are the same bits, and leave out what does
nothing in the supported configurations: divisions by one, inactive dropout, copies into a layout that is there already.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from arc2face.diffusion.forward.inputs import KeyValue, StepInputs
from arc2face.diffusion.forward.operations import Operations


def heads(x: Tensor, count: int) -> Tensor:
    """(B, L, inner) -> (B, heads, L, inner / heads)."""
    return x.view(x.shape[0], -1, count, x.shape[2] // count).transpose(1, 2)


def joined(x: Tensor) -> Tensor:
    """(B, heads, L, head width) -> (B, L, inner)."""
    return x.transpose(1, 2).reshape(x.shape[0], -1, x.shape[1] * x.shape[3])


def key_value(attention: Any, states: Tensor) -> KeyValue:
    """Keys and values of `states` (B, L, D)."""
    return heads(attention.to_k(states), attention.heads), heads(attention.to_v(states), attention.heads)


@dataclass
class Layers:
    """The ResNets and transformer blocks of one network, in the order in which they run.

    `resnets`: module -> where its projection lies in a row of the time table. `blocks`: module -> (number, name).
    """

    resnets: dict[Any, slice] = field(default_factory=dict[Any, slice])
    blocks: dict[Any, tuple[int, str]] = field(default_factory=dict[Any, tuple[int, str]])
    width: int = 0

    @classmethod
    def of(cls, network: Any) -> Layers:
        """Those of a UNet or a ControlNet of diffusers."""
        layers, names = cls(), {module: name for name, module in network.named_modules()}
        for stage in (*network.down_blocks, network.mid_block, *getattr(network, "up_blocks", ())):
            for resnet in stage.resnets:
                width = resnet.time_emb_proj.out_features
                layers.resnets[resnet] = slice(layers.width, layers.width + width)
                layers.width += width
            for transformer in getattr(stage, "attentions", ()):
                for block in transformer.transformer_blocks:
                    layers.blocks[block] = len(layers.blocks), names[block]
        return layers

    def attentions(self, which: str) -> Iterator[tuple[str, Any]]:
        """(processor name, attention) of every block; `which`: attn1 (self) or attn2 (cross)."""
        for block, (_, name) in self.blocks.items():
            yield f"{name}.{which}.processor", getattr(block, which)

    def cross(self, prompt: Tensor) -> tuple[KeyValue, ...]:
        """Keys and values of the prompt (B, L, D), constant over the steps."""
        return tuple(key_value(attention, prompt) for _, attention in self.attentions("attn2"))


@dataclass(frozen=True)
class Call:
    """One call of a network: its layers, the operations of the device, and what it reads.

    `guided`: whether the first half of the rows is unconditional. `record`: a list that is given the normalised input
    of every self-attention, or None.
    """

    layers: Layers
    ops: Operations
    inputs: StepInputs
    guided: bool = False
    record: list[Tensor] | None = None

    def resnet(self, layer: Any, x: Tensor) -> Tensor:
        """One ResNet block: (B, C, h, w) -> (B, C', h, w)."""
        time = self.inputs.time[:, self.layers.resnets[layer]]
        hidden = layer.conv1(self.ops.norm(x, layer.norm1, silu=True))
        if layer.time_embedding_norm == "default":
            hidden = self.ops.norm(hidden, layer.norm2, silu=True, time=time)
        else:
            scale, shift = time[:, :, None, None].chunk(2, dim=1)
            hidden = functional.silu(self.ops.norm(hidden, layer.norm2, silu=False) * (1 + scale) + shift)
        hidden = layer.conv2(hidden)
        return (x if layer.conv_shortcut is None else layer.conv_shortcut(x)) + hidden

    def transformer(self, layer: Any, x: Tensor) -> Tensor:
        """One spatial transformer: (B, C, h, w) -> the same."""
        rows, _, height, width = x.shape
        hidden = self.ops.norm(x, layer.norm, silu=False)
        if not layer.use_linear_projection:
            hidden = layer.proj_in(hidden)
        hidden = hidden.permute(0, 2, 3, 1).reshape(rows, height * width, hidden.shape[1])
        if layer.use_linear_projection:
            hidden = layer.proj_in(hidden)
        for block in layer.transformer_blocks:
            hidden = self._block(block, hidden)
        if layer.use_linear_projection:
            hidden = layer.proj_out(hidden)
        hidden = hidden.reshape(rows, height, width, -1).permute(0, 3, 1, 2)
        if x.is_contiguous():  # in channels_last the tokens' order is the layout already
            hidden = hidden.contiguous()
        return (hidden if layer.use_linear_projection else layer.proj_out(hidden)) + x

    def _block(self, block: Any, hidden: Tensor) -> Tensor:
        number, _ = self.layers.blocks[block]
        normed = block.norm1(hidden)
        if self.record is not None:
            self.record.append(normed)
        hidden = self._self_attention(block.attn1, normed, number) + hidden
        hidden = self._cross_attention(block.attn2, block.norm2(hidden), number) + hidden
        gated = self.ops.gated(block.ff.net[0].proj(block.norm3(hidden)))
        return block.ff.net[2](gated) + hidden

    def _self_attention(self, attention: Any, x: Tensor, number: int) -> Tensor:
        """The conditional rows also read the bank (arXiv 2510.04706); the unconditional ones stay plain."""
        query = heads(attention.to_q(x), attention.heads)
        key, value = key_value(attention, x)
        bank = self.inputs.bank
        if bank is None:
            return attention.to_out[0](joined(self.ops.attend(query, key, value)))
        n = len(x) // 2 if self.guided else len(x)
        recorded = [half.expand(n, -1, -1, -1) for half in bank[number]]
        read = self.ops.attend(
            query[-n:], torch.cat([key[-n:], recorded[0]], dim=2), torch.cat([value[-n:], recorded[1]], dim=2)
        )
        out = joined(read)
        if self.guided:
            out = torch.cat([joined(self.ops.attend(query[:n], key[:n], value[:n])), out])
        return attention.to_out[0](out)

    def _cross_attention(self, attention: Any, x: Tensor, number: int) -> Tensor:
        query = heads(attention.to_q(x), attention.heads)
        out = joined(self.ops.attend(query, *self.inputs.cross[number]))
        if self.inputs.expression is not None:
            out = out + joined(self.ops.attend(query, *self.inputs.expression[number]))
        return attention.to_out[0](out)
