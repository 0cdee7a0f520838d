"""Expression: a second cross-attention on tokens made from 55 FLAME numbers (arXiv 2510.04706, IP-Adapter format)."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from arc2face.diffusion.attention import cross_attention_names
from arc2face.diffusion.denoising import Denoiser
from arc2face.diffusion.forward import ExpressionTokens
from arc2face.errors import IncompatibleWeightsError
from arc2face.types import EXPRESSION_SIZE, GenerationRequest
from arc2face.weights.folder import ModelsFolder
from arc2face.weights.store import load_state_dict
from arc2face.weights.table import spellings

_FORMAT_HELP = "It is not an expression adapter of this UNet."


class ExpressionWeights(nn.Module):
    """The adapter's weights: a head that makes tokens, and key/value projections per cross-attention.

    Three heads are known by their keys: one linear layer (`proj.weight`, any token count), an MLP with a trailing
    norm (`proj.3.weight`, one token) and an MLP with a separate norm (`proj.2.weight` and `norm.weight`).
    """

    def __init__(self, head: Mapping[str, Tensor], projections: Mapping[str, tuple[Tensor, Tensor]]) -> None:
        """`head`: the image_proj dict. `projections`: processor name -> (to_k, to_v), each (inner, D)."""
        super().__init__()
        self.norm_key = "proj.3" if "proj.3.weight" in head else "norm"
        self.head = nn.ParameterDict({key.replace(".", "_"): _frozen(value) for key, value in head.items()})
        self.names = tuple(projections)
        self.to_k = nn.ParameterList([_frozen(pair[0]) for pair in projections.values()])
        self.to_v = nn.ParameterList([_frozen(pair[1]) for pair in projections.values()])

    def tokens(self, expressions: Tensor) -> Tensor:
        """(B, 55) -> (B, T, D)."""
        x = expressions.to(self.to_k[0].device, self.to_k[0].dtype)
        if "proj_weight" in self.head:
            x = self._linear("proj", x)
        else:
            x = self._linear("proj.2", nn.functional.gelu(self._linear("proj.0", x)))
        weight, bias = self._pair(self.norm_key)
        return nn.functional.layer_norm(x.reshape(len(x), -1, len(weight)), weight.shape, weight, bias, eps=1e-5)

    def _linear(self, key: str, x: Tensor) -> Tensor:
        return nn.functional.linear(x, *self._pair(key))

    def _pair(self, key: str) -> tuple[Tensor, Tensor]:
        flat = key.replace(".", "_")
        return self.head[flat + "_weight"], self.head[flat + "_bias"]


class ExpressionAdapter:
    """Steers the facial expression; strength 0 equals the plain model exactly."""

    name: ClassVar[str] = "expression"
    title: ClassVar[str] = "Expression adapter"
    feature: ClassVar[str] = "expression"
    files: ClassVar[tuple[str, ...]] = spellings("expression")

    def wanted(self, request: GenerationRequest) -> bool:
        """Whether an expression is given."""
        return request.expression is not None

    def recipe(self, request: GenerationRequest) -> Mapping[str, Any]:
        """Strength, and the 55 numbers rounded to 5 decimals."""
        condition = request.expression
        assert condition is not None
        values = [round(float(value), 5) for value in condition.expression.values]
        return {"strength": condition.strength, "values": values}

    def load(self, models: ModelsFolder, unet: UNet2DConditionModel, dtype: torch.dtype) -> ExpressionWeights:
        """Read the adapter and match every key to a cross-attention of the UNet."""
        path = models.need("expression", dtype == torch.float16)
        state = load_state_dict(path)
        head = {key.removeprefix("image_proj."): value for key, value in state.items() if key.startswith("image_proj.")}
        ip = {key.removeprefix("ip_adapter."): value for key, value in state.items() if key.startswith("ip_adapter.")}
        if len(head) + len(ip) != len(state):
            raise IncompatibleWeightsError(f"{path} has keys outside image_proj and ip_adapter. {_FORMAT_HELP}")
        width = int(unet.config["cross_attention_dim"])
        _check_head(path, head, width)
        weights = ExpressionWeights(head, _projections(path, ip, unet, width))
        return weights.to(dtype).eval().requires_grad_(False)

    @contextmanager
    def applied(self, weights: ExpressionWeights, run: Denoiser, request: GenerationRequest) -> Generator[None]:
        """Give the run the tokens; the unconditional rows get those of all zeros."""
        condition = request.expression
        assert condition is not None
        if condition.strength == 0.0:
            yield
            return
        values = torch.from_numpy(condition.expression.values.copy())[None].expand(run.num_images, -1)
        rows = torch.cat([torch.zeros_like(values), values]) if run.guided else values
        with torch.no_grad():
            tokens = weights.tokens(rows)
        projections = dict(zip(weights.names, zip(weights.to_k, weights.to_v, strict=True), strict=True))
        with run.expressing(ExpressionTokens(tokens, projections, condition.strength)):
            yield


def _projections(
    path: Path, ip: Mapping[str, Tensor], unet: UNet2DConditionModel, width: int
) -> dict[str, tuple[Tensor, Tensor]]:
    names = cross_attention_names(unet)
    expected = {f"{number}.{kind}.weight" for number in names for kind in ("to_k_ip", "to_v_ip")}
    if expected != set(ip):
        missing, extra = sorted(expected - set(ip)), sorted(set(ip) - expected)
        raise IncompatibleWeightsError(
            f"{path}: {len(missing)} keys missing, {len(extra)} left over "
            f"({', '.join((missing + extra)[:3])}). {_FORMAT_HELP}"
        )
    pairs: dict[str, tuple[Tensor, Tensor]] = {}
    for number, name in names.items():
        inner = unet.get_submodule(name.removesuffix(".processor")).to_k.out_features  # type: ignore[union-attr]
        pair = ip[f"{number}.to_k_ip.weight"], ip[f"{number}.to_v_ip.weight"]
        for tensor in pair:
            if tensor.shape != (inner, width):
                raise IncompatibleWeightsError(
                    f"{path}: number {number} has shape {tuple(tensor.shape)}, not {(inner, width)}. {_FORMAT_HELP}"
                )
        pairs[name] = pair
    return pairs


def _check_head(path: Path, head: Mapping[str, Tensor], width: int) -> None:
    linear = {"proj.weight", "proj.bias", "norm.weight", "norm.bias"}
    mlp = {f"proj.{i}.{kind}" for i in (0, 2) for kind in ("weight", "bias")}
    kinds = (linear, mlp | {"proj.3.weight", "proj.3.bias"}, mlp | {"norm.weight", "norm.bias"})
    if set(head) not in kinds:
        raise IncompatibleWeightsError(
            f"{path} has an unknown image_proj head ({', '.join(sorted(head))}). {_FORMAT_HELP}"
        )
    layers = ["proj"] if "proj.weight" in head else ["proj.0", "proj.2"]
    inner = EXPRESSION_SIZE
    for layer in layers:
        inner = _check_layer(path, head, layer, inner)
    norm = "proj.3" if "proj.3.weight" in head else "norm"
    for key in (f"{norm}.weight", f"{norm}.bias"):
        if head[key].shape != (width,):
            raise _wrong_shape(path, key, head[key], f"({width},)")
    if inner % width or not inner:
        raise IncompatibleWeightsError(
            f"{path} makes {inner} numbers for the tokens; a multiple of {width} is needed. {_FORMAT_HELP}"
        )


def _check_layer(path: Path, head: Mapping[str, Tensor], layer: str, width: int) -> int:
    """A linear layer that takes `width` numbers; returns how many it gives."""
    weight, bias = head[f"{layer}.weight"], head[f"{layer}.bias"]
    if weight.ndim != 2 or weight.shape[1] != width:
        raise _wrong_shape(path, f"{layer}.weight", weight, f"(any, {width})")
    if bias.shape != weight.shape[:1]:
        raise _wrong_shape(path, f"{layer}.bias", bias, str(tuple(weight.shape[:1])))
    return int(weight.shape[0])


def _wrong_shape(path: Path, key: str, tensor: Tensor, wanted: str) -> IncompatibleWeightsError:
    return IncompatibleWeightsError(
        f"{path}: image_proj.{key} has shape {tuple(tensor.shape)}, not {wanted}. {_FORMAT_HELP}"
    )


def _frozen(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor.float() if not tensor.is_floating_point() else tensor, requires_grad=False)
