"""One generation request, from prompt embeddings to pictures, on the device worker's thread."""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from arc2face.diffusion.adapters.pose import output_size
from arc2face.diffusion.denoising import Denoiser
from arc2face.diffusion.device import free_device_memory
from arc2face.diffusion.loading import load_scheduler_config
from arc2face.diffusion.pixels import PreviewMap, decode
from arc2face.diffusion.prompt import encode_identities, encode_text
from arc2face.diffusion.registry import ModelRegistry
from arc2face.errors import DeviceError, SettingsError
from arc2face.types import GeneratedImage, GenerationRequest, Progress, ProgressCallback

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Generated:
    """What the device made: pictures without scores, and seconds per stage."""

    images: tuple[GeneratedImage, ...]
    seconds: dict[str, float]


def generate(
    registry: ModelRegistry,
    request: GenerationRequest,
    report: ProgressCallback = lambda progress: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Generated:
    """Run one request. Out of memory: the cache is freed and the pictures are made in smaller groups, then one by one.

    Raises Arc2FaceError subclasses only for what can be expected; the registry is left as it was in every case.
    """
    seconds: dict[str, float] = {}
    group = request.num_images
    done: list[GeneratedImage] = []
    with torch.no_grad():
        prompts = _prompts(registry, request, report, seconds)
        while len(done) < request.num_images:
            part = _slice(request, len(done), min(group, request.num_images - len(done)))
            try:
                done += _run_group(registry, part, prompts, _offset(report, len(done), request), cancelled, seconds)
            except torch.OutOfMemoryError as error:
                log.warning("out of memory with %d pictures at once", group)
                gc.collect()
                free_device_memory(registry.runtime)
                if group == 1:
                    raise DeviceError(
                        f"{registry.runtime.device} ran out of memory for a single picture. Close other programs that "
                        "use it, start with --vram sequential, or choose a smaller size."
                    ) from error
                group = max(1, group // 2)
    return Generated(tuple(done), seconds)


def latent_size(registry: ModelRegistry, request: GenerationRequest) -> tuple[int, int, int]:
    """(C, h, w) of the latents: the requested size, else the normal map's, else the UNet's native size."""
    unet, vae = registry.part("unet"), registry.part("vae")
    factor = 2 ** (len(vae.config["block_out_channels"]) - 1)
    if request.pose is not None:
        height, width = output_size(request, request.pose)
    else:
        native = int(unet.config["sample_size"]) * factor
        height, width = request.height or native, request.width or native
    depth = 2 ** (len(unet.config["block_out_channels"]) - 1)
    if height // factor < depth or width // factor < depth:
        raise SettingsError(f"{width} x {height} pixels is too small for these models; use at least {factor * depth}.")
    return int(unet.config["in_channels"]), height // factor, width // factor


def start_noise(request: GenerationRequest, shape: tuple[int, int, int]) -> tuple[Tensor, list[torch.Generator]]:
    """Start noise (n, C, h, w) float32 and the generators it came from; picture k draws from seed + k alone.

    Drawn on the CPU so that a seed means the same picture on every device.
    """
    generators = [torch.Generator("cpu").manual_seed(request.seed + k) for k in range(request.num_images)]
    if request.noise is None:
        drawn = [torch.randn((1, *shape), generator=generator) for generator in generators]
        return torch.cat(drawn), generators
    if request.noise.shape != (request.num_images, *shape):
        raise SettingsError(f"noise must have shape {(request.num_images, *shape)}, not {request.noise.shape}.")
    return torch.from_numpy(np.ascontiguousarray(request.noise, dtype=np.float32)), generators


def _prompts(
    registry: ModelRegistry, request: GenerationRequest, report: ProgressCallback, seconds: dict[str, float]
) -> tuple[Tensor, Tensor]:
    started = time.perf_counter()

    def announce(message: str) -> None:
        report(Progress("loading", message=message))

    registry.load_base(announce)
    for name in request.adapters:
        registry.part(name, announce)
    seconds["loading"] = time.perf_counter() - started
    report(Progress("encoding", message="Reading the identity"))
    tokenizer = registry.part("tokenizer")
    with registry.placed("text_encoder") as encoder:
        face = torch.from_numpy(request.identity.normalized.copy())[None]
        return encode_identities(tokenizer, encoder, face), encode_text(tokenizer, encoder, "")


def _run_group(
    registry: ModelRegistry,
    request: GenerationRequest,
    prompts: tuple[Tensor, Tensor],
    report: ProgressCallback,
    cancelled: Callable[[], bool],
    seconds: dict[str, float],
) -> list[GeneratedImage]:
    started = time.perf_counter()
    noise, generators = start_noise(request, latent_size(registry, request))
    preview = registry.preview
    # Only the reference adapter needs the VAE while denoising; under `sequential` it otherwise stays off the device.
    vae_placed = registry.placed("vae") if request.reference else nullcontext(registry.part("vae"))
    with registry.placed("unet") as unet, vae_placed as vae:
        run = Denoiser(
            unet=unet,
            vae=vae,
            prompt=prompts[0].to(unet.device, unet.dtype),
            negative=prompts[1].to(unet.device, unet.dtype),
            num_images=request.num_images,
            guidance_scale=request.guidance,
            scheduler_name=request.scheduler,
            scheduler_config=load_scheduler_config(registry.models),
            cancelled=cancelled,
        )
        with registry.session(request, run):
            step_noise = None if request.step_noise is None else torch.from_numpy(request.step_noise.copy())
            latents = run.run(noise, request.denoising_steps, generators, step_noise, _watch(report, request, preview))
    _add(seconds, "denoising", started)
    started = time.perf_counter()
    report(Progress("decoding", message="Decoding the pictures"))
    with registry.placed("vae") as vae:
        pictures = decode(vae, latents)
    _add(seconds, "decoding", started)
    kept = latents.float().cpu().numpy() if request.keep_latents else [None] * len(pictures)
    return [
        GeneratedImage(rgb_u8=picture, seed=request.seed + k, latents=None if kept[k] is None else np.array(kept[k]))
        for k, picture in enumerate(pictures)
    ]


def _slice(request: GenerationRequest, first: int, count: int) -> GenerationRequest:
    """The request for pictures first .. first + count - 1 alone."""
    if count == request.num_images:
        return request
    rows = slice(first, first + count)
    reference = request.reference
    if reference is not None and reference.latent_noise is not None and len(reference.latent_noise) > 1:
        reference = replace(reference, latent_noise=reference.latent_noise[rows])
    return request.with_(
        num_images=count,
        seed=request.seed + first,
        keep_best=0,
        noise=None if request.noise is None else request.noise[rows],
        step_noise=None if request.step_noise is None else request.step_noise[:, rows],
        reference=reference,
    )


def _offset(report: ProgressCallback, first: int, request: GenerationRequest) -> ProgressCallback:
    """Progress of a later group says which pictures it makes."""
    if first == 0:
        return report
    suffix = f" (pictures {first + 1} to {request.num_images})"
    return lambda progress: report(replace(progress, message=progress.message + suffix))


def _watch(report: ProgressCallback, request: GenerationRequest, preview: PreviewMap) -> Callable[[int, Tensor], None]:
    """Step callback with a preview and the time left, from the mean time of the steps so far."""
    started = time.perf_counter()
    total = request.denoising_steps

    def on_step(step: int, estimate: Tensor) -> None:
        left = (time.perf_counter() - started) / step * (total - step)
        picture = preview.picture(estimate)
        message = f"Step {step} of {total}"
        report(Progress("denoising", step, total, seconds_left=left, preview=picture, message=message))

    return on_step


def _add(seconds: dict[str, float], stage: str, started: float) -> None:
    seconds[stage] = seconds.get(stage, 0.0) + time.perf_counter() - started
