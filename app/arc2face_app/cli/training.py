"""`arc2face train` and `arc2face evaluate`: thin doors to the `training` package."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Annotated, Any

import typer

from arc2face.errors import SettingsError
from arc2face_app.cli.options import AsJson, Device, Models

ANNOTATE_HELP = (
    "Write what training needs about photos: embeddings, expressions, normal maps, aligned faces; resumable."
)
TRAIN_HELP = "Train one component of the models from a configuration; resumes where it stopped."

Component = Annotated[str, typer.Argument(help="For example unet, vae, controlnet, expression.", show_default=False)]
Overrides = Annotated[
    list[str] | None, typer.Argument(help="Single settings, for example loop.batch_size=8.", metavar="[KEY=VALUE]...")
]
Config = Annotated[str | None, typer.Option(help="Recipe (people, people-cpu, full) or a YAML file.")]
Seconds = Annotated[float | None, typer.Option(min=0, help="Length of this piece; run the same command to go on.")]
Length = Annotated[int | None, typer.Option(min=1, help="Steps of the whole run; may be raised later.")]
NoResume = Annotated[bool, typer.Option("--no-resume", help="Start over.")]
ExportOnly = Annotated[bool, typer.Option("--export", help="Only write the models from the last checkpoint.")]
Processes = Annotated[int, typer.Option(min=1, help="Processes on this machine, one per GPU or core.")]
Tracker = Annotated[str | None, typer.Option(help="Where curves go: tensorboard, wandb or none.", show_default=False)]
Target = Annotated[Path | None, typer.Option("--output", "-o", help="Folder for what comes out.", show_default=False)]
Suite = Annotated[str, typer.Option(help="Which set of measurements.")]
Only = Annotated[list[str] | None, typer.Option(help="One measurement, as identity or pose; several times.")]


def train(
    component: Component,
    overrides: Overrides = None,
    config: Config = None,
    output: Target = None,
    device: Device = "auto",
    seconds: Seconds = None,
    steps: Length = None,
    no_resume: NoResume = False,
    export: ExportOnly = False,
    processes: Processes = 1,
    tracker: Tracker = None,
) -> None:
    """Hands over to `arc2face_training.train.run`."""
    module = _module("arc2face_training.train")
    options = module.RunOptions(tuple(overrides or ()), seconds, steps, not no_resume, export, processes, tracker)
    _exit(module.run(component, config=config, output=output, device=device, options=options))


PhotosPath = Annotated[Path, typer.Argument(help="A folder tree, zip, tar or Parquet file, or a folder of those.")]
Align = Annotated[str, typer.Option(help="none, ffhq (faces of --size pixels) or arcface (crops of 112 pixels).")]
Shard = Annotated[str, typer.Option(help="i/n: this process does every n-th shard from i (from 0).")]
Skip = Annotated[list[str] | None, typer.Option(help="embedding, expression or normals; several times.")]
Side = Annotated[int, typer.Option(min=32, max=2048, help="Pixels of normal maps and FFHQ-aligned faces.")]
PerShard = Annotated[int, typer.Option(min=1, help="Photos of a shard.")]
Batch = Annotated[int, typer.Option(min=1, help="Photos read at once.")]
PictureKind = Annotated[str, typer.Option(help="png or jpg, of aligned faces.")]
People = Annotated[str, typer.Option(help="Whom a photo shows: auto, folder or each.")]
PersonKey = Annotated[str, typer.Option(help="Field of x.json, or column of a table, that names the person.")]


def annotate(
    photos: PhotosPath,
    output: Target = None,
    align: Align = "none",
    skip: Skip = None,
    size: Side = 512,
    shard: Shard = "0/1",
    per_shard: PerShard = 1024,
    batch: Batch = 16,
    picture: PictureKind = "png",
    people: People = "auto",
    person_key: PersonKey = "",
    models: Models = None,
    device: Device = "auto",
) -> None:
    """Hands over to `arc2face_training.photos.annotate.run`."""
    module = _module("arc2face_training.photos.annotate")
    options = module.options_of(
        align=align, skip=tuple(skip or ()), size=size, shard=shard, per_shard=per_shard, batch=batch, picture=picture,
        people=people, person_key=person_key,
    )  # fmt: skip
    _exit(module.run(photos, output, models, device, options))


def evaluate(
    suite: Suite = "quick",
    models: Models = None,
    output: Target = None,
    device: Device = "auto",
    as_json: AsJson = False,
    only: Only = None,
) -> None:
    """Hands over to `arc2face_training.evaluate.run`."""
    module = _module("arc2face_training.evaluate")
    _exit(module.run(suite=suite, models=models, output=output, device=device, as_json=as_json, only=only or ()))


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name not in (name, "arc2face_training"):
            raise SettingsError(f"This needs the package {error.name}; run: pip install {error.name}") from error
        raise SettingsError(f"{name} is not part of this installation; use a checkout of the project.") from error


def _exit(code: int) -> None:
    if code:
        raise typer.Exit(code)
