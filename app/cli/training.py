"""`arc2face train` and `arc2face evaluate`: thin doors to the `training` package."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.options import AsJson, Device, Models
from arc2face.errors import SettingsError

TRAIN_HELP = "Train one component of the models from a configuration; resumes where it stopped."
EVALUATE_HELP = "Measure the models with a written protocol: identity, diversity, control, speed."

Component = Annotated[str, typer.Argument(help="For example unet, vae, controlnet, expression.", show_default=False)]
Config = Annotated[Path | None, typer.Option(help="Configuration file.", show_default=False)]
Target = Annotated[Path | None, typer.Option("--output", "-o", help="Folder for what comes out.", show_default=False)]
Suite = Annotated[str, typer.Option(help="Which set of measurements.")]


def train(component: Component, config: Config = None, output: Target = None, device: Device = "auto") -> None:
    """Hands over to `training.train.run`."""
    _call("training.train", component=component, config=config, output=output, device=device)


def evaluate(
    suite: Suite = "quick",
    models: Models = None,
    output: Target = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Hands over to `training.evaluate.run`."""
    _call("training.evaluate", suite=suite, models=models, output=output, device=device, as_json=as_json)


def _call(module: str, **arguments: Any) -> None:
    try:
        run = importlib.import_module(module).run
    except ModuleNotFoundError as error:
        if error.name not in (module, "training"):
            raise SettingsError(f"This needs the package {error.name}; run: pip install {error.name}") from error
        raise SettingsError(f"{module} is not part of this installation; use a checkout of the project.") from error
    code = run(**arguments)
    if isinstance(code, int) and code:
        raise typer.Exit(code)
