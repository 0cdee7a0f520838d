"""The loop: accelerate, learning-rate schedule, averages, resumable pieces, TensorBoard, validation pictures.

A trainer hands over an `Objective` (a module whose forward pass is the loss) and a function that draws batches.
Step k on process r draws from a generator seeded by (seed, k, r), so a resumed run sees what an unbroken one would.
"""

from __future__ import annotations

import logging
import math
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from numpy.typing import NDArray
from torch import Tensor, nn

from training.common.checkpoint import load_checkpoint, save_checkpoint
from training.common.config import fingerprint, to_mapping
from training.common.ema import WeightAverage
from training.common.errors import TrainingError
from training.common.muon import MuonAdamW, split_groups

log = logging.getLogger(__name__)
Batch = dict[str, Tensor]
DrawBatch = Callable[[np.random.Generator, int], Batch]
Validate = Callable[[], tuple[dict[str, float], NDArray[np.uint8] | None]]


@dataclass(frozen=True)
class LoopConfig:
    """How long and how fast.

    `steps`: optimiser steps of the whole run. `batch_size`: per process. `decay`: share of the steps at the end over
    which the learning rate falls (cosine). `average`: decay of the weight average. `precision`: no, fp16 or bf16.
    `seconds`: one piece of the run, 0 for no limit: the run saves and returns after that time, to be resumed.
    `save_seconds`: time between checkpoints. `validate_every`: steps, 0 for never.
    `workers`: batches drawn ahead on an accelerator. `compile`: torch.compile of UNet and ControlNet.
    `device`: auto or cpu.
    """

    steps: int = 1000
    batch_size: int = 8
    learning_rate: float = 1e-4
    warmup: int = 100
    decay: float = 0.3
    weight_decay: float = 1e-2
    betas: tuple[float, float] = (0.9, 0.99)
    clip: float = 1.0
    average: float = 0.999
    accumulate: int = 1
    optimiser: Literal["adamw", "muon"] = "adamw"
    precision: Literal["no", "fp16", "bf16"] = "no"
    compile: bool = False
    seed: int = 0
    seconds: float = 0.0
    save_seconds: float = 180.0
    log_every: int = 25
    validate_every: int = 0
    threads: int = 0
    workers: int = 4
    device: Literal["auto", "cpu"] = "auto"


class Objective(nn.Module):
    """A loss as a module. `forward(batch)` returns a dict of scalars whose key `loss` is minimised."""

    def parameter_groups(self, learning_rate: float) -> list[dict[str, Any]]:
        """Optimiser groups; parts that learn at another rate override this."""
        return [{"params": [p for p in self.parameters() if p.requires_grad], "lr": learning_rate}]


@dataclass
class Outcome:
    """What a piece of a run did. `finished` is False when it stopped early and can be resumed."""

    step: int
    finished: bool
    losses: dict[str, float]
    images_per_second: float


def learning_rate_factor(step: int, config: LoopConfig) -> float:
    """Linear warm-up, constant, then a cosine to zero over the last `decay` share of the steps."""
    rise = min(1.0, (step + 1) / max(1, config.warmup))
    start = config.steps * (1 - config.decay)
    fall = max(0.0, (step - start) / max(1.0, config.steps - start))
    return rise * (0.5 + 0.5 * math.cos(math.pi * min(1.0, fall)))


