"""All diffusion parts of the starter bundle in order, in pieces that fit a time limit.

`python -m arc2face_training.recipe --work WORK --bundle BUNDLE --seconds 560` renders the data, then trains VAE,
identity UNet, ControlNet, expression adapter, reference adapter and LCM-LoRA, one after the other. When the time is
over it stops with a checkpoint; the same command, with the same WORK and BUNDLE folders, goes on. Meant for a GPU lent
in short pieces:
bring WORK (checkpoints; leave out `data`, which is rendered again in about a minute) and BUNDLE back after each piece.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

from arc2face.errors import Arc2FaceError
from arc2face_training.common.config import load_config
from arc2face_training.common.exports import write_json
from arc2face_training.common.world import DatasetConfig, write_dataset
from arc2face_training.train import COMPONENTS, config_path, train

log = logging.getLogger(__name__)
ORDER = ("vae", "unet", "controlnet", "expression", "reference", "lcm")
LEAST_SECONDS = 45.0
JOINT_PARTS = ("controlnet", "expression")
DATA, PAIRS = "data", "pairs"


def run_recipe(
    recipe: str,
    work: Path,
    bundle: Path,
    recogniser: Path | None,
    seconds: float,
    people: int,
    steps: int | None = None,
) -> dict[str, Any]:
    """Go on with a recipe; returns component -> figures of what is finished so far.

    `seconds`: time limit of this call, 0 for none. `steps`: overrides the length of every run (for a trial).
    """
    started = time.monotonic()
    for folder, pictures in pictures_of(people).items():
        write_dataset(work / folder, pictures, processes=max(1, os.cpu_count() or 1))
    finished: dict[str, Any] = _read(work / "finished.json")
    for component in _parts(recipe):
        if component in finished:
            continue
        left = seconds - (time.monotonic() - started) if seconds else 0.0
        if seconds and left < LEAST_SECONDS:
            break
        overrides = _overrides(component, work, bundle, recogniser, steps)
        figures = train(
            component, recipe, work / component, seconds=max(left - 30, 10.0) if seconds else 0.0, overrides=overrides
        )
        if figures["step"] < _length(component, recipe, overrides):
            break
        finished[component] = figures
        write_json(work / "finished.json", finished)
    return finished


def pictures_of(people: int) -> dict[str, DatasetConfig]:
    """The datasets of a recipe by folder: single pictures, and pairs for reading a reference."""
    return {
        DATA: DatasetConfig(people=people, per_person=5, studio=True),
        PAIRS: DatasetConfig(people=max(1, people * 2 // 3), per_person=4, studio=True, pairs=True),
    }


def _parts(recipe: str) -> tuple[str, ...]:
    """The order, without the parts that the recipe's UNet run trains jointly."""
    entry = COMPONENTS["unet"]
    module = __import__(entry.module, fromlist=[entry.config])
    joint = load_config(getattr(module, entry.config), config_path("unet", recipe)).joint
    return tuple(part for part in ORDER if not (joint and part in JOINT_PARTS))


def _overrides(component: str, work: Path, bundle: Path, recogniser: Path | None, steps: int | None) -> dict[str, Any]:
    data = work / (PAIRS if component == "reference" else DATA)
    changes: dict[str, Any] = {"data.path": str(data), "bundle": str(bundle), "output": str(bundle)}
    if component != "vae":
        changes["data.recogniser"] = None if recogniser is None else str(recogniser)
    if component == "unet":
        changes["pairs.path"] = str(work / PAIRS)
        changes["pairs.recogniser"] = changes["data.recogniser"]
    if steps is not None:
        changes["loop.steps"] = steps
    return changes


def _length(component: str, recipe: str, overrides: dict[str, Any]) -> int:
    entry = COMPONENTS[component]
    module = __import__(entry.module, fromlist=[entry.config])
    return load_config(getattr(module, entry.config), config_path(component, recipe), overrides).loop.steps


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.exists() else {}


def main(arguments: list[str] | None = None) -> int:
    """Command line; exit status 2 for errors a person can fix."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default="people")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--recogniser", type=Path, default=Path("models/starter/antelopev2/arcface.onnx"))
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("--people", type=int, default=6000)
    parser.add_argument("--steps", type=int, default=None)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    try:
        finished = run_recipe(
            options.config,
            options.work,
            options.bundle,
            options.recogniser,
            options.seconds,
            options.people,
            options.steps,
        )
    except Arc2FaceError as error:
        print(error, file=sys.stderr)
        return 2
    missing = [part for part in _parts(options.config) if part not in finished]
    print(f"finished: {', '.join(finished) or 'nothing yet'}; to do: {', '.join(missing) or 'nothing'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
