"""One entry for every trainer: `arc2face train COMPONENT --config people`, `python -m arc2face_training COMPONENT`."""

from __future__ import annotations

import importlib
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from arc2face_training.common.config import load_config
from arc2face_training.common.errors import TrainingError
from arc2face_training.common.session import PieceOver

log = logging.getLogger(__name__)
CONFIGS = Path(__file__).resolve().parent / "configs"
RECIPES = ("people", "people-cpu", "full")
SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True)
class Component:
    """Where a trainer lives: `module.function(config, out, resume)` with a config of `module.config`."""

    module: str
    config: str
    function: str = "train"
    title: str = ""


@dataclass(frozen=True)
class RunOptions:
    """How a run is cut and changed, as both command lines take it.

    `changes`: `key=value` texts. `steps`: length of the whole run. `export`: write the models from the checkpoint as
    it is, without training. `tracker`: tensorboard, wandb or none.
    """

    changes: tuple[str, ...] = ()
    seconds: float | None = None
    steps: int | None = None
    resume: bool = True
    export: bool = False
    processes: int = 1
    tracker: str | None = None

    def overrides(self) -> dict[str, Any]:
        """Dotted config keys to values. Raises TrainingError for a text that is not `key=value`."""
        found: dict[str, Any] = {}
        for text in self.changes:
            key, equals, value = text.partition("=")
            if not equals or not key:
                raise TrainingError(f"{text!r} is not key=value; for example loop.batch_size=8.")
            try:
                found[key] = yaml.safe_load(value)
            except yaml.YAMLError as error:
                raise TrainingError(f"The value of {text!r} cannot be read: {error}.") from error
        if self.steps is not None:
            found["loop.steps"] = self.steps
        if self.export:
            found["loop.export"] = "now"
        if self.tracker is not None:
            found["loop.tracker"] = self.tracker
        return found

    def arguments(self) -> list[str]:
        """The same for `python -m arc2face_training`, without the processes."""
        pairs = {"--seconds": self.seconds, "--steps": self.steps, "--tracker": self.tracker}
        found = [text for name, value in pairs.items() if value is not None for text in (name, str(value))]
        found += [] if self.resume else ["--no-resume"]
        return [*found, *(["--export"] if self.export else []), *self.changes]


COMPONENTS: dict[str, Component] = {
    "recogniser": Component(
        "arc2face_training.faces.recogniser", "RecogniserConfig", title="face recogniser (ArcFace)"
    ),
    "detector": Component("arc2face_training.faces.detector", "DetectorConfig", title="face detector (SCRFD)"),
    "landmarks": Component("arc2face_training.faces.landmarks", "LandmarksConfig", title="68 landmarks"),
    "smirk": Component("arc2face_training.expression.smirk", "SmirkConfig", title="expression encoder (SMIRK)"),
    "emoca": Component("arc2face_training.pose.emoca", "EmocaConfig", title="pose encoder (EMOCA)"),
    "vae": Component("arc2face_training.diffusion.vae", "VaeConfig", title="VAE"),
    "unet": Component("arc2face_training.diffusion.identity", "IdentityConfig", title="identity UNet and text encoder"),
    "controlnet": Component(
        "arc2face_training.diffusion.adapters", "ControlNetConfig", "train_controlnet", "ControlNet"
    ),
    "expression": Component(
        "arc2face_training.diffusion.adapters", "ExpressionConfig", "train_expression", "expression adapter"
    ),
    "reference": Component("arc2face_training.diffusion.reference", "ReferenceConfig", title="reference adapter"),
    "lcm": Component("arc2face_training.diffusion.lcm", "LcmConfig", title="LCM-LoRA"),
}


def config_path(component: str, config: str | Path) -> Path:
    """A YAML file: a path as it is, the name of a recipe (starter), or of one of its further stages (full/unet-faces).

    Raises TrainingError for a name that is none of them.
    """
    path = Path(config)
    if path.suffix in (".yaml", ".yml"):
        return path
    stage = CONFIGS / f"{config}.yaml"
    if stage.exists() and stage.name.startswith(f"{component}-"):
        return stage
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
    *,
    options: RunOptions | None = None,
) -> int:
    """What `arc2face train` calls: `config` defaults to the recipe starter. Returns an exit status."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    chosen = options or RunOptions()
    if chosen.processes > 1:
        return several_processes(component, config or "people", output, device, chosen)
    train(
        component, config or "people", output,
        resume=chosen.resume, seconds=chosen.seconds, device=device, overrides=chosen.overrides(),
    )  # fmt: skip
    return 0


def train(
    component: str,
    config: str | Path = "people",
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
    understand, an unusable data folder, a foreign checkpoint or a disk too small for the checkpoints; StorageError
    when the disk is full.
    """
    refuse_lone_process(os.environ)
    entry = component_of(component)
    try:
        module = importlib.import_module(entry.module)
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith("arc2face_training."):
            raise TrainingError(f"The trainer of the {entry.title} is not part of this version.") from error
        raise TrainingError(f'Training needs {error.name}: pip install "arc2face-studio[training]".') from error
    changes = dict(overrides or {})
    if seconds is not None:
        changes["loop.seconds"] = float(seconds)
    if device == "cpu":
        changes["loop.device"] = "cpu"
    settings = load_config(getattr(module, entry.config), config_path(component, config), changes)
    try:
        figures = getattr(module, entry.function)(settings, out or Path("runs") / component, resume)
    except PieceOver:
        log.info("%s: the piece ended while data were prepared; run the same command again", component)
        return {"step": 0.0}
    log.info(
        "%s: %s", component, json.dumps({k: round(v, 4) for k, v in figures.items() if isinstance(v, int | float)})
    )
    return figures


def component_of(name: str) -> Component:
    """The trainer of a component. Raises TrainingError for an unknown one."""
    if name not in COMPONENTS:
        raise TrainingError(f"There is no trainer {name!r}. Components: {', '.join(COMPONENTS)}.")
    return COMPONENTS[name]


def several_processes(component: str, config: str | Path, out: Path | None, device: str, options: RunOptions) -> int:
    """Start the processes with torch's launcher and wait for them; a signal to this one reaches all of them."""
    component_of(component)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node"]
    command += [
        str(options.processes),
        "-m",
        "arc2face_training",
        component,
        "--config",
        str(config),
        "--device",
        device,
    ]
    command += [] if out is None else ["--out", str(out)]
    command += options.arguments()
    cores = os.cpu_count() or 1
    environment = {"OMP_NUM_THREADS": str(max(1, cores // options.processes)), **os.environ}
    process = subprocess.Popen(command, env=environment)
    before = {n: signal.signal(n, lambda number, _: process.send_signal(number)) for n in SIGNALS}
    try:
        return process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def refuse_lone_process(environment: Mapping[str, str]) -> None:
    """`accelerate launch --cpu --num_processes 2` starts one process and says nothing; raise TrainingError instead."""
    lone = "ACCELERATE_MIXED_PRECISION" in environment and "LOCAL_RANK" not in environment
    if lone and "MASTER_ADDR" in environment:
        raise TrainingError(
            "accelerate launch was asked for several processes and started one. "
            "Use: arc2face train COMPONENT --processes 2, "
            "or torchrun --nproc_per_node 2 -m arc2face_training COMPONENT"
        )
