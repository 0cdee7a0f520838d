"""The training loop shared by the face networks: cosine schedule, weight average, atomic checkpoints, resuming.

Step k draws its data from a generator seeded by (seed, k), so that a resumed run sees what an unbroken one would.
"""

from __future__ import annotations

import copy
import json
import logging
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_log = logging.getLogger(__name__)
CHECKPOINT = "checkpoint.pt"
LossFunction = Callable[[int, np.random.Generator], Mapping[str, Tensor]]


@dataclass(frozen=True)
class LoopConfig:
    """Hyper-parameters of a run. `average` is the decay of the weight average used for evaluation and export."""

    steps: int = 1000
    batch_size: int = 64
    learning_rate: float = 2e-3
    warmup: int = 50
    weight_decay: float = 5e-3
    clip: float = 5.0
    average: float = 0.99
    seed: int = 0
    checkpoint_every: int = 100
    log_every: int = 25
    threads: int = 1
    device: str = "cpu"


class Loop:
    """Trains `model` (and `extra` parameters such as class centres) with the losses a function returns."""

    def __init__(self, config: LoopConfig, model: nn.Module, out: Path, extra: nn.Module | None = None) -> None:
        torch.set_num_threads(config.threads)
        self.config, self.out = config, out
        self.model = model.to(config.device)
        self.extra = (extra if extra is not None else nn.Module()).to(config.device)
        self.averaged = copy.deepcopy(self.model).eval().requires_grad_(False)
        parameters = [*self.model.parameters(), *self.extra.parameters()]
        self._parameters = [p for p in parameters if p.requires_grad]
        self.optimiser = torch.optim.AdamW(self._parameters, lr=config.learning_rate, weight_decay=config.weight_decay)
        self.step = 0
        out.mkdir(parents=True, exist_ok=True)

    def run(self, losses: LossFunction, *, resume: bool = True, until: int | None = None) -> nn.Module:
        """Train to the end (or to step `until`) and return the averaged model in evaluation mode."""
        if resume:
            self._restore()
        started = time.monotonic()
        self.model.train()
        while self.step < min(self.config.steps, until if until is not None else self.config.steps):
            parts = self._one_step(losses)
            if self.step % self.config.log_every == 0:
                self._record(parts, time.monotonic() - started)
            if self.step % self.config.checkpoint_every == 0 or self.step == self.config.steps:
                self._save()
        if self.step % self.config.checkpoint_every:
            self._save()
        return self.averaged

    def _one_step(self, losses: LossFunction) -> Mapping[str, Tensor]:
        config = self.config
        for group in self.optimiser.param_groups:
            group["lr"] = self._rate()
        torch.manual_seed(config.seed * 1_000_003 + self.step)
        parts = losses(self.step, np.random.default_rng([config.seed, self.step]))
        total = torch.stack([value for name, value in parts.items() if not name.startswith("_")]).sum()
        if not torch.isfinite(total):
            raise FloatingPointError(f"The loss is not finite at step {self.step}: lower the learning rate.")
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()
        nn.utils.clip_grad_norm_(self._parameters, config.clip)
        self.optimiser.step()
        self.step += 1
        self._update_average()
        return parts

    def _rate(self) -> float:
        config = self.config
        warm = min(1.0, (self.step + 1) / max(config.warmup, 1))
        return config.learning_rate * warm * (0.51 + 0.49 * math.cos(math.pi * self.step / config.steps))

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(self.config.average, (1 + self.step) / (10 + self.step))
        ours = self.model.state_dict()
        for name, value in self.averaged.state_dict().items():
            if value.is_floating_point():
                value.lerp_(ours[name], 1 - decay)
            else:
                value.copy_(ours[name])

    def _record(self, parts: Mapping[str, Tensor], seconds: float) -> None:
        values = {name.lstrip("_"): round(float(value.detach()), 5) for name, value in parts.items()}
        line = {"step": self.step, "lr": round(self._rate(), 6), "seconds": round(seconds, 1), **values}
        with (self.out / "log.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        _log.info("%s", line)

    def _save(self) -> None:
        state = {
            "config": asdict(self.config),
            "step": self.step,
            "model": self.model.state_dict(),
            "averaged": self.averaged.state_dict(),
            "extra": self.extra.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }
        save_atomically(state, self.out / CHECKPOINT)

    def _restore(self) -> None:
        path = self.out / CHECKPOINT
        if not path.exists():
            return
        state = torch.load(path, map_location=self.config.device, weights_only=True)
        found, wanted = state["config"], asdict(self.config)
        changed = [k for k in ("batch_size", "seed", "steps") if found[k] != wanted[k]]
        if changed:
            raise ValueError(f"{path} was made with other settings ({', '.join(changed)}). Choose another folder.")
        self.model.load_state_dict(state["model"])
        self.averaged.load_state_dict(state["averaged"])
        self.extra.load_state_dict(state["extra"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step = int(state["step"])


def save_atomically(state: Mapping[str, Any], path: Path) -> None:
    """torch.save to a temporary name, then rename, so that a kill leaves the old file."""
    part = path.with_suffix(path.suffix + ".part")
    torch.save(dict(state), part)
    os.replace(part, path)