class Loop:
    """One training run in an output folder."""

    def __init__(self, config: LoopConfig, objective: Objective, out: Path, identity: Any, resume: bool = True) -> None:
        """`identity`: the trainer's whole config dataclass; a checkpoint of another one is refused."""
        if config.steps < 1 or config.batch_size < 1:
            raise TrainingError("A run needs at least one step and a batch of at least one; correct the config.")
        if config.threads:
            torch.set_num_threads(config.threads)
        self.config, self.out = config, out
        self.accelerator = accelerator(config)
        if self.accelerator.device.type == "cuda":
            objective = objective.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.fingerprint = fingerprint(_experiment(identity))
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
        self.average = WeightAverage(self.raw, config.average)
        self.step = 0
        if resume:
            self._resume()

    @property
    def device(self) -> torch.device:
        """Where batches are computed."""
        return self.accelerator.device

    def run(self, draw: DrawBatch, validate: Validate | None = None) -> Outcome:
        """Train until the last step, the end of the piece, or an interrupt (Ctrl-C, SIGTERM); always saves."""
        config, started, saved = self.config, time.monotonic(), time.monotonic()
        first, running = self.step, dict[str, float]()
        writer = curve_writer(self.out) if self.accelerator.is_main_process else None
        with _interrupts() as interrupted, self._batches(draw) as batches:
            while self.step < config.steps:
                losses = self._one_step(*next(batches))
                for name, value in losses.items():
                    running[name] = 0.95 * running.get(name, value) + 0.05 * value
                if self.step % config.log_every == 0:
                    self._log(writer, running, (self.step - first) * config.batch_size / (time.monotonic() - started))
                if validate is not None and config.validate_every and self.step % config.validate_every == 0:
                    self._validate(writer, validate)
                now = time.monotonic()
                over = interrupted() or (config.seconds > 0 and now - started > config.seconds)
                if over or now - saved > config.save_seconds:
                    self.save()
                    saved = time.monotonic()
                if over:
                    break
        self.save()
        if writer is not None:
            writer.close()
        speed = (self.step - first) * config.batch_size * self.accelerator.num_processes / (time.monotonic() - started)
        return Outcome(self.step, self.step >= config.steps, running, speed)

    def save(self) -> None:
        """Write the checkpoint (main process only)."""
        if not self.accelerator.is_main_process:
            return
        trainable = {name for name, p in self.raw.named_parameters() if p.requires_grad}
        save_checkpoint(
            self.out,
            {
                "fingerprint": self.fingerprint,
                "step": self.step,
                "weights": {name: p.detach() for name, p in self.raw.named_parameters() if name in trainable},
                "buffers": dict(self.raw.named_buffers()),
                "average": self.average.state_dict(),
                "optimiser": self.optimiser.state_dict(),
            },
        )

    def _resume(self) -> None:
        state = load_checkpoint(self.out, self.fingerprint)
        if state is None:
            return
        parameters = dict(self.raw.named_parameters())
        with torch.no_grad():
            for name, value in state["weights"].items():
                parameters[name].copy_(value)
            for name, buffer in self.raw.named_buffers():
                buffer.copy_(state["buffers"][name])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step = int(state["step"])
        log.info("resumed at step %d", self.step)

    @contextmanager
    def _batches(self, draw: DrawBatch) -> Iterator[Iterator[tuple[int, list[Batch]]]]:
        """Yields an endless iterator over (random seed, batches) of the steps to come."""

        def make(step: int) -> tuple[int, list[Batch]]:
            rng = np.random.default_rng([self.config.seed, step, self.accelerator.process_index])
            seed = int(rng.integers(2**31))
            return seed, [draw(rng, self.config.batch_size) for _ in range(self.config.accumulate)]

        ahead = self.config.workers if self.device.type != "cpu" else 0
        if ahead < 1:
            yield map(make, count(self.step))
            return
        with ThreadPoolExecutor(ahead, thread_name_prefix="draw") as pool:
            waiting = deque(pool.submit(make, step) for step in range(self.step, self.step + ahead))

            def following() -> Iterator[tuple[int, list[Batch]]]:
                for step in count(self.step + ahead):
                    ready = waiting.popleft().result()
                    waiting.append(pool.submit(make, step))
                    yield ready

            yield following()

    def _one_step(self, seed: int, batches: list[Batch]) -> dict[str, float]:
        config = self.config
        factor = learning_rate_factor(self.step, config)
        for group in self.optimiser.param_groups:
            group["lr"] = group["peak"] * factor
        torch.manual_seed(seed)
        losses: dict[str, Tensor] = {}
        for part, drawn in enumerate(batches):
            batch = {name: value.to(self.device, non_blocking=True) for name, value in drawn.items()}
            synchronise = self.accelerator.no_sync(self.objective) if part < config.accumulate - 1 else _nothing()
            with synchronise, self.accelerator.autocast():
                losses = self.objective(batch)
            self.accelerator.backward(losses["loss"] / config.accumulate)
        self.accelerator.clip_grad_norm_(self.raw.parameters(), config.clip)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.step += 1
        self.average.update(self.step)
        values = {name: float(value.detach()) for name, value in losses.items()}
        if not math.isfinite(values["loss"]):
            raise TrainingError(f"The loss became {values['loss']} at step {self.step}; lower the learning rate.")
        return values

    def _validate(self, writer: Any, validate: Validate) -> None:
        if not self.accelerator.is_main_process:
            return
        self.raw.eval()
        with torch.no_grad(), self.average.applied():
            figures, picture = validate()
        self.raw.train()
        for name, value in figures.items():
            writer.add_scalar(f"validation/{name}", value, self.step)
        if picture is not None:
            writer.add_image("validation", picture, self.step, dataformats="HWC")
        log.info("step %d validation %s", self.step, figures)

    def _log(self, writer: Any, losses: dict[str, float], speed: float) -> None:
        if writer is None:
            return
        for name, value in losses.items():
            writer.add_scalar(f"train/{name}", value, self.step)
        writer.add_scalar("train/images_per_second", speed, self.step)
        text = ", ".join(f"{name} {value:.4f}" for name, value in losses.items())
        log.info("step %d of %d: %s, %.1f images/s", self.step, self.config.steps, text, speed)


