"""The processes of one piece of a run: device, clock, interrupts, and decisions that all processes take together."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs

from arc2face_training.common.errors import TrainingError
from arc2face_training.common.settings import LoopConfig

log = logging.getLogger(__name__)


class PieceOver(Exception):
    """The time of this piece ended while data were being prepared; what is prepared is kept."""


class Session:
    """This process among its equals. `seconds` of the config count from here."""

    def __init__(self, config: LoopConfig) -> None:
        if config.steps < 1 or config.batch_size < 1 or config.accumulate < 1:
            raise TrainingError("A run needs at least one step and a batch of at least one; correct the config.")
        if config.threads:
            torch.set_num_threads(config.threads)
        self.started, self.seconds = time.monotonic(), config.seconds
        self.accelerator = _accelerator(config)
        self.caught: list[int] = []

    @property
    def device(self) -> torch.device:
        """Where batches are computed."""
        return self.accelerator.device

    @property
    def is_main(self) -> bool:
        """Whether this process writes checkpoints and models."""
        return self.accelerator.is_main_process

    @property
    def rank(self) -> int:
        """Number of this process."""
        return self.accelerator.process_index

    @property
    def count(self) -> int:
        """Number of processes."""
        return self.accelerator.num_processes

    def over(self) -> bool:
        """Whether this process's piece has run out."""
        return 0 < self.seconds < time.monotonic() - self.started

    def agree(self, *wishes: bool) -> list[bool]:
        """One answer for all processes: True where any of them wishes so. Every process must ask at the same place.

        Clocks and signals differ between processes; one that left alone would let the others wait for ever.
        """
        if self.count == 1:
            return list(wishes)
        votes = torch.tensor(wishes, dtype=torch.int32, device=self.device)
        return [bool(total) for total in self.accelerator.reduce(votes, "sum").tolist()]

    def wait(self) -> None:
        """Until all processes are here."""
        self.accelerator.wait_for_everyone()

    @contextmanager
    def interrupts(self) -> Iterator[None]:
        """Within, SIGINT and SIGTERM are noted in `caught` instead of ending the process."""
        self.caught.clear()
        try:
            before = {n: signal.signal(n, self._note) for n in (signal.SIGINT, signal.SIGTERM)}
        except ValueError:  # not the main thread: the caller's own handling applies
            before = {}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, frame: object) -> None:
        self.caught.append(number)


def cpu_has_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 itself (AVX-512 BF16, AMX, ARM's BF16); elsewhere it is slower."""
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _accelerator(config: LoopConfig) -> Accelerator:
    """Accelerate's view of the machine; falls back to the CPU, with a warning, and in float32 where it must."""
    on_cpu = config.device == "cpu" or not (torch.cuda.is_available() or torch.backends.mps.is_available())
    precision = config.precision
    if on_cpu and precision != "no":
        log.warning("no accelerator found: training on the CPU; expect it to be a hundred times slower")
        precision = "bf16" if precision == "bf16" and cpu_has_bfloat16() else "no"
    # Parts that a step does not use (the ControlNet, say) have no gradient there.
    parts = DistributedDataParallelKwargs(find_unused_parameters=True)
    return Accelerator(mixed_precision=precision, cpu=on_cpu, kwargs_handlers=[parts])
