"""The names of the original package, for scripts written against it: they run unchanged on today's libraries.

    from arc2face import CLIPTextModelWrapper, project_face_embs, image_align, ReferenceAdapter

New code should use `arc2face.Engine`.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

from arc2face.diffusion.attention import ReadSelfAttention, processors
from arc2face.diffusion.forward import network_for
from arc2face.diffusion.prompt import encode_identities, injected
from arc2face.errors import IncompatibleWeightsError, SettingsError


class CLIPTextModelWrapper(CLIPTextModel):
    """CLIP text encoder that can be given token embeddings in place of token ids.

    `from_pretrained` reads files of transformers 4 (keys under `text_model.`) and of transformers 5 alike, and refuses
    a file that does not fill every weight. A plain subclass would silently start from random weights instead.
    """

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """As in transformers. Raises IncompatibleWeightsError when keys are missing or left over."""
        wants_info = kwargs.pop("output_loading_info", False)
        kwargs.setdefault("key_mapping", {r"^text_model\.": ""})
        loaded: Any = super().from_pretrained(*args, output_loading_info=True, **kwargs)
        model, info = loaded
        extra = [key for key in info["unexpected_keys"] if not key.endswith("position_ids")]
        if info["missing_keys"] or extra or info["mismatched_keys"]:
            raise IncompatibleWeightsError(
                f"The text encoder in {args[0] if args else 'the folder'} does not fit: "
                f"{len(info['missing_keys'])} keys missing, {len(extra)} left over."
            )
        return (model, info) if wants_info else model

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        input_token_embs: Tensor | None = None,
        return_token_embs: bool = False,
        **kwargs: Any,
    ) -> BaseModelOutputWithPooling | Tensor:
        """`input_token_embs`: (N, L, D) token embeddings used instead of looking `input_ids` (N, L) up.

        `return_token_embs`: return the looked-up token embeddings (N, L, D) and run nothing.
        """
        if return_token_embs:
            if input_ids is None:
                raise SettingsError("return_token_embs needs input_ids.")
            return self.get_input_embeddings()(input_ids)
        if input_token_embs is None:
            return super().forward(input_ids, attention_mask, position_ids, **kwargs)
        if input_ids is None:  # only the pooled output looks at the ids
            input_ids = torch.zeros(input_token_embs.shape[:2], dtype=torch.long, device=input_token_embs.device)
        with injected(self, slice(None), input_token_embs):
            return super().forward(input_ids, attention_mask, position_ids, **kwargs)


def project_face_embs(pipeline: Any, face_embs: Tensor) -> Tensor:
    """Prompt embeddings (N, L, D) of unit-length face embeddings (N, 512), on the pipeline's text encoder.

    `pipeline`: a diffusers Stable Diffusion pipeline. Unlike the original, N > 1 works: rows are independent.
    """
    return encode_identities(pipeline.tokenizer, pipeline.text_encoder, face_embs)


class ReferenceAdapter:
    """Reference attention for a hand-written pipeline: record a picture once, read it while denoising.

        adapter = ReferenceAdapter(unet)
        adapter.record(latents, prompt_embeds)            # LoRA off
        with adapter.reading(num_images=4, guided=True):
            images = pipeline(...)

    The recording belongs to this object; nothing stays in the UNet after the `with` block, also after an error.
    """

    def __init__(self, unet: UNet2DConditionModel) -> None:
        """`unet`: used for recording and for reading; its processors come back after each."""
        self.unet = unet
        self.bank: dict[str, Tensor] = {}

    def record(self, latents: Tensor, prompt_embeds: Tensor) -> None:
        """`latents`: (1 or n, C, h, w), scaled; `prompt_embeds`: (1, L, D). One forward pass at t = 0."""
        latents = latents.to(self.unet.device, self.unet.dtype)
        self.bank = dict(network_for(self.unet).record(latents, prompt_embeds))

    def clear(self) -> None:
        """Forget the recording."""
        self.bank = {}

    @contextmanager
    def reading(self, num_images: int, guided: bool) -> Generator[None]:
        """Let the conditional rows attend to the recording for the body. Raises SettingsError without a recording."""
        if not self.bank:
            raise SettingsError("Record a reference picture first: ReferenceAdapter.record(latents, prompt_embeds).")
        readers = {name: ReadSelfAttention(entry, num_images, guided) for name, entry in self.bank.items()}
        with processors(self.unet, readers):
            yield