def shared(rng: np.random.Generator) -> np.random.Generator:
    """The generator of a step that is the same on every process: for choices that decide how long a step takes."""
    seed, step, _ = rng.bit_generator.seed_seq.entropy  # type: ignore[attr-defined]
    return np.random.default_rng([seed, step])


def accelerator(config: LoopConfig) -> Accelerator:
    """Accelerate's view of the machine; falls back to the CPU, in full precision, with a warning."""
    on_cpu = config.device == "cpu" or not (torch.cuda.is_available() or torch.backends.mps.is_available())
    precision = config.precision
    if on_cpu and precision != "no":
        log.warning("no accelerator found: training on the CPU in float32; expect it to be a hundred times slower")
        precision = "no"
    # Parts that a step does not use (the ControlNet, say) have no gradient there.
    parts = DistributedDataParallelKwargs(find_unused_parameters=True)
    return Accelerator(mixed_precision=precision, cpu=on_cpu, kwargs_handlers=[parts])


def make_optimiser(config: LoopConfig, groups: list[dict[str, Any]], names: dict[int, str]) -> torch.optim.Optimizer:
    """AdamW, or Muon for hidden matrices with AdamW for the rest. `names`: id of a parameter -> its name."""
    if config.optimiser == "muon":
        return MuonAdamW(split_groups(groups, names), config.betas, config.weight_decay)
    fused = not torch.backends.mps.is_available()
    return torch.optim.AdamW(groups, betas=config.betas, weight_decay=config.weight_decay, fused=fused)


def _experiment(identity: Any) -> dict[str, Any]:
    """The settings that make a run what it is; how it is cut into pieces and logged may change on resuming."""
    mapping = to_mapping(identity)
    for name in ("seconds", "save_seconds", "log_every", "validate_every", "threads", "device", "compile", "workers"):
        mapping.get("loop", {}).pop(name, None)
    mapping.pop("output", None)
    return mapping


def curve_writer(out: Path) -> Any:
    """TensorBoard writer for `out`/curves. Raises TrainingError where TensorBoard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise TrainingError("Training curves need TensorBoard: pip install 'arc2face-studio[training]'.") from error
    return SummaryWriter(str(out / "curves"))


@contextmanager
def _nothing() -> Iterator[None]:
    yield


@contextmanager
def _interrupts() -> Iterator[Callable[[], bool]]:
    """Turn SIGINT and SIGTERM into a question the loop asks after each step."""
    caught: list[int] = []

    def note(number: int, frame: object) -> None:
        caught.append(number)

    try:
        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread: the caller's own handling applies
        yield lambda: False
        return
    try:
        yield lambda: bool(caught)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
