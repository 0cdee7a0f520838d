"""Write what training needs beside each aligned photo: `x.npz` (embedding, expression) and `x.normals.png`.

`python -m training.common.annotate FOLDER [--models ROOT] [--no-normals] [--no-expression]`

Runs through the product's Engine, so the embeddings are those the product will feed. Photos without a face, and broken
ones, are listed and left without annotations; remove them or the trainers will name them. Resumable: photos that have
annotations are skipped.
"""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from arc2face.engine import Engine
from arc2face.errors import Arc2FaceError, InputError
from arc2face.pictures.loading import load_rgb_u8
from arc2face.weights.store import replace_with
from training.common.errors import TrainingError
from training.common.stores import LABELS, NORMALS, PHOTO_SUFFIXES

log = logging.getLogger(__name__)


def annotate(folder: Path, engine: Engine, *, expression: bool = True, normals: bool = True) -> tuple[int, list[str]]:
    """Annotate every photo under `folder`; returns how many were done now, and the names of those that failed."""
    if not folder.is_dir():
        raise TrainingError(f"{folder} is not a folder of photos. Unpack tar files first.")
    photos = sorted(p for p in folder.rglob("*") if p.suffix.lower() in PHOTO_SUFFIXES and not p.name.endswith(NORMALS))
    if not photos:
        raise TrainingError(f"{folder} holds no photos (jpg, png or webp).")
    done, failed = 0, list[str]()
    for photo in photos:
        stem = photo.with_suffix("")
        if stem.with_name(stem.name + LABELS).exists():
            continue
        try:
            _annotate_one(photo, stem, engine, expression, normals)
            done += 1
        except InputError as error:
            log.warning("%s: %s", photo, error)
            failed.append(str(photo))
    return done, failed


def _annotate_one(photo: Path, stem: Path, engine: Engine, expression: bool, normals: bool) -> None:
    rgb = load_rgb_u8(photo)
    labels = {"embedding": engine.perception.embed(rgb).vector}
    if expression:
        labels["expression"] = engine.read_expression(rgb).values
    if normals:
        picture = Image.fromarray(engine.read_pose(rgb, rgb).normal_map)
        with replace_with(stem.with_name(stem.name + NORMALS)) as part:
            picture.save(part, "PNG")
    # Last, because its presence marks the photo as done.
    with replace_with(stem.with_name(stem.name + LABELS)) as part, part.open("wb") as file:
        np.savez(file, **labels)  # type: ignore[arg-type]


def main(arguments: list[str] | None = None) -> int:
    """Command line; exit status 2 for errors a person can fix."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--models", type=Path, default=None)
    parser.add_argument("--no-normals", action="store_true")
    parser.add_argument("--no-expression", action="store_true")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO)
    try:
        engine = Engine.open(options.models)
        wanted = {"expression": not options.no_expression, "normals": not options.no_normals}
        done, failed = annotate(options.folder, engine, **wanted)
    except Arc2FaceError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"{done} photos annotated, {len(failed)} without a usable face.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
