"""Is a model's config.json one that a model can be built from? Kinds and sizes, before anything is built.

A configuration decides how much is allocated and how long building takes, so every number has a limit: those named
in the table below their own, all others a general one. Whether the values go together is the model's business.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

from arc2face.errors import IncompatibleWeightsError

__all__ = ["check_config"]


class _Whole(NamedTuple):
    """A whole number in a range; `many`: or a short list of them; `none`: or null."""

    low: int
    high: int
    many: bool = False
    none: bool = False


_CHANNELS = _Whole(1, 8192, many=True)
_OPTIONAL_WIDTH = _Whole(1, 16384, none=True)
_SIZES: dict[str, _Whole] = {
    "addition_time_embed_dim": _OPTIONAL_WIDTH,
    "attention_head_dim": _Whole(1, 1024, many=True, none=True),
    "block_out_channels": _CHANNELS,
    "conditioning_channels": _Whole(1, 64),
    "conditioning_embedding_out_channels": _CHANNELS,
    "conv_in_kernel": _Whole(1, 15),
    "conv_out_kernel": _Whole(1, 15),
    "cross_attention_dim": _CHANNELS,
    "encoder_hid_dim": _OPTIONAL_WIDTH,
    "hidden_size": _Whole(1, 16384),
    "in_channels": _Whole(1, 64),
    "intermediate_size": _Whole(1, 65536),
    "latent_channels": _Whole(1, 64),
    "layers_per_block": _Whole(1, 8, many=True),
    "max_position_embeddings": _Whole(1, 4096),
    "norm_num_groups": _Whole(1, 512, none=True),
    "num_attention_heads": _Whole(1, 1024, many=True, none=True),
    "num_class_embeds": _OPTIONAL_WIDTH,
    "num_hidden_layers": _Whole(1, 64),
    "num_train_timesteps": _Whole(1, 100_000),
    "out_channels": _Whole(1, 64),
    "projection_class_embeddings_input_dim": _OPTIONAL_WIDTH,
    "projection_dim": _Whole(1, 16384),
    "sample_size": _Whole(1, 1024, many=True),
    "time_cond_proj_dim": _OPTIONAL_WIDTH,
    "time_embedding_dim": _OPTIONAL_WIDTH,
    "transformer_layers_per_block": _Whole(1, 16, many=True),
    "vocab_size": _Whole(1, 1_000_000),
}
_NAMES = ("down_block_types", "up_block_types")
_MUST: dict[str, tuple[str, ...]] = {
    "UNet2DConditionModel": ("sample_size", "block_out_channels", "in_channels", "out_channels"),
    "AutoencoderKL": ("block_out_channels", "latent_channels"),
    "ControlNetModel": ("block_out_channels", "in_channels"),
    "CLIPTextModel": ("hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size"),
}
_MAX_LIST = 8
_MAX_ENTRIES = 256
_MAX_NUMBER = 1e9
_MAX_TEXT = 1000


def check_config(kind: str, settings: Mapping[str, Any], source: Path) -> None:
    """Look over the settings of a model (`kind`: its class, or "Scheduler") read from `source`.

    Raises IncompatibleWeightsError naming the first setting that is missing, of the wrong kind, or out of range.
    """
    declared = settings.get("_class_name", kind)
    if kind != "Scheduler" and declared != kind:
        raise IncompatibleWeightsError(f"{source} describes a {str(declared)[:80]}, not a {kind}.")
    if len(settings) > _MAX_ENTRIES:
        raise IncompatibleWeightsError(f"{source} has {len(settings)} settings; a {kind} has less than {_MAX_ENTRIES}.")
    for name in _MUST.get(kind, ()):
        if name not in settings:
            raise IncompatibleWeightsError(f"{source} lacks the setting {name}; it does not describe a {kind}.")
    for name, value in settings.items():
        if problem := _problem(name, value):
            raise IncompatibleWeightsError(f"{source} does not describe a {kind}: {name[:80]} {problem}.")
    if kind == "UNet2DConditionModel" and settings["in_channels"] != settings["out_channels"]:
        raise IncompatibleWeightsError(
            f"{source} takes {settings['in_channels']} channels and gives {settings['out_channels']}: an inpainting "
            "model or another variant, not Arc2Face's UNet."
        )


def _problem(name: str, value: Any) -> str | None:
    if name in _SIZES:
        return _not_whole(value, _SIZES[name])
    if name in _NAMES:
        return None if _is_list(value, lambda item: isinstance(item, str)) else "must be a short list of block names"
    return _not_modest(value, 4)


def _not_whole(value: Any, limits: _Whole) -> str | None:
    if value is None and limits.none:
        return None
    if limits.many and _is_list(value, lambda item: _fits(item, limits)):
        return None
    if _fits(value, limits) and not isinstance(value, list):
        return None
    more = " or a short list of them" if limits.many else ""
    return f"must be a whole number from {limits.low} to {limits.high}{more}, not {str(value)[:60]}"


def _fits(value: Any, limits: _Whole) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and limits.low <= value <= limits.high


def _is_list(value: Any, fits: Callable[[Any], bool]) -> bool:
    if not isinstance(value, list):
        return False
    items = cast("list[Any]", value)
    return 1 <= len(items) <= _MAX_LIST and all(fits(item) for item in items)


def _not_modest(value: Any, depth: int) -> str | None:
    """General limits for settings that decide nothing about sizes."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        return None if abs(value) <= _MAX_NUMBER else f"is too large ({str(value)[:30]})"
    if isinstance(value, str):
        return None if len(value) <= _MAX_TEXT else f"is a text of {len(value)} characters"
    items = list(cast("dict[str, Any]", value).values()) if isinstance(value, dict) else cast("list[Any]", value)
    if depth == 0 or len(items) > _MAX_ENTRIES * 8:
        return "is nested too deeply or too long"
    return next((problem for item in items if (problem := _not_modest(item, depth - 1))), None)
