"""Arms S0 to S2: diffusers' own pipelines, set up as scripts of the original kind do, and as well as that allows.

S0: eager, plain layout. LCM-LoRA and reference LoRA loaded through PEFT and left unmerged; in the expression mode the
reference LoRA stays loaded at scale 0 and self-attention runs in two halves also without a reference; a reference
is encoded once per row and recorded by a second UNet.
S1: LoRAs merged beforehand, channels_last, halves only where a reference is read. S2: S1, its UNet compiled.

Rebuilt from a description of what those scripts do; nothing of them is copied.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    StableDiffusionControlNetPipeline,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from diffusers.schedulers import scheduling_lcm
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from arc2face.diffusion.loading import load_scheduler_config, load_text_encoder, load_tokenizer
from arc2face.diffusion.prompt import encode_identities, encode_text
from arc2face.diffusion.schedulers import make_scheduler
from arc2face.weights.folder import ModelsFolder
from bench.speed.modes import GUIDANCE, LOOK, Inputs, Mode

LCM, REFERENCE = "lcm", "ref"
Processor = Any


class Halves:
    """Self-attention of unconditional and conditional rows apart; the conditional ones also read `bank`, if any."""

    bank: Tensor | None = None

    def __call__(self, attn: Any, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        """(B, L, D) to (B, L, D)."""
        unconditional, conditional = hidden_states.chunk(2)
        context = conditional if self.bank is None else torch.cat([conditional, self.bank], 1)
        return torch.cat([_attend(attn, unconditional, unconditional), _attend(attn, conditional, context)])


class Recorder:
    """Plain self-attention that keeps what it was given."""

    seen: Tensor | None = None

    def __call__(self, attn: Any, hidden_states: Tensor, *_: Any, **__: Any) -> Tensor:
        """(B, L, D) to (B, L, D)."""
        self.seen = hidden_states
        return _attend(attn, hidden_states, hidden_states)


class UpstreamArm:
    """One of S0, S1, S2 for one mode. `prepared`: LoRAs merged and channels_last (S1, S2)."""

    def __init__(
        self, models: ModelsFolder, mode: Mode, inputs: Inputs, device: str, dtype: torch.dtype, prepared: bool = False
    ) -> None:
        self.models, self.mode, self.inputs, self.device, self.dtype = models, mode, inputs, device, dtype
        self.prepared = prepared
        self.config = load_scheduler_config(models)
        self.tokenizer = load_tokenizer(models)
        encoder: Any = load_text_encoder(models, dtype)
        self.encoder = encoder.to(device)
        self.pipe = self._pipeline()
        self.halves: dict[str, Halves] = {}
        self.second: Any = None
        if mode.fast:
            self._lora(LCM, load_file(models.need("lcm")), 1.0)
        if "expression" in mode.parts:
            self._expression()
        if prepared:
            self.pipe.unet.to(memory_format=torch.channels_last)
            self.pipe.vae.to(memory_format=torch.channels_last)

    def compile(self, backend: str = "inductor") -> None:
        """Make S2 of S1; the first call then takes its time."""
        mode = "max-autotune-no-cudagraphs" if backend == "inductor" else None
        self.pipe.unet = torch.compile(self.pipe.unet, backend=backend, mode=mode, dynamic=False)

    def __call__(self) -> tuple[np.ndarray[Any, Any], list[Any]]:
        """One request: final latents (n, C, h, w) float32, and the pictures."""
        found: list[Tensor] = []

        def keep(pipe: Any, step: int, timestep: Any, values: dict[str, Any]) -> dict[str, Any]:
            found[:] = [values["latents"]]
            return values

        mode = self.mode
        with torch.no_grad(), given_noise(self._renoising()):
            positive, negative = self._prompts()
            if "reference" in mode.parts:
                self._read(positive, negative)
            sampler = "lcm" if mode.fast else "dpm++"
            self.pipe.scheduler = make_scheduler(sampler, self.config, mode.steps)
            pictures = self.pipe(
                prompt_embeds=positive,
                negative_prompt_embeds=negative,
                num_inference_steps=mode.steps,
                guidance_scale=GUIDANCE if mode.guided else 1.0,
                num_images_per_prompt=mode.images,
                latents=torch.from_numpy(self.inputs.noise(mode.images)).to(self.device, self.dtype),
                callback_on_step_end=keep,
                **self._conditions(),
            ).images
        return found[0].float().cpu().numpy(), pictures

    def _pipeline(self) -> Any:
        unet = self._unet()
        vae: Any = AutoencoderKL.from_pretrained(self.models.need("sd15-vae-config").parent, torch_dtype=self.dtype)
        parts: dict[str, Any] = {"unet": unet, "vae": vae.to(self.device), "text_encoder": None, "tokenizer": None}
        parts |= {"scheduler": make_scheduler("dpm++", self.config, 2), "safety_checker": None}
        parts |= {"feature_extractor": None, "requires_safety_checker": False}
        if "pose" in self.mode.parts:
            folder = self.models.need("controlnet-config").parent
            network: Any = ControlNetModel.from_pretrained(folder, torch_dtype=self.dtype)
            pipe = StableDiffusionControlNetPipeline(controlnet=network.to(self.device), **parts)
        else:
            pipe = StableDiffusionPipeline(**parts)
        pipe.set_progress_bar_config(disable=True)
        return pipe

    def _unet(self) -> Any:
        folder = self.models.need("unet-config").parent
        unet: Any = UNet2DConditionModel.from_pretrained(folder, torch_dtype=self.dtype)
        return unet.to(self.device)

    def _lora(self, name: str, state: dict[str, Tensor], scale: float) -> None:
        """Through PEFT; merged and gone where the arm is a prepared one."""
        self.pipe.load_lora_weights(dict(state), adapter_name=name)
        self.pipe.set_adapters(name, scale)
        if self.prepared:
            self.pipe.fuse_lora(lora_scale=1.0, adapter_names=[name])
            self.pipe.unload_lora_weights()

    def _expression(self) -> None:
        reads = "reference" in self.mode.parts
        if reads or not self.prepared:
            self._lora(REFERENCE, load_file(self.models.need("reference")), LOOK if reads else 0.0)
        state = load_file(self.models.need("expression"))
        groups: dict[str, dict[str, Tensor]] = {"image_proj": {}, "ip_adapter": {}}
        for key, value in state.items():
            group, _, rest = key.partition(".")
            groups[group][rest] = value
        unet = self.pipe.unet
        unet._load_ip_adapter_weights([groups])
        unet.to(self.device, self.dtype)
        if reads or not self.prepared:
            self.halves = {name: Halves() for name in unet.attn_processors if name.endswith("attn1.processor")}
            _install(unet, self.halves)
        if not self.prepared:
            self.second = self._unet()  # upstream keeps it, with a reference or without
        elif reads:
            self.second = self._unet().to(memory_format=torch.channels_last)

    def _prompts(self) -> tuple[Tensor, Tensor]:
        face = torch.from_numpy(self.inputs.identity().normalized.copy())[None].to(self.device)
        return encode_identities(self.tokenizer, self.encoder, face), encode_text(self.tokenizer, self.encoder, "")

    def _read(self, positive: Tensor, negative: Tensor) -> None:
        """The reference pass: one row of it per row of the batch."""
        rows, vae = 2 * self.mode.images, self.pipe.vae
        picture = torch.from_numpy(self.inputs.picture(7)).permute(2, 0, 1)[None].to(self.device, torch.float32)
        posterior = vae.encode((picture / 127.5 - 1).to(self.dtype).repeat(rows, 1, 1, 1)).latent_dist
        noise = torch.from_numpy(self.inputs.noise(1)).to(posterior.mean)
        latents = (posterior.mean + posterior.std * noise) * vae.config.scaling_factor
        recorders = {name: Recorder() for name in self.halves}
        _install(self.second, recorders)
        prompt = torch.cat([negative.repeat(self.mode.images, 1, 1), positive.repeat(self.mode.images, 1, 1)])
        prompt[: self.mode.images] = prompt[self.mode.images :]  # the recording is made with the person's prompt
        self.second(latents, torch.zeros((), dtype=torch.long, device=self.device), prompt.to(self.dtype))
        for name, recorder in recorders.items():
            assert recorder.seen is not None
            self.halves[name].bank = recorder.seen[self.mode.images :]

    def _conditions(self) -> dict[str, Any]:
        given: dict[str, Any] = {}
        if "pose" in self.mode.parts:
            given["image"] = Image.fromarray(self.inputs.picture(6))
        if "expression" in self.mode.parts:
            values = torch.from_numpy(self.inputs.expression())[None, None].to(self.device, self.dtype)
            given["ip_adapter_image_embeds"] = [torch.cat([torch.zeros_like(values), values])]
        return given

    def _renoising(self) -> list[Tensor]:
        if not self.mode.fast or self.mode.steps < 2:
            return []
        drawn = torch.from_numpy(self.inputs.step_noise(self.mode.images, self.mode.steps))
        return list(drawn.to(self.device, self.dtype))


@contextmanager
def given_noise(rows: list[Tensor]) -> Generator[None]:
    """LCM's sampler takes these tensors, one a step, instead of drawing."""
    draw: Callable[..., Tensor] = scheduling_lcm.randn_tensor
    left = iter(rows)

    def given(*_: Any, **__: Any) -> Tensor:
        return next(left)

    if rows:
        scheduling_lcm.randn_tensor = given
    try:
        yield
    finally:
        scheduling_lcm.randn_tensor = draw


def quiet() -> None:
    """Diffusers warns about what upstream-style scripts do; here that is the point."""
    logging.getLogger("diffusers").setLevel(logging.ERROR)


def _attend(attn: Any, x: Tensor, context: Tensor) -> Tensor:
    q, k, v = (
        y.view(y.shape[0], -1, attn.heads, y.shape[2] // attn.heads).transpose(1, 2)
        for y in (attn.to_q(x), attn.to_k(context), attn.to_v(context))
    )
    out = functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape[0], x.shape[1], -1)
    return attn.to_out[0](out)


def _install(unet: Any, processors: dict[str, Any]) -> None:
    for name, processor in processors.items():
        unet.get_submodule(name.removesuffix(".processor")).set_processor(processor)
