"""One denoising step on static buffers: networks, guidance, sampler and counter, with no number of a request in it.

Which sampler runs, how many steps, from which noise, for whom, how strongly guided, with which expression, reference or
pose and how strongly: all of that is content of tensors. What decides the work itself, and so makes another program, is
the kind: number of pictures, size, guidance or none, and how many tokens there are to read.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from arc2face.diffusion.forward import ControlForward, ControlInputs, KeyValues, RunInputs, StepInputs, UNetForward
from arc2face.diffusion.graphs.sampler import COLUMNS, History, SamplerTable, advance
from arc2face.settings import FAST, FULL

MAX_STEPS = max(FULL.steps_range[1], FAST.steps_range[1])
MAX_DRAWS = FAST.steps_range[1]
"""Only LCM draws noise, and it takes at most so many steps."""


@dataclass(frozen=True)
class Control:
    """A ControlNet of a run and what it reads."""

    network: ControlForward
    inputs: ControlInputs


@dataclass(frozen=True)
class Given:
    """One run. `start`: (n, C, h, w) first latents; `guidance`: (n, 1, 1, 1), both float32.

    `draws`: (k, n, C, h, w) float32 noise of the first k steps, None for a sampler that draws none.
    """

    network: UNetForward
    table: SamplerTable
    inputs: RunInputs
    start: Tensor
    guidance: Tensor
    draws: Tensor | None = None
    controls: tuple[Control, ...] = ()

    def kind(self) -> Hashable:
        """What decides the work; runs of one kind share a program."""
        inputs = self.inputs
        controls = tuple((id(each.network.network), *_shapes(_control_tensors(each.inputs))) for each in self.controls)
        shapes = _shapes((inputs.time[0], *_flat(inputs.cross), *_flat(inputs.expression), *_flat(inputs.bank)))
        parts = inputs.guided, inputs.expression is not None, inputs.bank is not None
        return ("step", tuple(self.start.shape), parts, shapes, controls)

    def weights(self) -> tuple[nn.Module, ...]:
        """The modules that a step reads."""
        return (self.network.unet, *(each.network.network for each in self.controls))


class StepProgram:
    """Static buffers for runs of one kind, and one step on them."""

    def __init__(self, given: Given) -> None:
        """Buffers in the shapes of `given`, which is not kept."""
        device, shape, inputs = given.start.device, given.start.shape, given.inputs
        self.network = given.network
        self.guided = inputs.guided
        self.dtype = inputs.cross[0][0].dtype
        self.history = History.zeros(tuple(shape), device)
        self.number = torch.zeros(1, dtype=torch.long, device=device)
        self.rows = torch.zeros((MAX_STEPS, len(COLUMNS)), dtype=torch.float32, device=device)
        self.draws = torch.zeros((MAX_DRAWS, *shape), dtype=torch.float32, device=device)
        self.guidance = torch.zeros((shape[0], 1, 1, 1), dtype=torch.float32, device=device)
        self.time = _per_step(inputs.time)
        self.cross = _like(inputs.cross)
        self.expression = None if inputs.expression is None else _like(inputs.expression)
        self.bank = None if inputs.bank is None else _like(inputs.bank)
        self.controls = tuple(Control(each.network, _control_like(each.inputs)) for each in given.controls)

    def fill(self, given: Given) -> None:
        """Put a run of this kind into the buffers."""
        steps = len(given.table.rows)
        with torch.no_grad():
            for buffer in self.changed():
                buffer.zero_()
            self.history.latents.copy_(given.start)
            self.rows[:steps].copy_(given.table.rows)
            self.guidance.copy_(given.guidance)
            if given.draws is not None:
                self.draws[: len(given.draws)].copy_(given.draws)
            self.time[:steps].copy_(given.inputs.time)
            for ours, theirs in zip(self._read(), _read(given.inputs), strict=True):
                ours.copy_(theirs)
            for mine, other in zip(self.controls, given.controls, strict=True):
                mine.inputs.time[:steps].copy_(other.inputs.time)
                for ours, theirs in zip(_constant(mine.inputs), _constant(other.inputs), strict=True):
                    ours.copy_(theirs)

    def __call__(self) -> None:
        """One step. Nothing is read by the host; only `changed` is written."""
        row = self.rows.index_select(0, self.number)[0]
        latents = (row[0] * self.history.latents).to(self.dtype)
        rows = torch.cat([latents, latents]) if self.guided else latents
        inputs = StepInputs(
            self.time.index_select(0, self.number)[0], self.cross, self.expression, self.bank, self._residuals(rows)
        )
        output = self.network(rows, inputs, self.guided).float()
        if self.guided:
            unconditional, conditional = output.chunk(2)
            output = unconditional + self.guidance * (conditional - unconditional)
        noise = self.draws.index_select(0, self.number.clamp(max=MAX_DRAWS - 1))[0]
        advance(self.history, output, row, noise)
        self.number.add_(1)

    @property
    def latents(self) -> Tensor:
        """(n, C, h, w) float32 after the steps so far."""
        return self.history.latents

    @property
    def estimate(self) -> Tensor:
        """(n, C, h, w) float32: the clean picture as the last step saw it."""
        return self.history.m1

    def take_over(self, other: StepProgram) -> None:
        """Go on where another program of the same run stands."""
        if other is not self:
            for ours, theirs in zip(self.changed(), other.changed(), strict=True):
                ours.copy_(theirs)

    def changed(self) -> Sequence[Tensor]:
        """Latents, the sampler's memory and the step counter."""
        return (*self.history.tensors(), self.number)

    def buffers(self) -> Iterable[Tensor]:
        """All of them; what belongs to the networks is not among them."""
        yield from (*self.changed(), self.rows, self.draws, self.guidance, self.time, *self._read())
        for control in self.controls:
            yield from _control_tensors(control.inputs)

    def _read(self) -> list[Tensor]:
        return [*_flat(self.cross), *_flat(self.expression), *_flat(self.bank)]

    def _residuals(self, rows: Tensor) -> tuple[Tensor, ...] | None:
        """Those of several ControlNets add up."""
        total: tuple[Tensor, ...] | None = None
        for control in self.controls:
            time = control.inputs.time.index_select(0, self.number)[0]
            made = control.network(rows, time, control.inputs)
            total = made if total is None else tuple(a + b for a, b in zip(total, made, strict=True))
        return total


