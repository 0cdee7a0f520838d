"""How long and how fast a run goes, and the learning rate that follows from it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class LoopConfig:
    """How long and how fast.

    Length: `steps` optimiser steps of the whole run, `batch_size` per process, `accumulate` batches per step.
    Learning rate: rises over `warmup` steps, stays, and falls to `floor` (share of the peak) at the end, over the last
    `decay_steps` steps, or, where that is 0, over the last `decay` share of them; `fall` is the shape of the fall
    ("sqrt": 1 - sqrt, arXiv 2405.18392). A run that is lengthened goes on from the checkpoint before its fall.
    `average`: decay of the weight average. `clip`: largest norm of the gradient.
    Pieces: `seconds` is the length of one piece of the run, 0 for no limit: the run saves and returns, to be resumed.
    `save_seconds`: time between checkpoints (longer where writing one takes long). `keep`: how many numbered
    checkpoints are kept beside the last, one every `keep_every` steps. `checkpoint`: file to go on from, in the run's
    folder; empty for the last. `export`: write the models at the end of the run, after each piece, or now, without
    a step. `validate_every`: steps, 0 for never. `tracker`: where figures go besides log.jsonl.
    Machine: `precision` no, fp16 or bf16; `workers` batches drawn ahead on an accelerator; `compile`: torch.compile
    of UNet and ControlNet; `threads` of torch, 0 for its own choice; `device` auto or cpu.
    Memory: `checkpointing` computes layers again in the backward pass instead of keeping them; `frozen` half keeps
    what does not learn in the run's half precision; the optimiser `adamw8bit` (bitsandbytes) needs a quarter of Adam's.
    """

    steps: int = 1000
    batch_size: int = 8
    learning_rate: float = 1e-4
    warmup: int = 100
    decay: float = 0.3
    decay_steps: int = 0
    fall: Literal["cosine", "linear", "sqrt"] = "cosine"
    floor: float = 0.0
    weight_decay: float = 1e-2
    betas: tuple[float, float] = (0.9, 0.99)
    clip: float = 1.0
    average: float = 0.999
    accumulate: int = 1
    optimiser: Literal["adamw", "muon", "adamw8bit"] = "adamw"
    precision: Literal["no", "fp16", "bf16"] = "no"
    compile: bool = False
    checkpointing: bool = False
    frozen: Literal["full", "half"] = "full"
    seed: int = 0
    seconds: float = 0.0
    save_seconds: float = 180.0
    keep: int = 0
    keep_every: int = 0
    checkpoint: str = ""
    export: Literal["end", "piece", "now"] = "end"
    log_every: int = 25
    validate_every: int = 0
    tracker: Literal["tensorboard", "wandb", "none"] = "tensorboard"
    threads: int = 0
    workers: int = 4
    device: Literal["auto", "cpu"] = "auto"


@dataclass(frozen=True)
class FaceLoopConfig(LoopConfig):
    """LoopConfig with the usual values of the small networks that look at faces: one long cosine, a short average."""

    batch_size: int = 64
    learning_rate: float = 2e-3
    warmup: int = 50
    decay: float = 1.0
    floor: float = 0.02
    weight_decay: float = 5e-3
    betas: tuple[float, float] = (0.9, 0.999)
    clip: float = 5.0
    average: float = 0.99
    threads: int = 1


def fall_start(config: LoopConfig) -> int:
    """First step whose learning rate is below the peak again; `steps` when it never falls."""
    length = config.decay_steps or config.steps * config.decay
    return max(0, math.ceil(config.steps - length))


def learning_rate_factor(step: int, config: LoopConfig) -> float:
    """Share of the peak learning rate at a step: linear warm-up, constant, then the fall."""
    rise = min(1.0, (step + 1) / max(1, config.warmup))
    start = config.steps - (config.decay_steps or config.steps * config.decay)
    fallen = min(1.0, max(0.0, (step - start) / max(1.0, config.steps - start)))
    shapes = {"cosine": 0.5 + 0.5 * math.cos(math.pi * fallen), "linear": 1 - fallen, "sqrt": 1 - fallen**0.5}
    return rise * (config.floor + (1 - config.floor) * shapes[config.fall])
