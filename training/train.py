"""One entry for every trainer: `arc2face train COMPONENT --config starter`, `python -m training COMPONENT`."""

from __future__ import annotations

import importlib
import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training.common.checkpoint import CHECKPOINT
from training.common.config import load_config
from training.common.errors import TrainingError

log = logging.getLogger(__name__)
CONFIGS = Path(__file__).resolve().parent / "configs"
RECIPES = ("starter", "starter-cpu", "full")


@dataclass(frozen=True)
class Component:
    """Where a trainer lives: `module.function(config, out, resume)` with a config of `module.config`."""

    module: str
    config: str
    function: str = "train"
    title: str = ""


COMPONENTS: dict[str, Component] = {
    "recogniser": Component("training.faces.recogniser", "RecogniserConfig", title="face recogniser (ArcFace)"),
    "detector": Component("training.faces.detector", "DetectorConfig", title="face detector (SCRFD)"),
    "landmarks": Component("training.faces.landmarks", "LandmarksConfig", title="68 landmarks"),
    "smirk": Component("training.expression.smirk", "SmirkConfig", title="expression encoder (SMIRK)"),
    "emoca": Component("training.pose.emoca", "EmocaConfig", title="pose encoder (EMOCA)"),
    "vae": Component("training.diffusion.vae", "VaeConfig", title="VAE"),
    "unet": Component("training.diffusion.identity", "IdentityConfig", title="identity UNet and text encoder"),
    "controlnet": Component("training.diffusion.adapters", "ControlNetConfig", "train_controlnet", "ControlNet"),
    "expression": Component(
        "training.diffusion.adapters", "ExpressionConfig", "train_expression", "expression adapter"
    ),
    "reference": Component("training.diffusion.reference", "ReferenceConfig", title="reference adapter"),
    "lcm": Component("training.diffusion.lcm", "LcmConfig", title="LCM-LoRA"),
}


def config_path(component: str, config: str | Path) -> Path:
    """A YAML file: a path as it is, or the name of a recipe (starter, starter-cpu, full)."""
    path = Path(config)
    if path.suffix in (".yaml", ".yml"):
        return path
    named = CONFIGS / str(config) / f"{component}.yaml"
    if not named.exists():
        raise TrainingError(
            f"There is no config {config!r} for {component}. Recipes: {', '.join(RECIPES)}; or pass a YAML file."
        )
    return named


def run(
    component: str,
    config: str | Path | None = None,
    output: Path | None = None,
    device: str = "auto",
) -> int:
    """What `arc2face train` calls: `config` defaults to the recipe starter. Returns an exit status."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    train(component, config or "starter", output, device=device)
    return 0


def train(
    component: str,
    config: str | Path = "starter",
    out: Path | None = None,
    *,
    resume: bool = True,
    seconds: float | None = None,
    device: str = "auto",
    overrides: Mapping[str, Any] | None = None,
) -> dict[str, float]:
    """Train one component and return its figures.

    `config`: recipe name or YAML path. `out`: folder of checkpoint and curves (default runs/<component>).
    `resume`: go on from the checkpoint there. `seconds`: length of this piece; the run can be resumed.
    `overrides`: dotted config keys to values. Raises TrainingError for an unknown component, a config it does not
    understand, an unusable data folder or a foreign checkpoint; StorageError when the disk is full.
    """
    if component not in COMPONENTS:
        raise TrainingError(f"There is no trainer {component!r}. Components: {', '.join(COMPONENTS)}.")
    entry = COMPONENTS[component]
    try:
        module = importlib.import_module(entry.module)
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith("training."):
            raise TrainingError(f"The trainer of the {entry.title} is not part of this version.") from error
        raise TrainingError(f"Training needs {error.name}: pip install 'arc2face-studio[training]'.") from error
    changes = dict(overrides or {})
    config_class = getattr(module, entry.config)
    if seconds is not None:
        changes["loop.seconds"] = float(seconds)
    if device == "cpu":
        changes["loop.device"] = "cpu"
    settings = load_config(config_class, config_path(component, config), changes)
    folder = out or Path("runs") / component
    if not resume and (folder / CHECKPOINT).exists():
        (folder / CHECKPOINT).unlink()
    free_space(folder)
    figures = getattr(module, entry.function)(settings, folder, resume)
    log.info(
        "%s: %s", component, json.dumps({k: round(v, 4) for k, v in figures.items() if isinstance(v, int | float)})
    )
    return figures


def free_space(folder: Path, least_bytes: int = 1 << 30) -> None:
    """Refuse to start on a nearly full disk: a run that cannot save is lost."""
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < least_bytes:
        raise TrainingError(
            f"Only {free >> 20} MB are free at {folder}; checkpoints need {least_bytes >> 20} MB. Free some space."
        )