def _flat(pairs: KeyValues | None) -> list[Tensor]:
    return [tensor for pair in pairs or () for tensor in pair]


def _read(inputs: RunInputs) -> list[Tensor]:
    return [*_flat(inputs.cross), *_flat(inputs.expression), *_flat(inputs.bank)]


def _constant(inputs: ControlInputs) -> list[Tensor]:
    return [*_flat(inputs.cross), inputs.condition, inputs.strength]


def _control_tensors(inputs: ControlInputs) -> list[Tensor]:
    return [inputs.time, *_constant(inputs)]


def _shapes(tensors: Iterable[Tensor]) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(tensor.shape) for tensor in tensors)


def _like(pairs: KeyValues) -> KeyValues:
    return tuple((_empty(key), _empty(value)) for key, value in pairs)


def _empty(tensor: Tensor) -> Tensor:
    """Zeros in the same shape, laid out plainly."""
    return torch.zeros(tensor.shape, dtype=tensor.dtype, device=tensor.device)


def _per_step(table: Tensor) -> Tensor:
    """Room for the longest schedule in place of this one's."""
    return torch.zeros((MAX_STEPS, *table.shape[1:]), dtype=table.dtype, device=table.device)


def _control_like(inputs: ControlInputs) -> ControlInputs:
    return ControlInputs(_per_step(inputs.time), _like(inputs.cross), _empty(inputs.condition), _empty(inputs.strength))
