"""From a denoising run, as the adapters have set it up, to captured steps; or why it runs plainly."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from arc2face.diffusion.forward import Conditions, ControlForward, ControlSource, UNetForward
from arc2face.diffusion.graphs.fastpath import FastPath
from arc2face.diffusion.graphs.run import ReplayError, StepRun, Watch
from arc2face.diffusion.graphs.sampler import SamplerTable, sampler_table
from arc2face.diffusion.graphs.step import MAX_DRAWS, Control, Given
from arc2face.errors import SettingsError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Plan:
    """A run before it is prepared. `guides`: at which steps guidance acts; `guidance`: (n, 1, 1, 1) float32.

    `conditions`, `sources`: of the steps with guidance, where there are any. `noise`: (n, C, h, w) standard normal.

    `generators`: one per picture. `step_noise`: (steps - 1, n, C, h, w) instead of drawing, None to draw.
    """

    network: Any
    conditions: Conditions
    sources: Sequence[Any]
    guides: Sequence[bool]
    guidance: Tensor
    sampler: str
    config: Mapping[str, Any]
    steps: int
    noise: Tensor
    generators: Sequence[torch.Generator]
    step_noise: Tensor | None

    def why_plainly(self) -> str:
        """What of this run has no place in captured work, empty when all of it has."""
        if not isinstance(self.network, UNetForward):
            return "this UNet runs with diffusers' forward"
        for source in self.sources:
            if not isinstance(source, ControlSource) or not isinstance(source.network, ControlForward):
                return "an adapter adds residuals of its own kind"
            if source.skipped:
                return "the ControlNet's conditions are pooled"
        return ""


def denoise_captured(fast: FastPath, plan: Plan, watch: Watch) -> Tensor | None:
    """Final latents (n, C, h, w) float32 on the device; None when the run has to go plainly, from the start.

    The generators are then where they were. Raises what `watch` raises, and out-of-memory errors.
    """
    if not fast.on:
        return None
    table = sampler_table(plan.sampler, plan.config, plan.steps)
    reason = plan.why_plainly() or ("" if table is not None else "its sampler has no table")
    if table is None or reason:
        log.debug("a run goes plainly: %s", reason)
        return None
    check_step_noise(plan.step_noise, len(table.rows), plan.noise)
    _tune(fast, plan)
    states = [generator.get_state() for generator in plan.generators]
    try:
        made = StepRun(fast, _given(plan, table), _acts(plan), watch, _unguided(plan, table), plan.guides)()
    except ReplayError as error:
        fast.failed(error)
        made = None
    if made is None:
        for generator, state in zip(plan.generators, states, strict=True):
            generator.set_state(state)
    return made


def _tune(fast: FastPath, plan: Plan) -> None:
    """Let the run's networks compute as was measured to be fastest here."""
    height, width = plan.noise.shape[-2:]
    choice = fast.tuned(plan.network.unet, (height, width), len(plan.conditions.prompt))
    if choice is not None:
        choice.apply_to(plan.network, plan.network.unet)
        for source in plan.sources:
            choice.apply_to(source.network, source.network.network)


def check_step_noise(given: Tensor | None, steps: int, noise: Tensor) -> None:
    """Raise SettingsError when given step noise is not for this many steps and pictures."""
    if given is not None and given.shape != (steps - 1, *noise.shape):
        raise SettingsError(f"step_noise must have shape {(steps - 1, *noise.shape)}, not {tuple(given.shape)}.")


def _unguided(plan: Plan, table: SamplerTable) -> Given | None:
    """The same run at steps without guidance; None when it has none, or nothing else."""
    if not plan.conditions.guided or all(plan.guides):
        return None
    sources = [source.conditional(plan.conditions.num_images) for source in plan.sources]
    return _given(replace(plan, conditions=plan.conditions.conditional(), sources=sources), table)


def _given(plan: Plan, table: SamplerTable) -> Given:
    device, prompt = plan.guidance.device, plan.conditions.prompt
    controls: list[Control] = []
    for source in plan.sources:
        source.prepare(prompt, table.timesteps)
        controls.append(Control(source.network, source.inputs))
    return Given(
        network=plan.network,
        table=table,
        inputs=plan.network.prepare(plan.conditions, table.timesteps),
        start=plan.noise.to(device, torch.float32) * table.start,
        guidance=plan.guidance,
        draws=_draws(plan, table),
        controls=tuple(controls),
    )


def _draws(plan: Plan, table: SamplerTable) -> Tensor | None:
    """The noise of every step but the last, drawn in the order in which the sampler itself would draw it."""
    if not table.draws:
        return None
    count = min(len(table.rows) - 1, MAX_DRAWS)
    if plan.step_noise is not None:
        drawn = plan.step_noise
    else:
        shape = (1, *plan.noise.shape[1:])
        steps = [
            torch.cat([torch.randn(shape, generator=generator, dtype=torch.float32) for generator in plan.generators])
            for _ in range(count)
        ]
        drawn = torch.stack(steps)
    return drawn.to(plan.guidance.device, torch.float32)


def _acts(plan: Plan) -> Callable[[int, int], bool]:
    def acts(number: int, step: int) -> bool:
        source: ControlSource = plan.sources[number]
        return source.acts(step, plan.steps) and not source.silent

    return acts
