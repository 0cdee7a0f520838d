"""Which networks the own forward can run; every other one runs with diffusers' forward.

The forward mirrors what diffusers computes in the configurations of Stable Diffusion 1.x and 2.x. Whatever it does not
know (another block, a wrapped layer, a foreign attention processor) is named here instead of being computed wrongly.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from diffusers import Transformer2DModel
from diffusers.models.activations import GEGLU
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.unets.unet_2d_blocks import (
    CrossAttnDownBlock2D,
    CrossAttnUpBlock2D,
    DownBlock2D,
    UNetMidBlock2DCrossAttn,
    UpBlock2D,
)
from torch import nn

_STAGES = (CrossAttnDownBlock2D, DownBlock2D, UNetMidBlock2DCrossAttn, UpBlock2D, CrossAttnUpBlock2D)
_NONE = ("class_embed_type", "num_class_embeds", "encoder_hid_dim_type", "encoder_hid_dim")


def why_not_unet(unet: Any) -> str | None:
    """Why `UNetForward` cannot run this UNet, in words; None when it can. Looks at the modules as they are now."""
    return next(_unet_reasons(unet), None)


def why_not_control(network: Any) -> str | None:
    """Why `ControlForward` cannot run this ControlNet; None when it can."""
    return next(_common_reasons(network), None)


def _unet_reasons(unet: Any) -> Iterator[str]:
    config = unet.config
    if config["center_input_sample"]:
        yield "it centres its input"
    if config["attention_type"] != "default":
        yield f"its attention is of type {config['attention_type']}"
    if unet.time_embed_act is not None or unet.conv_norm_out is None:
        yield "its time embedding or its last norm is unusual"
    elif not isinstance(unet.conv_act, nn.SiLU):
        yield "its last activation is not SiLU"
    yield from _common_reasons(unet)


def _common_reasons(network: Any) -> Iterator[str]:
    config = network.config
    if network.training:
        yield "it is in training"
    for key in _NONE:
        if config.get(key) is not None:
            yield f"its config sets {key}"
    if config["addition_embed_type"] not in (None, "text"):
        yield f"its addition_embed_type is {config['addition_embed_type']}"
    for stage in (*network.down_blocks, network.mid_block, *getattr(network, "up_blocks", ())):
        yield from _stage_reasons(stage)


def _stage_reasons(stage: Any) -> Iterator[str]:
    if type(stage) not in _STAGES:
        yield f"it has a {type(stage).__name__}"
        return
    for kind in ("downsamplers", "upsamplers"):
        if len(getattr(stage, kind, None) or [0]) != 1:
            yield f"a block has several {kind}"
    for resnet in stage.resnets:
        if not _plain_resnet(resnet):
            yield "a ResNet block is unusual"
    for transformer in getattr(stage, "attentions", ()):
        if type(transformer) is not Transformer2DModel or not transformer.is_input_continuous:
            yield f"it has a {type(transformer).__name__}"
            return
        for block in transformer.transformer_blocks:
            yield from _block_reasons(block)


def _plain_resnet(layer: Any) -> bool:
    return (
        type(layer) is ResnetBlock2D
        and layer.output_scale_factor == 1.0
        and layer.time_embedding_norm in ("default", "scale_shift")
        and type(layer.time_emb_proj) is nn.Linear
        and not layer.skip_time_act
        and layer.upsample is None
        and layer.downsample is None
        and isinstance(layer.nonlinearity, nn.SiLU)
        and type(layer.conv1) is type(layer.conv2) is nn.Conv2d
    )


def _block_reasons(block: Any) -> Iterator[str]:
    if type(block) is not BasicTransformerBlock or block.norm_type != "layer_norm" or block.only_cross_attention:
        yield f"it has an unusual {type(block).__name__}"
    elif block.pos_embed is not None or getattr(block, "_chunk_size", None) is not None or block.attn2 is None:
        yield "a transformer block is unusual"
    elif type(block.ff.net[0]) is not GEGLU or type(block.ff.net[2]) is not nn.Linear:
        yield "a feed-forward layer is not GEGLU"
    else:
        for attention in (block.attn1, block.attn2):
            if not _plain_attention(attention):
                yield f"an attention is a {type(attention).__name__} with {type(attention.processor).__name__}"


def _plain_attention(layer: Any) -> bool:
    projections = (layer.to_q, layer.to_k, layer.to_v, layer.to_out[0])
    processor: Any = layer.processor
    extras = (layer.group_norm, layer.spatial_norm, layer.norm_cross, layer.norm_q, layer.norm_k)
    return (
        type(layer) is Attention
        and type(processor) is AttnProcessor2_0
        and all(type(projection) is nn.Linear for projection in projections)
        and all(extra is None for extra in extras)
        and not layer.residual_connection
        and layer.rescale_output_factor == 1.0
    )
