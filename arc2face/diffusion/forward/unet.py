"""The UNet's own forward: diffusers' modules, the same weights in the same storage, nothing constant computed twice."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn
from torch.nn import functional

from arc2face.diffusion.forward.blocks import Call, Layers, heads, key_value
from arc2face.diffusion.forward.conditions import Bank, Conditions, ExpressionTokens
from arc2face.diffusion.forward.inputs import KeyValues, RunInputs, StepInputs
from arc2face.diffusion.forward.operations import Operations, PlainOperations
from arc2face.diffusion.forward.timing import TimeTables


class UNetForward(nn.Module):
    """Calls of one UNet. With `PlainOperations` and float32 the results are the bits of diffusers' own forward.

    Only for UNets that `why_not_unet` says nothing against. All values of a request are tensors, so a captured call
    stays valid for the next one; weights may change in place between calls.
    """

    def __init__(self, unet: UNet2DConditionModel, ops: Operations | None = None) -> None:
        """`unet`: used as it is, never copied. `ops`: fused kernels of a device; plain torch when None."""
        super().__init__()
        self.unet = unet
        self.ops = ops or PlainOperations()
        self.layers = Layers.of(unet)
        self.tables = TimeTables(unet, self.layers)

    def prepare(self, given: Conditions, timesteps: Tensor) -> RunInputs:
        """What all calls of a run read. `timesteps`: (steps,) in host memory. Uses the weights as they are now."""
        with torch.no_grad():
            return RunInputs(
                time=self.tables.get(timesteps, given.prompt),
                cross=self.layers.cross(given.prompt),
                guided=given.guided,
                expression=self._expression(given.expression),
                bank=self._bank(given.bank),
            )

    def predict(
        self, rows: Tensor, inputs: RunInputs, step: int, residuals: tuple[Tensor, ...] | None = None
    ) -> Tensor:
        """Predicted noise (B, C, h, w) for all `rows` (B, C, h, w) at `step`, in the UNet's dtype."""
        return self(rows, inputs.at(step, residuals), inputs.guided)

    def record(self, latents: Tensor, prompt: Tensor) -> Bank:
        """The normalised input (m, tokens, D) of every self-attention, by processor name, in one call at t = 0.

        `latents`: (m, C, h, w), clean. `prompt`: (1, L, D).
        """
        recorded: list[Tensor] = []
        with torch.no_grad():
            given = Conditions(prompt.expand(len(latents), -1, -1), guided=False)
            inputs = self.prepare(given, torch.zeros(1, dtype=torch.long))
            self(latents, inputs.at(0), False, recorded)
        names = (name for name, _ in self.layers.attentions("attn1"))
        return dict(zip(names, recorded, strict=True))

    def forward(self, rows: Tensor, inputs: StepInputs, guided: bool, record: list[Tensor] | None = None) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w). `record` is given every self-attention's normalised input."""
        unet: Any = self.unet
        call = Call(self.layers, self.ops, inputs, guided, record)
        x, skips = down_and_middle(unet, call, unet.conv_in(rows))
        if inputs.residuals is not None:
            skips = [skip + more for skip, more in zip(skips, inputs.residuals[:-1], strict=True)]
            x = x + inputs.residuals[-1]
        odd = any(side % 2**unet.num_upsamplers for side in rows.shape[-2:])
        for stage in unet.up_blocks:
            transformers = getattr(stage, "attentions", None)
            for k, resnet in enumerate(stage.resnets):
                x = call.resnet(resnet, torch.cat([x, skips.pop()], dim=1))
                if transformers is not None:
                    x = call.transformer(transformers[k], x)
            if stage.upsamplers is not None:  # odd sizes: to the size of what comes next
                x = stage.upsamplers[0](x, skips[-1].shape[2:] if odd else None)
        return unet.conv_out(self.ops.norm(x, unet.conv_norm_out, silu=True))

    def _expression(self, given: ExpressionTokens | None) -> KeyValues | None:
        """The strength goes into the values: one product per run instead of one per layer and step."""
        if given is None:
            return None
        made: list[tuple[Tensor, Tensor]] = []
        for name, attention in self.layers.attentions("attn2"):
            to_k, to_v = given.projections[name]
            key = heads(functional.linear(given.tokens, to_k), attention.heads)
            made.append((key, heads(functional.linear(given.tokens, to_v) * given.strength, attention.heads)))
        return tuple(made)

    def _bank(self, given: Bank | None) -> KeyValues | None:
        if given is None:
            return None
        return tuple(key_value(attention, given[name]) for name, attention in self.layers.attentions("attn1"))


def down_and_middle(network: Any, call: Call, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The left half of a UNet or ControlNet from `conv_in`'s result on: (middle's result, what is skipped over)."""
    skips = [x]
    for stage in network.down_blocks:
        transformers = getattr(stage, "attentions", None)
        for k, resnet in enumerate(stage.resnets):
            x = call.resnet(resnet, x)
            if transformers is not None:
                x = call.transformer(transformers[k], x)
            skips.append(x)
        if stage.downsamplers is not None:
            x = stage.downsamplers[0](x)
            skips.append(x)
    middle = network.mid_block
    x = call.resnet(middle.resnets[0], x)
    for transformer, resnet in zip(middle.attentions, middle.resnets[1:], strict=True):
        x = call.resnet(resnet, call.transformer(transformer, x))
    return x, skips
