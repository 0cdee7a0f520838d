"""The one loop of every trainer: accelerate, learning rate, averages, resumable pieces, curves, validation.

A trainer hands over an `Objective` (a module whose forward pass is the loss) and a function that draws batches; see
`arc2face_training.common.objective`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import math
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from arc2face_training.common.averages import WeightAverage
from arc2face_training.common.checkpoint import CHECKPOINT, Checkpoints, check_settings
from arc2face_training.common.config import default_experiments, experiment
from arc2face_training.common.curves import Curves
from arc2face_training.common.errors import TrainingError
from arc2face_training.common.memory import checkpoint_layers, halve_frozen
from arc2face_training.common.objective import Batch, DrawBatch, Objective, Turn, batches_from, total
from arc2face_training.common.optimisers import make_optimiser
from arc2face_training.common.session import Session
from arc2face_training.common.settings import LoopConfig, fall_start, learning_rate_factor

__all__ = ["Batch", "DrawBatch", "Loop", "LoopConfig", "Objective", "Outcome", "Turn", "Validate", "total"]

log = logging.getLogger(__name__)
Validate = Callable[[], tuple[dict[str, float], NDArray[np.uint8] | None]]
NOT_NEEDED = ("vae.decoder.", "vae.post_quant_conv.", "features.")
"""Frozen parts that only show or judge; what is learned does not depend on their being the same later."""
SAVING_SHARE = 0.05
"""Largest share of the time that writing checkpoints may take."""
READ_EVERY = 10
"""Steps after which an accelerator's losses are read."""


@dataclass
class Outcome:
    """What a piece of a run did. `finished`: the last step is done. `export`: now is the time to write the models."""

    step: int
    finished: bool
    export: bool
    losses: dict[str, float]
    images_per_second: float

    def figures(self) -> dict[str, float]:
        """What every trainer returns."""
        return {**self.losses, "step": float(self.step), "images_per_second": self.images_per_second}


