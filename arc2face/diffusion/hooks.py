"""What an adapter may do around a denoising step, and the residuals it may add to the UNet."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor

Residuals = tuple[Sequence[Tensor], Tensor]
ResidualSource = Callable[[Tensor, Tensor, Tensor, int, int], Residuals | None]
"""(model input (B, C, h, w), timestep, prompt embeddings (B, L, D), step, steps) -> UNet residuals, or None."""


@dataclass
class Step:
    """One denoising step as its hooks see it; what they may replace is `latents` and `prompt`.

    `number`: 0 to `total` - 1. `timestep`: 0-dim, in host memory. `latents`: (n, C, h, w) float32, before the step or
    after it. `prompt`: (B, L, D) of this step alone, rows as in the denoising loop. `first`: number of the first
    picture.
    """

    number: int
    total: int
    timestep: Tensor
    latents: Tensor
    prompt: Tensor
    first: int


StepHook = Callable[[Step], None]


class Hooks:
    """Step hooks in their order: lower `order` first, then as they were added."""

    def __init__(self) -> None:
        self._hooks: list[tuple[int, StepHook]] = []

    @contextmanager
    def added(self, hook: StepHook, order: int = 0) -> Generator[None]:
        """`hook` is called for the body of the `with`."""
        entry = (order, hook)
        self._hooks.append(entry)
        try:
            yield
        finally:
            self._hooks = [other for other in self._hooks if other is not entry]

    def __len__(self) -> int:
        """How many hooks there are."""
        return len(self._hooks)

    def __call__(self, step: Step) -> None:
        """Call all of them."""
        for _, hook in sorted(self._hooks, key=lambda entry: entry[0]):
            hook(step)


def summed(given: Iterable[Residuals | None]) -> tuple[Tensor, ...] | None:
    """The sum of several sources' residuals: those of the down blocks, the middle's last. None when none gave any."""
    total: tuple[Tensor, ...] | None = None
    for residuals in given:
        if residuals is None:
            continue
        flat = (*residuals[0], residuals[1])
        total = flat if total is None else tuple(a + b for a, b in zip(total, flat, strict=True))
    return total
