"""Whether base parts belong together, said in names and numbers before anything runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from arc2face.errors import IncompatibleWeightsError


def check_fit(unet: Any, text_encoder: Any, vae: Any) -> None:
    """Raise IncompatibleWeightsError when one part's numbers do not meet the next one's."""
    width, made = unet.config["cross_attention_dim"], text_encoder.config.hidden_size
    widths = set(width) if isinstance(width, list | tuple) else {width}
    if widths != {made}:
        raise IncompatibleWeightsError(
            f"The UNet in arc2face/ expects prompt embeddings {width} wide; the text encoder in encoder/ makes {made}. "
            "They are of different models."
        )
    channels = int(vae.config["latent_channels"])
    for key in ("in_channels", "out_channels"):
        if unet.config[key] != channels:
            raise IncompatibleWeightsError(
                f"The UNet in arc2face/ has {key} {unet.config[key]}; the VAE's latents have {channels} channels. "
                + ("It is an inpainting model." if unet.config[key] == 9 else "They are of different models.")
            )
    if unet.config["addition_embed_type"] in ("text_time", "image", "image_hint"):
        raise IncompatibleWeightsError(
            f"The UNet in arc2face/ wants an embedding of kind {unet.config['addition_embed_type']!r}, which Arc2Face "
            "has not (SDXL's UNets do)."
        )
    native_size(unet.config)


def native_size(config: Mapping[str, Any]) -> tuple[int, int]:
    """(height, width) in latent pixels that the UNet was trained for; `sample_size` is one number or a pair."""
    size = config["sample_size"]
    pair = size if isinstance(size, list | tuple) else (size, size)
    if len(pair) != 2 or not all(isinstance(side, int) and 0 < side <= 512 for side in pair):
        raise IncompatibleWeightsError(f"arc2face/config.json: sample_size is {size!r}, not one number or a pair.")
    return int(pair[0]), int(pair[1])
