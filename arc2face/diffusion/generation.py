"""One generation request, from prompt embeddings to pictures, on the device worker's thread."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from torch import Tensor

from arc2face.diffusion.adapters.pose import output_size
from arc2face.diffusion.decoding import decode_picture
from arc2face.diffusion.denoising import Denoiser, Estimate, OnStep
from arc2face.diffusion.device import unless_full
from arc2face.diffusion.fitting import native_size
from arc2face.diffusion.loading import load_scheduler_config
from arc2face.diffusion.pixels import Preview
from arc2face.diffusion.prompt import encode_identities
from arc2face.diffusion.registry import ModelRegistry
from arc2face.diffusion.schedulers import too_few_steps
from arc2face.errors import InvalidNumbersError, SettingsError
from arc2face.types import Float32Array, GeneratedImage, GenerationRequest, Progress, ProgressCallback, RgbU8

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Generated:
    """What the device made: pictures without scores, seconds per stage, and what the caller should be told."""

    images: tuple[GeneratedImage, ...]
    seconds: dict[str, float]
    notes: tuple[str, ...] = ()


@dataclass
class Work:
    """One request under way. `notes` go into the recipe."""

    registry: ModelRegistry
    request: GenerationRequest
    report: ProgressCallback
    cancelled: Callable[[], bool]
    previews: bool = True
    seconds: dict[str, float] = field(default_factory=dict[str, float])
    notes: list[str] = field(default_factory=list[str])

    def __post_init__(self) -> None:
        request = self.request
        if not request.fast and (caution := too_few_steps(request.scheduler, request.denoising_steps)):
            self.note(caution)

    def note(self, sentence: str) -> None:
        """Say something about the pictures, once."""
        if sentence not in self.notes:
            log.warning(sentence)
            self.notes.append(sentence)

    def spent(self, stage: str, started: float) -> None:
        """Add the time since `started` to a stage."""
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - started


def generate(
    registry: ModelRegistry,
    request: GenerationRequest,
    report: ProgressCallback = lambda progress: None,
    cancelled: Callable[[], bool] = lambda: False,
    previews: bool = True,
) -> Generated:
    """Run one request; `previews`: whether progress shows the picture in the making.

    Out of memory: the cache is freed and the pictures are made in smaller groups, then one by one. Raises
    Arc2FaceError subclasses only for what can be expected; the registry is left as it was in every case.
    """
    work = Work(registry, request, report, cancelled, previews)
    with torch.no_grad():
        prompts = prompts_for(work)
        pictures: list[GeneratedImage] = []
        group = request.num_images
        while len(pictures) < request.num_images:
            first = len(pictures)
            count = min(group, request.num_images - first)
            latents = _group_latents(work, prompts, first, count)
            if latents is None:
                group = max(1, count // 2)
                continue
            pictures += pictures_from(work, latents, first)
    return Generated(tuple(pictures), work.seconds, tuple(work.notes))


def latent_size(registry: ModelRegistry, request: GenerationRequest) -> tuple[int, int, int]:
    """(C, h, w) of the latents: the requested size, else the normal map's, else the UNet's native size."""
    unet, vae = registry.part("unet"), registry.part("vae")
    factor = 2 ** (len(vae.config["block_out_channels"]) - 1)
    if request.pose is not None:
        height, width = output_size(request, request.pose)
    else:
        native = native_size(unet.config)
        height, width = request.height or native[0] * factor, request.width or native[1] * factor
    depth = 2 ** (len(unet.config["block_out_channels"]) - 1)
    if height // factor < depth or width // factor < depth:
        raise SettingsError(f"{width} x {height} pixels is too small for these models; use at least {factor * depth}.")
    return int(unet.config["in_channels"]), height // factor, width // factor


def start_noise(
    request: GenerationRequest, shape: tuple[int, int, int], first: int = 0, count: int | None = None
) -> tuple[Tensor, list[torch.Generator]]:
    """Start noise (count, C, h, w) float32 of the pictures from `first` on, and the generators it came from.

    Picture k draws from seed + k alone, on the CPU, so that a seed means the same picture on every device.
    """
    numbers = range(first, first + (request.num_images - first if count is None else count))
    generators = [torch.Generator("cpu").manual_seed(request.seed + k) for k in numbers]
    if request.noise is None:
        drawn = [torch.randn((1, *shape), generator=generator, dtype=torch.float32) for generator in generators]
        return torch.cat(drawn), generators
    if request.noise.shape != (request.num_images, *shape):
        raise SettingsError(f"noise must have shape {(request.num_images, *shape)}, not {request.noise.shape}.")
    rows = request.noise[numbers.start : numbers.stop]
    return torch.from_numpy(np.array(rows, dtype=np.float32)), generators


def prompts_for(work: Work) -> tuple[Tensor, Tensor]:
    """Conditional and unconditional prompt embeddings, (1, L, D) each."""
    registry, request = work.registry, work.request
    started = time.perf_counter()

    def announce(message: str) -> None:
        work.report(Progress("loading", message=message))

    registry.load_base(announce)
    for name in registry.wanted(request):
        registry.part(name, announce)
    work.spent("loading", started)
    work.report(Progress("encoding", message="Reading the identity"))
    tokenizer = registry.part("tokenizer")

    def encode() -> tuple[Tensor, Tensor]:
        with registry.placed("text_encoder") as encoder:
            faces = [request.identity] + ([] if request.negative is None else [request.negative.identity])
            prompts = [
                encode_identities(tokenizer, encoder, torch.from_numpy(face.normalized.copy())[None]) for face in faces
            ]
            empty = registry.empty_prompt
            if request.negative is None:
                return prompts[0], empty
            return prompts[0], torch.lerp(empty, prompts[1].to(empty), request.negative.strength)

    return registry.with_room("while reading the identity", encode)


def _group_latents(work: Work, prompts: tuple[Tensor, Tensor], first: int, count: int) -> Tensor | None:
    """Final latents (count, C, h, w) float32 in host memory, or None when the device has no room for so many.

    A single picture is tried again with everything else off the device; DeviceError after that.
    """
    started = time.perf_counter()

    def denoise() -> Tensor:
        return _denoise(work, prompts, first, count)

    if count == 1:
        latents = work.registry.with_room("for a single picture", denoise)
    else:
        latents = unless_full(denoise)
        if latents is None:
            work.registry.release()
            return None
    work.spent("denoising", started)
    check_finite(work.registry, latents)
    return latents


def check_finite(registry: ModelRegistry, latents: Tensor) -> None:
    """Raise InvalidNumbersError for latents that hold NaN or infinities."""
    if not bool(torch.isfinite(latents).all()):
        half = registry.runtime.dtype == "fp16"
        raise InvalidNumbersError(
            "The denoiser made invalid numbers (NaN); nothing was kept. "
            + ("Half precision overflowed: start with --dtype fp32." if half else "A weight file may be damaged.")
        )


def _denoise(work: Work, prompts: tuple[Tensor, Tensor], first: int, count: int) -> Tensor:
    registry, request = work.registry, work.request
    noise, generators = start_noise(request, latent_size(registry, request), first, count)
    report = _offset(work.report, first, request)
    preview = registry.preview if work.previews else None
    with ExitStack() as stack:
        run = denoiser_for(work, prompts, stack.enter_context(registry.placed("unet")), first, count)
        stack.enter_context(registry.session(request, run))
        step_noise = _step_noise(request.step_noise, first, count)
        latents = run.run(noise, request.denoising_steps, generators, step_noise, step_watch(report, request, preview))
    return latents.to("cpu", torch.float32)


def denoiser_for(
    work: Work, prompts: tuple[Tensor, Tensor], unet: UNet2DConditionModel, first: int, count: int
) -> Denoiser:
    """A run over `count` pictures from `first` on, before any adapter has had its say."""
    registry, request = work.registry, work.request
    weight = next(unet.parameters())  # the UNet's own `device` and `dtype` walk through all of its modules
    return Denoiser(
        unet=unet,
        merger=registry.merger,
        network=registry.forward,
        borrow=registry.placed,
        prompt=prompts[0].to(weight.device, weight.dtype),
        negative=prompts[1].to(weight.device, weight.dtype),
        num_images=count,
        first=first,
        guidance_scale=request.guidance,
        scheduler_name=request.scheduler,
        scheduler_config=load_scheduler_config(registry.models),
        cancelled=work.cancelled,
        fast=registry.fast,
        watched=(0,) if work.previews else (),
        guidance_share=(request.guidance_start, request.guidance_end),
    )


def _step_noise(given: Float32Array | None, first: int, count: int) -> Tensor | None:
    return None if given is None else torch.from_numpy(given[:, first : first + count].copy())


def pictures_from(work: Work, latents: Tensor, first: int) -> list[GeneratedImage]:
    """Decode finished latents one by one."""
    started = time.perf_counter()
    work.report(Progress("decoding", message="Decoding the pictures"))
    made: list[GeneratedImage] = []
    for k, one in enumerate(latents):
        picture, note = decode_picture(work.registry, one, work.request.decoder == "small")
        if note is not None:
            work.note(note)
        kept = one.numpy().copy() if work.request.keep_latents else None
        made.append(GeneratedImage(rgb_u8=picture, seed=work.request.seed + first + k, latents=kept))
    work.spent("decoding", started)
    return made


def _offset(report: ProgressCallback, first: int, request: GenerationRequest) -> ProgressCallback:
    """Progress of a later group says which pictures it makes."""
    if first == 0:
        return report
    suffix = f" (pictures {first + 1} to {request.num_images})"
    return lambda progress: report(replace(progress, message=progress.message + suffix))


def step_watch(report: ProgressCallback, request: GenerationRequest, preview: Preview | None) -> OnStep:
    """Step callback with a preview and the time left, from the mean time of the steps so far."""
    started = time.perf_counter()
    total = request.denoising_steps
    picture: RgbU8 | None = None

    def on_step(step: int, estimate: Estimate | None) -> None:
        nonlocal picture
        left = (time.perf_counter() - started) / step * (total - step)
        if preview is not None and estimate is not None:
            picture = preview.picture(estimate()[0])
        message = f"Step {step} of {total}"
        report(Progress("denoising", step, total, seconds_left=left, preview=picture, message=message))

    return on_step
