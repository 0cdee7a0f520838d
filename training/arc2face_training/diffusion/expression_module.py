"""The expression branch with gradients: IP-Adapter's second cross-attention (arXiv 2308.06721, eq. 5) on 55 numbers."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from arc2face.diffusion.attention import attend, cross_attention_names, project_out

EXPRESSION_SIZE = 55


class ExpressionBranch(nn.Module):
    """Tokens from an expression, and key and value projections for every cross-attention of a UNet.

    `begin(expressions, weights)` sets what the following UNet calls see; `end()` removes it.
    """

    def __init__(self, unet: UNet2DConditionModel, tokens: int = 4) -> None:
        super().__init__()
        width = int(unet.config["cross_attention_dim"])
        self.count = tokens
        self.proj = nn.Linear(EXPRESSION_SIZE, tokens * width)
        self.norm = nn.LayerNorm(width)
        self.names = cross_attention_names(unet)
        inner = [_attention(unet, name).to_k.out_features for name in self.names.values()]
        self.to_k = nn.ModuleList(nn.Linear(width, size, bias=False) for size in inner)
        self.to_v = nn.ModuleList(nn.Linear(width, size, bias=False) for size in inner)
        for layer in self.to_v:
            nn.init.normal_(layer.weight, std=0.01)
        self.current: tuple[Tensor, Tensor] | None = None
        for k, name in enumerate(self.names.values()):
            _attention(unet, name).set_processor(_BranchProcessor(self, k))

    def begin(self, expressions: Tensor, weights: Tensor) -> None:
        """`expressions`: (B, 55). `weights`: (B,), 0 leaves a row to the identity alone."""
        tokens = self.proj(expressions)
        self.current = (self.norm(tokens.view(len(expressions), self.count, -1)), weights)

    def end(self) -> None:
        """Forget the expressions."""
        self.current = None

    def export(self) -> dict[str, dict[str, Tensor]]:
        """The two dicts of exp_adapter.bin, fp16."""
        head = {
            f"{name}.{kind}": getattr(getattr(self, name), kind).detach().half().cpu().clone()
            for name in ("proj", "norm")
            for kind in ("weight", "bias")
        }
        adapter: dict[str, Tensor] = {}
        for k, number in enumerate(self.names):
            adapter[f"{number}.to_k_ip.weight"] = self.to_k[k].weight.detach().half().cpu().clone()
            adapter[f"{number}.to_v_ip.weight"] = self.to_v[k].weight.detach().half().cpu().clone()
        return {"image_proj": head, "ip_adapter": adapter}

    def load(self, state: dict[str, dict[str, Tensor]]) -> None:
        """Read the dicts of exp_adapter.bin."""
        with torch.no_grad():
            for name in ("proj", "norm"):
                for kind in ("weight", "bias"):
                    getattr(getattr(self, name), kind).copy_(state["image_proj"][f"{name}.{kind}"])
            for k, number in enumerate(self.names):
                self.to_k[k].weight.copy_(state["ip_adapter"][f"{number}.to_k_ip.weight"])
                self.to_v[k].weight.copy_(state["ip_adapter"][f"{number}.to_v_ip.weight"])


class _BranchProcessor:
    """Cross-attention that adds the branch's share when the branch is active."""

    def __init__(self, branch: ExpressionBranch, index: int) -> None:
        self.branch, self.index = branch, index

    def __call__(
        self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor, *args: Any, **kw: Any
    ) -> Tensor:
        query = attn.to_q(hidden_states)
        out = attend(attn, query, attn.to_k(encoder_hidden_states), attn.to_v(encoder_hidden_states))
        if self.branch.current is not None:
            tokens, weights = self.branch.current
            key, value = self.branch.to_k[self.index](tokens), self.branch.to_v[self.index](tokens)
            out = out + weights.to(out.dtype)[:, None, None] * attend(attn, query, key, value)
        return project_out(attn, out)


def _attention(unet: UNet2DConditionModel, name: str) -> Any:
    return unet.get_submodule(name.removesuffix(".processor"))
