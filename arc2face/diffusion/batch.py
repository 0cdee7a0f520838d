"""Several requests of one kind on the device at once: one denoising run, everything else one by one."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from arc2face.diffusion.denoising import Estimate, OnStep
from arc2face.diffusion.device import DeviceFullError, unless_full
from arc2face.diffusion.generation import (
    Generated,
    Work,
    check_finite,
    denoiser_for,
    generate,
    latent_size,
    pictures_from,
    prompts_for,
    start_noise,
    step_watch,
)
from arc2face.diffusion.registry import ModelRegistry
from arc2face.diffusion.together import Member, joined
from arc2face.errors import Arc2FaceError, CancelledError
from arc2face.types import GenerationRequest, ProgressCallback

Outcome = Generated | BaseException
NOTE = "Made in one batch of {} pictures with other requests: alone, the last digits can round differently."


@dataclass
class Part:
    """One request of a batch. `finish`: called once with its result or its error, as soon as either is there."""

    request: GenerationRequest
    report: ProgressCallback
    cancelled: Callable[[], bool]
    finish: Callable[[Outcome], None]
    previews: bool = True
    finished: bool = field(default=False, init=False)

    def end(self, outcome: Outcome) -> None:
        """Only the first outcome counts."""
        if not self.finished:
            self.finished = True
            self.finish(outcome)

    def stopped(self) -> bool:
        """Whether it was asked to stop, which it does now; the others' rows are computed as before."""
        if self.cancelled():
            self.end(CancelledError("Stopped as you asked; nothing was kept."))
        return self.finished


def run_parts(registry: ModelRegistry, parts: Sequence[Part]) -> None:
    """Run one request, or several of one kind (see `batch_kind`) as one batch; every part is finished afterwards.

    An error of one member's own is its alone. When the device has no room for all, they run one after the other.
    """
    try:
        if len(parts) < 2 or not _together(registry, parts):
            for part in parts:
                _alone(registry, part)
    except BaseException as error:
        for part in parts:
            part.end(error)
        if not isinstance(error, Exception):
            raise


def _alone(registry: ModelRegistry, part: Part) -> None:
    if part.stopped():
        return
    try:
        part.end(generate(registry, part.request, part.report, part.cancelled, part.previews))
    except Exception as error:
        part.end(error)


def _together(registry: ModelRegistry, parts: Sequence[Part]) -> bool:
    """False when the device has no room for all of them at once."""
    works = {id(part): Work(registry, part.request, part.report, part.cancelled, part.previews) for part in parts}
    with torch.no_grad():
        latents = unless_full(lambda: _latents(registry, parts, works))
        if latents is None:
            registry.release()
            return False
        total = sum(len(rows) for rows in latents.values())
        for part in parts:
            if not part.stopped():
                _decode(works[id(part)], part, latents[id(part)], total)
    return True


def _latents(registry: ModelRegistry, parts: Sequence[Part], works: dict[int, Work]) -> dict[int, Tensor]:
    """Final latents (n, C, h, w) float32 in host memory of every part that has not ended yet, by its id."""
    prompts: dict[int, tuple[Tensor, Tensor]] = {}
    for part in parts:
        with _own(part):
            if not part.stopped():
                prompts[id(part)] = prompts_for(works[id(part)])
    with ExitStack() as stack:
        unet = stack.enter_context(registry.placed("unet"))
        members: dict[int, Member] = {}
        for part in parts:
            if part.finished:
                continue
            with _own(part):
                request, work = part.request, works[id(part)]
                noise, generators = start_noise(request, latent_size(registry, request))
                run = denoiser_for(work, prompts[id(part)], unet, 0, request.num_images)
                stack.enter_context(registry.session(request, run))
                members[id(part)] = Member(run, noise, generators)
        if not members:
            return {}
        return _denoise([part for part in parts if id(part) in members], members, works)


def _denoise(parts: Sequence[Part], members: dict[int, Member], works: dict[int, Work]) -> dict[int, Tensor]:
    whole = joined(
        [members[id(part)] for part in parts],
        lambda: sum(part.stopped() for part in parts) == len(parts),  # every one is asked
        [part.previews for part in parts],
    )
    started, steps = time.perf_counter(), parts[0].request.denoising_steps
    told = [_watch(part, works[id(part)]) for part in parts]

    def on_step(step: int, estimate: Estimate | None) -> None:
        pictures = None if estimate is None or not whole.run.watched else estimate()
        looked = 0
        for part, tell in zip(parts, told, strict=True):
            own = None if pictures is None or not part.previews else pictures[looked : looked + 1]
            looked += part.previews
            if not part.stopped():
                tell(step, None if own is None else lambda own=own: own)

    made = whole.run.run(whole.noise, steps, whole.generators, None, on_step).to("cpu", torch.float32)
    for part in parts:
        works[id(part)].spent("denoising", started)
    rows = made.split([part.request.num_images for part in parts])
    return {id(part): own for part, own in zip(parts, rows, strict=True)}


def _watch(part: Part, work: Work) -> OnStep:
    return step_watch(part.report, part.request, work.registry.preview if part.previews else None)


def _decode(work: Work, part: Part, latents: Tensor, total: int) -> None:
    """A finished part's pictures; whatever happens to them concerns nobody else."""
    try:
        check_finite(work.registry, latents)
        if total > len(latents):
            work.notes.append(NOTE.format(total))
        images = pictures_from(work, latents, 0)
        part.end(Generated(tuple(images), work.seconds, tuple(work.notes)))
    except Exception as error:
        part.end(error)


@contextmanager
def _own(part: Part) -> Generator[None]:
    """What can be expected to go wrong within is this part's affair; a full device concerns all."""
    try:
        yield
    except DeviceFullError:
        raise
    except Arc2FaceError as error:
        part.end(error)
