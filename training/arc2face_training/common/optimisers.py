"""Muon for matrices, AdamW for the rest (Jordan 2024, "Muon: an optimizer for hidden layers"; scale: arXiv 2502.16982).

The momentum of each weight matrix (convolutions flattened to a matrix) is replaced by the nearest orthogonal matrix,
found by Newton-Schulz iterations. A step costs about a third more than AdamW's at the starter's size. In a short run
on the CPU it lowered the loss at high noise faster; see LOG.md.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from arc2face_training.common.errors import TrainingError
from arc2face_training.common.settings import LoopConfig

SMALLEST_SIDE = 32
ITERATIONS = 4
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
NOT_HIDDEN = ("embedding", "conv_in", "conv_out", "time_emb", "controlnet_", "prompts.", "centres")


def is_matrix(name: str, parameter: nn.Parameter) -> bool:
    """Hidden weights with two sides of at least 32; the others stay with AdamW, inputs, outputs and embeddings too."""
    if parameter.ndim < 2 or any(word in name for word in NOT_HIDDEN):
        return False
    return min(parameter.shape[0], parameter[0].numel()) >= SMALLEST_SIDE


def split_groups(groups: Iterable[dict[str, Any]], names: dict[int, str]) -> list[dict[str, Any]]:
    """Each optimiser group as one for Muon (`orthogonal` True) and one for AdamW."""
    split: list[dict[str, Any]] = []
    for group in groups:
        parameters = list(group["params"])
        for orthogonal in (True, False):
            chosen = [p for p in parameters if is_matrix(names[id(p)], p) == orthogonal]
            if chosen:
                split.append({**group, "params": chosen, "orthogonal": orthogonal})
    return split


def orthogonalised(matrices: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Roughly U V^T of each (..., m, n) matrix = U S V^T: all singular values between about 0.7 and 1.2.

    `dtype` of the products; the result is rough enough for bfloat16.
    """
    a, b, c = COEFFICIENTS
    x = (matrices / (matrices.norm(dim=(-2, -1), keepdim=True) + 1e-7)).to(dtype)
    tall = x.shape[-2] > x.shape[-1]
    wide = x.mT if tall else x
    for _ in range(ITERATIONS):
        gram = wide @ wide.mT
        wide = a * wide + (b * gram + c * gram @ gram) @ wide
    return (wide.mT if tall else wide).to(matrices.dtype)


class MuonAdamW(torch.optim.Optimizer):
    """One optimiser over groups from `split_groups`. Learning rates of the two halves are comparable.

    Matrices of one shape are orthogonalised together, and everything else is done list by list: a GPU waits for the
    many small calls otherwise.
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        betas: tuple[float, float],
        weight_decay: float,
        momentum: float = 0.94,
        products: torch.dtype = torch.float32,
    ) -> None:
        self._products = products
        super().__init__(groups, {"betas": betas, "weight_decay": weight_decay, "momentum": momentum, "lr": 1e-3})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            update = self._muon if group["orthogonal"] else self._adam
            for parameters in _alike([p for p in group["params"] if p.grad is not None], group["orthogonal"]):
                changes = update(parameters, group)
                torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
                torch._foreach_add_(parameters, changes, alpha=-group["lr"])

    def _muon(self, parameters: list[Tensor], group: dict[str, Any]) -> list[Tensor]:
        """Of parameters of one shape."""
        for parameter in parameters:
            if not self.state[parameter]:
                self.state[parameter]["momentum"] = torch.zeros_like(parameter)
        gradients = _gradients(parameters)
        momenta = [self.state[parameter]["momentum"] for parameter in parameters]
        torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
        ahead = torch._foreach_lerp(gradients, momenta, group["momentum"])  # Nesterov
        rows = torch.stack(list(ahead)).flatten(2)
        # With this factor an update has the root mean square of AdamW's.
        changes = 0.2 * max(rows.shape[1:]) ** 0.5 * orthogonalised(rows, self._products)
        return [change.view_as(parameter) for change, parameter in zip(changes, parameters, strict=True)]

    def _adam(self, parameters: list[Tensor], group: dict[str, Any]) -> list[Tensor]:
        for parameter in parameters:
            state = self.state[parameter]
            if not state:
                state["step"] = torch.zeros(())
                state["mean"], state["square"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
            state["step"] += 1
        states, gradients = [self.state[parameter] for parameter in parameters], _gradients(parameters)
        first, second = group["betas"]
        counts = [float(state["step"]) for state in states]
        means, squares = [state["mean"] for state in states], [state["square"] for state in states]
        torch._foreach_lerp_(means, gradients, 1 - first)
        torch._foreach_mul_(squares, second)
        torch._foreach_addcmul_(squares, gradients, gradients, value=1 - second)
        roots = torch._foreach_sqrt(torch._foreach_div(squares, [1 - second**count for count in counts]))
        torch._foreach_add_(roots, 1e-8)
        return list(torch._foreach_div(torch._foreach_div(means, [1 - first**count for count in counts]), roots))


def _gradients(parameters: list[Tensor]) -> list[Tensor]:
    return [parameter.grad for parameter in parameters if parameter.grad is not None]


def _alike(parameters: list[Tensor], by_shape: bool) -> list[list[Tensor]]:
    """The parameters in lists of one shape, or all in one list; none where there are none."""
    found: dict[tuple[int, ...], list[Tensor]] = {}
    for parameter in parameters:
        found.setdefault(tuple(parameter.shape) if by_shape else (), []).append(parameter)
    return list(found.values())


def _adamw8bit(config: LoopConfig, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    """bitsandbytes' AdamW with states in blocks of 8 bits (Dettmers et al. 2022, arXiv 2110.02861)."""
    try:
        bitsandbytes: Any = importlib.import_module("bitsandbytes")
    except ImportError as error:
        raise TrainingError("loop.optimiser adamw8bit needs bitsandbytes: pip install bitsandbytes") from error
    return bitsandbytes.optim.AdamW8bit(groups, betas=config.betas, weight_decay=config.weight_decay)


def make_optimiser(config: LoopConfig, groups: list[dict[str, Any]], names: dict[int, str]) -> torch.optim.Optimizer:
    """AdamW (also with 8-bit states), or Muon for hidden matrices with AdamW for the rest.

    `names`: id of a parameter -> its name. Raises TrainingError where bitsandbytes is wanted and missing.
    """
    if config.optimiser == "muon":
        products = torch.bfloat16 if config.precision == "bf16" else torch.float32
        return MuonAdamW(split_groups(groups, names), config.betas, config.weight_decay, products=products)
    if config.optimiser == "adamw8bit":
        return _adamw8bit(config, groups)
    fused = not torch.backends.mps.is_available()
    return torch.optim.AdamW(groups, betas=config.betas, weight_decay=config.weight_decay, fused=fused)
