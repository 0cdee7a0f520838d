"""The training loop shared by the face networks: cosine schedule, weight average, atomic checkpoints, resuming.

Step k draws its data from a generator seeded by (seed, k), so that a resumed run sees what an unbroken one would.
"""

from __future__ import annotations

import copy
import json
import logging
import math
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from training.common.checkpoint import CHECKPOINT, write_atomically
from training.common.errors import TrainingError
from training.common.loop import curve_writer
from training.common.muon import MuonAdamW, split_groups

_log = logging.getLogger(__name__)
LossFunction = Callable[[int, np.random.Generator], Mapping[str, Tensor]]


@dataclass(frozen=True)
class LoopConfig:
    """Hyper-parameters of a run.

    `average`: decay of the weight average used for evaluation and export. `seconds`: length of this piece of the run,
    0 for no limit. `optimiser`: adamw, or muon for the matrices. `device`: auto, cpu, cuda ...
    """

    steps: int = 1000
    batch_size: int = 64
    learning_rate: float = 2e-3
    warmup: int = 50
    optimiser: Literal["adamw", "muon"] = "adamw"
    weight_decay: float = 5e-3
    clip: float = 5.0
    average: float = 0.99
    seed: int = 0
    checkpoint_every: int = 100
    log_every: int = 25
    seconds: float = 0.0
    threads: int = 1
    device: str = "auto"


class Loop:
    """Trains `model` (and `extra` parameters such as class centres) with the losses a function returns."""

    def __init__(self, config: LoopConfig, model: nn.Module, out: Path, extra: nn.Module | None = None) -> None:
        if config.steps < 1 or config.batch_size < 1:
            raise TrainingError("A run needs at least one step and a batch of at least one; correct the config.")
        torch.set_num_threads(config.threads)
        self.config, self.out = config, out
        self.device = torch.device(pick_device(config.device))
        self.model = model.to(self.device)
        self.extra = (extra if extra is not None else nn.Module()).to(self.device)
        self.averaged = copy.deepcopy(self.model).eval().requires_grad_(False)
        parameters = [*self.model.parameters(), *self.extra.parameters()]
        self._parameters = [p for p in parameters if p.requires_grad]
        self.optimiser = self._make_optimiser()
        self.step = 0
        out.mkdir(parents=True, exist_ok=True)
        self.curves = curve_writer(out)

    def _make_optimiser(self) -> torch.optim.Optimizer:
        config = self.config
        if config.optimiser == "adamw":
            return torch.optim.AdamW(self._parameters, lr=config.learning_rate, weight_decay=config.weight_decay)
        names = {id(p): name for part in (self.model, self.extra) for name, p in part.named_parameters()}
        groups = split_groups([{"params": self._parameters, "lr": config.learning_rate}], names)
        return MuonAdamW(groups, (0.9, 0.99), config.weight_decay)

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
            if self.step % self.config.checkpoint_every == 0:
                self._save()
            if 0 < self.config.seconds < time.monotonic() - started:
                break
        self._save()
        self.curves.flush()
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
        for name, value in values.items():
            self.curves.add_scalar(f"train/{name}", value, self.step)
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
        try:
            state = torch.load(path, map_location=self.device, weights_only=True)
        except Exception as error:
            raise TrainingError(f"{path} is damaged ({type(error).__name__}). Delete it to start over.") from error
        found, wanted = state["config"], asdict(self.config)
        changed = [k for k in ("batch_size", "seed", "steps") if found[k] != wanted[k]]
        shapes = {k: v.shape for k, v in self.model.state_dict().items()}
        if changed or shapes != {k: v.shape for k, v in state["model"].items()}:
            raise TrainingError(
                f"{path} was made with other settings ({', '.join(changed) or 'another network'}). "
                "Choose another folder, or delete it to start over."
            )
        self.model.load_state_dict(state["model"])
        self.averaged.load_state_dict(state["averaged"])
        self.extra.load_state_dict(state["extra"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step = int(state["step"])


def pick_device(name: str) -> str:
    """`auto` is the first GPU, else the CPU."""
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"


def save_atomically(state: Mapping[str, Any], path: Path) -> None:
    """torch.save that leaves the old file when it is cut off; StorageError when the disk is full."""
    write_atomically(path, lambda part: torch.save(dict(state), part))


def deflate(path: Path) -> None:
    """Compress the zip that torch.save wrote; torch.load reads both. Worth it where most of a tensor is zero."""

    def write(part: Path) -> None:
        with zipfile.ZipFile(path) as plain, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as small:
            for entry in plain.infolist():
                small.writestr(entry.filename, plain.read(entry.filename))

    write_atomically(path, write)


def put_into_bundle(file: Path, bundle: str, place: str) -> None:
    """Copy an exported model to its place in a models folder; nothing when `bundle` is empty."""
    if bundle:
        write_atomically(Path(bundle) / place, lambda part: part.write_bytes(file.read_bytes()))
