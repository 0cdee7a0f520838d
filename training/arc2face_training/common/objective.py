"""What a trainer hands to the loop: a loss as a module, and a function that draws batches, step by step."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from arc2face_training.common.settings import LoopConfig

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Turn:
    """Which batch is drawn: the step and its number of steps, and `rng`, this process's own generator."""

    rng: np.random.Generator
    step: int = 0
    steps: int = 1
    seed: int = 0

    @property
    def progress(self) -> float:
        """Share of the run that is done, 0 to 1."""
        return self.step / self.steps

    def shared(self) -> np.random.Generator:
        """The same generator on every process: for choices that decide how long a step takes."""
        return np.random.default_rng([self.seed, self.step])


DrawBatch = Callable[[Turn, int], Batch]


class Objective(nn.Module):
    """A loss as a module. `forward(batch)` returns a dict of scalars whose key `loss` is minimised."""

    def __init__(self) -> None:
        super().__init__()
        self.attached = ExitStack()
        """What a forward pass put into the networks and the backward pass may need again (gradient checkpointing)."""

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """Optimiser groups; parts that learn at another rate override this."""
        return [{"params": [p for p in self.parameters() if p.requires_grad], "lr": learning_rate}]

    def release(self) -> None:
        """Take out of the networks what the last forward pass put there; after its backward pass."""
        self.attached.close()


def total(parts: Mapping[str, Tensor], **shown: Tensor) -> dict[str, Tensor]:
    """What `forward` returns: `loss` as the sum of `parts`, the parts, and figures that are only shown."""
    return {"loss": torch.stack(list(parts.values())).sum(), **parts, **shown}


@contextmanager
def batches_from(
    draw: DrawBatch, config: LoopConfig, first: int, rank: int, ahead: int
) -> Iterator[Iterator[tuple[int, list[Batch]]]]:
    """Yields an endless iterator over (random seed, batches) of the steps from `first` on; `ahead` are in the making.

    Step k on process r draws from a generator seeded by (seed, k, r), so a resumed run sees what an unbroken one would.
    """

    def make(step: int) -> tuple[int, list[Batch]]:
        rng = np.random.default_rng([config.seed, step, rank])
        seed = int(rng.integers(2**31))
        turn = Turn(rng, step, config.steps, config.seed)
        return seed, [draw(turn, config.batch_size) for _ in range(config.accumulate)]

    if ahead < 1:
        yield map(make, count(first))
        return
    with ThreadPoolExecutor(ahead, thread_name_prefix="draw") as pool:
        waiting = deque(pool.submit(make, step) for step in range(first, first + ahead))

        def following() -> Iterator[tuple[int, list[Batch]]]:
            for step in count(first + ahead):
                ready = waiting.popleft().result()
                waiting.append(pool.submit(make, step))
                yield ready

        yield following()
