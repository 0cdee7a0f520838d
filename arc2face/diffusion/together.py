"""Requests of several visitors in one batch: the same kind of work, everything else each one's own.

Each member's adapters set up a run of their own, in their own order, with their own noise, guidance, scales and seeds;
the runs are then laid side by side, row by row, and denoised as one. No row reads another, so a picture depends on how
many rows there are (another shape may round the last bits differently) and not on whose the others are.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from arc2face.diffusion.adapters.pose import output_size
from arc2face.diffusion.denoising import Denoiser
from arc2face.diffusion.forward import ControlSource, ExpressionTokens
from arc2face.diffusion.forward.conditions import Bank
from arc2face.diffusion.hooks import ResidualSource
from arc2face.errors import SettingsError
from arc2face.settings import MAX_IMAGES
from arc2face.types import GenerationRequest

MAX_TOGETHER = MAX_IMAGES
"""Most pictures of one batch, as many as one request may have."""


def batch_kind(request: GenerationRequest) -> Hashable | None:
    """Requests of equal kind may run together; None for one that has to run alone.

    Alone run those with numbers of their own for exact comparisons, and those with settings of other people's
    adapters, whose hooks expect one request.
    """
    if request.noise is not None or request.step_noise is not None or request.extras:
        return None
    pose, expression, look = request.pose, request.expression, request.reference
    if look is not None and look.latent_noise is not None:
        return None
    return (
        "lcm" if request.fast else request.scheduler,
        request.denoising_steps,
        (request.guidance_start, request.guidance_end) if request.guidance > 1.0 else None,
        (request.height, request.width) if pose is None else output_size(request, pose),
        None if pose is None or pose.strength == 0 else (pose.start, pose.end),
        expression is not None and expression.strength != 0,
        None if look is None else (look.strength, look.image.shape),
    )


def companions(request: GenerationRequest) -> Callable[[GenerationRequest], bool] | None:
    """Says of one request after another whether it may run along with this one; None when it runs alone."""
    kind, room = batch_kind(request), MAX_TOGETHER - request.num_images
    if kind is None:
        return None

    def fits(other: GenerationRequest) -> bool:
        nonlocal room
        if other.num_images > room or batch_kind(other) != kind:
            return False
        room -= other.num_images
        return True

    return fits


def check_together(requests: Sequence[GenerationRequest]) -> None:
    """Raises SettingsError where requests cannot make up one batch: another kind, too many pictures, or none."""
    kinds = {batch_kind(request) for request in requests}
    pictures = sum(request.num_images for request in requests)
    if len(requests) > 1 and (len(kinds) > 1 or None in kinds):
        raise SettingsError("Only requests of one kind, without noise or settings of their own, run as one batch.")
    if not 0 < pictures <= MAX_TOGETHER:
        raise SettingsError(f"A batch has 1 to {MAX_TOGETHER} pictures, not {pictures}.")


@dataclass(frozen=True)
class Member:
    """A run in a batch, with what its pictures start from."""

    run: Denoiser
    noise: Tensor
    generators: list[torch.Generator]


def joined(members: Sequence[Member], cancelled: Callable[[], bool], watched: Sequence[bool]) -> Member:
    """All runs as one, in their order. `watched`: whose first picture is looked at; `cancelled`: nobody waits any more.

    The runs agree in what `batch_kind` compares.
    """
    runs = [member.run for member in members]
    first, total = runs[0], sum(run.num_images for run in runs)
    starts = [sum(run.num_images for run in runs[:k]) for k in range(len(runs))]
    guidance = [torch.full((run.num_images, 1, 1, 1), run.guidance_scale, dtype=torch.float32) for run in runs]
    whole = replace(
        first,
        prompt=torch.cat([_each(run.prompt, run) for run in runs]),
        negative=torch.cat([_each(run.negative, run) for run in runs]),
        num_images=total,
        first=0,
        guidance=torch.cat(guidance).to(first.device),
        residual_sources=_sources(runs),
        expression=_expression(runs),
        bank=_bank(runs),
        cancelled=cancelled,
        watched=[start for start, looked in zip(starts, watched, strict=True) if looked],
    )
    noise = torch.cat([member.noise for member in members])
    return Member(whole, noise, [each for member in members for each in member.generators])


def _each(row: Tensor, run: Denoiser) -> Tensor:
    """One row per picture of a run."""
    return row.expand(run.num_images, *row.shape[1:])


def _rows(parts: Sequence[Tensor], runs: Sequence[Denoiser]) -> Tensor:
    """Rows of all runs in the order of the loop: each run's unconditional ones first, then the conditional ones."""
    if not runs[0].guided:
        return torch.cat(list(parts))
    halves = [part.chunk(2) for part in parts]
    return torch.cat([half[0] for half in halves] + [half[1] for half in halves])


def _strengths(values: Sequence[float | Tensor], counts: Sequence[int], like: Tensor) -> list[Tensor]:
    """A strength per row, (rows, 1, ..., 1) in as many dimensions as `like`."""
    shape = (1,) * (like.ndim - 1)
    return [
        torch.as_tensor(value, dtype=like.dtype, device=like.device).expand(count, *shape).clone()
        for value, count in zip(values, counts, strict=True)
    ]


def _expression(runs: Sequence[Denoiser]) -> ExpressionTokens | None:
    given = [run.expression for run in runs if run.expression is not None]
    if len(given) != len(runs):
        return None
    tokens = [each.tokens for each in given]
    strengths = _strengths([each.strength for each in given], [len(each) for each in tokens], tokens[0])
    return ExpressionTokens(_rows(tokens, runs), given[0].projections, _rows(strengths, runs))


def _bank(runs: Sequence[Denoiser]) -> Bank | None:
    given = [run.bank for run in runs if run.bank is not None]
    if len(given) != len(runs):
        return None
    return {
        name: torch.cat([_each(bank[name], run) for bank, run in zip(given, runs, strict=True)]) for name in given[0]
    }


def _sources(runs: Sequence[Denoiser]) -> list[ResidualSource]:
    """The runs' ControlNets side by side; those whose strength is 0 do not run."""
    given = [[each for each in run.residual_sources if isinstance(each, ControlSource)] for run in runs]
    heard = [[source for source in sources if not source.silent] for sources in given]
    return [_side_by_side(runs, sources) for sources in zip(*heard, strict=True)]


def _side_by_side(runs: Sequence[Denoiser], sources: Sequence[ControlSource]) -> ControlSource:
    """One ControlNet with a condition and a strength per row. Pooled conditions have conditional rows alone."""
    first = sources[0]
    pooled = first.skipped > 0
    counts = [run.num_images * (2 if run.guided and not pooled else 1) for run in runs]
    conditions = [
        source.condition.expand(count, *source.condition.shape[1:])
        for source, count in zip(sources, counts, strict=True)
    ]
    strengths = _strengths([source.strength for source in sources], counts, conditions[0])
    rows = [torch.cat(parts) if pooled else _rows(parts, runs) for parts in (conditions, strengths)]
    return ControlSource(first.network, rows[0], rows[1], first.acts, sum(counts) if pooled else 0)
