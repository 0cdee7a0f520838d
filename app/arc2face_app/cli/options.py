"""Options that several commands share, each with its meaning, range and environment variable."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from arc2face.errors import SettingsError
from arc2face.settings import (
    CHOOSABLE_SCHEDULERS,
    DECODERS,
    ENLARGE_FACTORS,
    FAST,
    FULL,
    MAX_IMAGES,
    NEGATIVE_STRENGTH_RANGE,
    VRAM_POLICIES,
    one_of,
    span,
)

__all__ = [
    "AsJson",
    "Count",
    "Decode",
    "Device",
    "Dtype",
    "Enlarge",
    "Fast",
    "FastPath",
    "Guidance",
    "GuidanceEnd",
    "GuidanceStart",
    "IdentityFile",
    "KeepBest",
    "Models",
    "NoScore",
    "NotLike",
    "NotLikeStrength",
    "OptionalPhotos",
    "Output",
    "Photos",
    "Picks",
    "Scheduler",
    "Seed",
    "Size",
    "Steps",
    "Version",
    "Vram",
    "parse_size",
]

_MODELS, _WHO, _PICTURES, _ANSWER = "Models and device", "The person", "Pictures", "Answer"
_QUICKER = "Approximations (quality unverified)"


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib import metadata

        try:
            typer.echo(metadata.version("arc2face-studio"))
        except metadata.PackageNotFoundError:
            typer.echo("dev")
        raise typer.Exit


def parse_size(text: str | None) -> tuple[int | None, int | None]:
    """`512` or `640x512` (width x height) as (height, width); (None, None) for nothing. Raises SettingsError."""
    if text is None:
        return None, None
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.strip().isdigit() for part in parts):
        raise SettingsError(f"A size is written 512 or 640x512 (width x height), not {text!r}.")
    return int(parts[-1]), int(parts[0])


Version = Annotated[
    bool, typer.Option("--version", help="Show the version and stop.", callback=_show_version, is_eager=True)
]
Models = Annotated[
    Path | None,
    typer.Option(
        "--models",
        help="Models folder; the best one found when omitted.",
        envvar="ARC2FACE_MODELS",
        rich_help_panel=_MODELS,
        show_default=False,
    ),
]
Device = Annotated[
    str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.", envvar="ARC2FACE_DEVICE", rich_help_panel=_MODELS)
]
Dtype = Annotated[
    str,
    typer.Option(
        help="auto, fp32, fp16, or bf16 on CPUs that have it.", envvar="ARC2FACE_DTYPE", rich_help_panel=_MODELS
    ),
]
Vram = Annotated[
    str,
    typer.Option(help=f"{one_of(VRAM_POLICIES)}.", envvar="ARC2FACE_VRAM", rich_help_panel=_MODELS),
]
FastPath = Annotated[
    str,
    typer.Option(
        "--fast-path",
        help="Captured steps on CUDA: auto, on (insist) or off.",
        envvar="ARC2FACE_FAST_PATH",
        rich_help_panel=_MODELS,
    ),
]
Photos = Annotated[list[Path], typer.Argument(help="Photos of one person.", show_default=False, metavar="PHOTO")]
OptionalPhotos = Annotated[
    list[Path] | None, typer.Argument(help="Photos of one person.", show_default=False, metavar="PHOTO")
]
IdentityFile = Annotated[
    Path | None,
    typer.Option(
        "--identity",
        help="A saved identity (.npz or .npy) instead of photos.",
        rich_help_panel=_WHO,
        show_default=False,
    ),
]
Picks = Annotated[
    list[int] | None,
    typer.Option(
        "--face",
        help="Which face of the photo, 1 the best; once per photo.",
        min=1,
        rich_help_panel=_WHO,
        show_default=False,
    ),
]
Output = Annotated[Path, typer.Option("--output", "-o", help="Folder for the pictures.", rich_help_panel=_ANSWER)]
Enlarge = Annotated[
    int | None,
    typer.Option(
        help=f"Also save each picture {one_of(map(str, ENLARGE_FACTORS))} times as large; no detail is added.",
        rich_help_panel=_ANSWER,
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Answer with one JSON object.", rich_help_panel=_ANSWER)]
Count = Annotated[
    int, typer.Option("--count", "-n", help=f"Number of pictures, 1 to {MAX_IMAGES}.", rich_help_panel=_PICTURES)
]
Seed = Annotated[
    int | None,
    typer.Option(help="Picture k uses seed + k; random when omitted.", rich_help_panel=_PICTURES, show_default=False),
]
Steps = Annotated[
    int | None,
    typer.Option(
        help=f"Denoising steps, {span(FULL.steps_range)} ({FULL.steps}); in fast mode {span(FAST.steps_range)} "
        f"({FAST.steps}).",
        rich_help_panel=_PICTURES,
        show_default=False,
    ),
]
Guidance = Annotated[
    float | None,
    typer.Option(
        help=f"Guidance scale, 1 (off) to {FULL.guidance_range[1]:g}; usually {FULL.guidance_scale}, in fast mode "
        f"{FAST.guidance_scale}.",
        rich_help_panel=_PICTURES,
        show_default=False,
    ),
]
Fast = Annotated[bool, typer.Option("--fast", help="LCM-LoRA: a few steps.", rich_help_panel=_PICTURES)]
Scheduler = Annotated[
    str,
    typer.Option(help=f"{one_of(CHOOSABLE_SCHEDULERS)}; unused in fast mode.", rich_help_panel=_PICTURES),
]
Decode = Annotated[
    str,
    typer.Option(
        "--decoder",
        help=f"{one_of(DECODERS)}; small is TAESD, auto takes it in fast mode on a CPU where its file is there.",
        rich_help_panel=_QUICKER,
    ),
]
GuidanceStart = Annotated[
    float,
    typer.Option(
        help="Share of the steps at which guidance begins; the steps before cost half.", rich_help_panel=_QUICKER
    ),
]
GuidanceEnd = Annotated[
    float,
    typer.Option(help="Share of the steps at which it ends; the steps after cost half.", rich_help_panel=_QUICKER),
]
NotLike = Annotated[
    Path | None,
    typer.Option(
        help="A photo or saved identity (.npz, .npy) of somebody the pictures should not look like; needs a guidance "
        "scale above 1.",
        rich_help_panel=_PICTURES,
        show_default=False,
    ),
]
NotLikeStrength = Annotated[
    float,
    typer.Option(help=f"How firmly, {span(NEGATIVE_STRENGTH_RANGE)}.", rich_help_panel=_PICTURES),
]
Size = Annotated[
    str | None,
    typer.Option(
        help="Pixels, 512 or 640x512 (width x height); the models' own size when omitted.",
        rich_help_panel=_PICTURES,
        show_default=False,
    ),
]
KeepBest = Annotated[
    int, typer.Option(help="Keep only the k most similar pictures; 0 keeps all.", rich_help_panel=_PICTURES)
]
NoScore = Annotated[bool, typer.Option("--no-score", help="Do not measure the similarity.", rich_help_panel=_PICTURES)]