class Loop:
    """One training run in an output folder."""

    def __init__(self, session: Session, objective: Objective, out: Path, settings: Any, resume: bool = True) -> None:
        """`settings`: the trainer's whole config dataclass, with `loop`; a checkpoint of another one is refused."""
        config: LoopConfig = settings.loop
        self.config, self.session, self.out = config, session, out
        self.accelerator, self.checkpoints = session.accelerator, Checkpoints(out, config)
        if session.device.type == "cuda":
            objective = objective.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.settings = {**experiment(settings), "loop": dataclasses.asdict(config)}
        self.settings["loop"]["betas"] = list(config.betas)
        self.defaults = default_experiments(settings)
        groups = objective.parameter_groups(config.learning_rate)
        for group in groups:
            group["peak"] = group["lr"]
        optimiser = make_optimiser(config, groups, {id(p): name for name, p in objective.named_parameters()})
        self.raw = objective
        self.objective, self.optimiser = self.accelerator.prepare(objective, optimiser)
        for name in ("unet", "controlnet") if config.compile else ():
            part = getattr(self.raw, name, None)
            if isinstance(part, nn.Module):
                part.compile()
        if config.checkpointing and not checkpoint_layers(self.raw):
            log.warning("nothing here offers gradient checkpointing; loop.checkpointing changes nothing")
        self.average = WeightAverage(self.raw, config.average)
        self.frozen = self._frozen_digest()
        self.step, self._unread = 0, list[dict[str, Tensor]]()
        if resume:
            self._resume()
        elif session.is_main:
            (out / CHECKPOINT).unlink(missing_ok=True)
        if session.is_main:
            self.checkpoints.require_space(self._size())

    @property
    def device(self) -> torch.device:
        """Where batches are computed."""
        return self.session.device

    def run(self, draw: DrawBatch, validate: Validate | None = None) -> Outcome:
        """Train until the last step, the end of the piece, or an interrupt (Ctrl-C, SIGTERM); always saves.

        Several processes stop and save together, whoever saw the clock or the signal.
        """
        config, first, started = self.config, self.step, time.monotonic()
        if config.export == "now":
            return self._outcome(first, started, {})
        saved, pause, running = started, config.save_seconds, dict[str, float]()
        curves = Curves(self.out, config.tracker, self.settings) if self.session.is_main else None
        if config.frozen == "half":
            halve_frozen(self.raw, str(self.accelerator.mixed_precision))
        ahead = config.workers if self.device.type != "cpu" else 0
        drawing = batches_from(draw, config, self.step, self.session.rank, ahead)
        with self.session.interrupts(), drawing as batches:
            while self.step < config.steps:
                self._one_step(*next(batches))
                if self.device.type == "cpu" or self.step % READ_EVERY == 0 or self.step % config.log_every == 0:
                    self._read_losses(running)
                if self.step % config.log_every == 0:
                    self._log(curves, running, (self.step - first) * self._batch() / (time.monotonic() - started))
                if validate is not None and config.validate_every and self.step % config.validate_every == 0:
                    self._validate(curves, validate)
                late = self.session.is_main and time.monotonic() - saved > pause
                over, save = self.session.agree(bool(self.session.caught) or self.session.over(), late)
                if over:
                    break
                if save or self.checkpoints.due(self.step):
                    begun = time.monotonic()
                    self._read_losses(running)
                    self.save()
                    saved = time.monotonic()
                    pause = max(config.save_seconds, (saved - begun) / SAVING_SHARE)
        self._read_losses(running)
        self.save()
        self.session.wait()
        if curves is not None:
            curves.close()
        return self._outcome(first, started, running)

    def save(self) -> None:
        """Write the checkpoint (main process only)."""
        if not self.session.is_main:
            return
        scaler = self.accelerator.scaler
        self.checkpoints.save(
            {
                "settings": self.settings,
                "frozen": self.frozen,
                "step": self.step,
                "fall": fall_start(self.config),
                "weights": {name: p.detach() for name, p in self.raw.named_parameters() if p.requires_grad},
                "buffers": dict(self.raw.named_buffers()),
                "average": self.average.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "scaler": {} if scaler is None else scaler.state_dict(),
            }
        )

    def _outcome(self, first: int, started: float, losses: dict[str, float]) -> Outcome:
        finished = self.step >= self.config.steps
        speed = (self.step - first) * self._batch() / max(time.monotonic() - started, 1e-9)
        export = self.session.is_main and (finished or self.config.export != "end")
        return Outcome(self.step, finished, export, losses, speed)

    def _batch(self) -> int:
        return self.config.batch_size * self.config.accumulate * self.session.count

    def _resume(self) -> None:
        state = self.checkpoints.load()
        if state is None:
            if self.config.export == "now":
                raise TrainingError(f"{self.out} holds no checkpoint to export. Train first, or name the folder.")
            return
        path = self.out / (self.config.checkpoint or CHECKPOINT)
        for difference in check_settings(path, state["settings"], self.settings, self.defaults):
            log.info("resuming with %s", difference)
        if state["frozen"] != self.frozen:
            raise TrainingError(
                f"{path} was trained on other frozen parts than those of the bundle now. "
                "Name the bundle it belongs to, or delete it to start over."
            )
        self._read(state)
        self.step = int(state["step"])
        log.info("resumed at step %d", self.step)

    def _read(self, state: Mapping[str, Any]) -> None:
        parameters = dict(self.raw.named_parameters())
        with torch.no_grad():
            for name, value in state["weights"].items():
                parameters[name].copy_(value)
            for name, buffer in self.raw.named_buffers():
                buffer.copy_(state["buffers"][name])
        self.average.load_state_dict(state["average"], int(state["step"]))
        # The optimiser's own loading would bring the old rates back as well.
        wanted = [{k: v for k, v in group.items() if k != "params"} for group in self.optimiser.param_groups]
        self.optimiser.load_state_dict(state["optimiser"])
        for group, values in zip(self.optimiser.param_groups, wanted, strict=True):
            group.update(values)
        if self.accelerator.scaler is not None and state["scaler"]:
            self.accelerator.scaler.load_state_dict(state["scaler"])

    def _frozen_digest(self) -> str:
        """Short hash of the frozen weights that matter to what is learned (a few numbers of each tensor)."""
        digest = hashlib.sha256()
        for name, p in self.raw.named_parameters():
            if not p.requires_grad and not name.startswith(NOT_NEEDED):
                few = p.detach().flatten()[:64].float().cpu().numpy()
                digest.update(f"{name}{tuple(p.shape)}".encode() + few.tobytes())
        return digest.hexdigest()[:16]

    def _size(self) -> int:
        trained = sum(p.numel() * p.element_size() for p in self.raw.parameters() if p.requires_grad)
        return 4 * trained + sum(b.numel() * b.element_size() for b in self.raw.buffers())

    def _one_step(self, seed: int, batches: list[Batch]) -> None:
        config = self.config
        factor = learning_rate_factor(self.step, config)
        for group in self.optimiser.param_groups:
            group["lr"] = group["peak"] * factor
        torch.manual_seed(seed)
        losses: dict[str, Tensor] = {}
        for part, drawn in enumerate(batches):
            batch = {name: value.to(self.device, non_blocking=True) for name, value in drawn.items()}
            last = part == config.accumulate - 1
            with nullcontext() if last else self.accelerator.no_sync(self.objective), self.accelerator.autocast():
                losses = self.objective(batch)
            self.accelerator.backward(losses["loss"] / config.accumulate)
            self.raw.release()
        self.accelerator.clip_grad_norm_(self.raw.parameters(), config.clip)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.step += 1
        self.average.update()
        self._unread.append({name: value.detach() for name, value in losses.items()})

    def _read_losses(self, running: dict[str, float]) -> None:
        """Take the losses of the last steps into the running means. Raises TrainingError for one that is not finite.

        Called before anything is saved. Reading waits for an accelerator, so it is not done after every step there.
        """
        first = self.step - len(self._unread) + 1
        for step, losses in enumerate(self._unread, first):
            values = dict(zip(losses, torch.stack([x.float() for x in losses.values()]).tolist(), strict=True))
            if not math.isfinite(values["loss"]):
                raise TrainingError(f"The loss became {values['loss']} at step {step}; lower the learning rate.")
            for name, value in values.items():
                running[name] = 0.95 * running.get(name, value) + 0.05 * value
        self._unread.clear()

    def _validate(self, curves: Curves | None, validate: Validate) -> None:
        if curves is None:
            return
        self.raw.eval()
        with torch.no_grad(), self.average.applied(), self.accelerator.autocast():
            figures, picture = validate()
        self.raw.release()
        self.raw.train()
        curves.record("validation", self.step, figures)
        if picture is not None:
            curves.picture(self.step, picture)
        log.info("step %d validation %s", self.step, figures)

    def _log(self, curves: Curves | None, losses: dict[str, float], speed: float) -> None:
        if curves is None:
            return
        curves.record("train", self.step, {**losses, "images_per_second": speed})
        text = ", ".join(f"{name} {value:.4f}" for name, value in losses.items())
        log.info("step %d of %d: %s, %.1f images/s", self.step, self.config.steps, text, speed)
