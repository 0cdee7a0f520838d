"""Suites: which figures, on how many people; JSON and a contact sheet."""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from arc2face.engine import Engine
from arc2face.errors import Arc2FaceError, SettingsError, WeightsError
from arc2face.pictures.sheets import contact_sheet as grid
from arc2face.weights.store import replace_with
from arc2face_training.common.exports import write_json
from arc2face_training.evaluate import controls, figures, inputs
from arc2face_training.evaluate.figures import Bench, Figures
from arc2face_training.evaluate.judges import Judge

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Suite:
    """Sizes of a suite. `people`: identities of the identity figures; `controlled`: pictures per control figure.

    `random`: pictures of the sheet on which a person counts distorted faces.
    """

    people: int
    controlled: int
    judge: int
    pairs: int
    detections: int
    random: int
    steps: int = 25

    @property
    def count(self) -> int:
        """People of the control figures."""
        return min(self.controlled, self.people)


SUITES = {
    "starter": Suite(people=100, controlled=40, judge=360, pairs=200, detections=200, random=200),
    "quick": Suite(people=12, controlled=8, judge=90, pairs=30, detections=30, random=24),
    "smoke": Suite(people=2, controlled=2, judge=12, pairs=3, detections=2, random=2, steps=2),
}
Fitted = Callable[[], Judge]
MEASUREMENTS: dict[str, Callable[[Bench, Suite, Fitted], Figures]] = {
    "identity": lambda bench, sizes, judge: figures.identity(bench),
    "sharpness": lambda bench, sizes, judge: figures.sharpness(bench),
    "decoder": lambda bench, sizes, judge: figures.decoder(bench, sizes.count),
    "fast": lambda bench, sizes, judge: figures.fast_mode(bench),
    "pose": lambda bench, sizes, judge: controls.pose(bench, judge(), sizes.count),
    "yaw": lambda bench, sizes, judge: controls.yaw_slider(bench, judge(), max(1, sizes.count // 5)),
    "expression": lambda bench, sizes, judge: controls.expression(bench, judge(), sizes.count),
    "calm": lambda bench, sizes, judge: controls.calm(bench, judge(), sizes.count),
    "turning": lambda bench, sizes, judge: controls.turning(bench, judge(), max(1, sizes.count // 10)),
    "reference": lambda bench, sizes, judge: controls.reference(bench, judge(), sizes.count),
    "fairness": lambda bench, sizes, judge: inputs.fairness(bench),
    "grey": lambda bench, sizes, judge: inputs.grey(bench),
    "covered": lambda bench, sizes, judge: inputs.covered(bench),
    "recogniser": lambda bench, sizes, judge: figures.recogniser(bench, sizes.pairs),
    "detector": lambda bench, sizes, judge: figures.detector(bench, sizes.detections),
    "speed": lambda bench, sizes, judge: figures.speed(bench),
}
"""In the order in which they are made. The judge is fitted when the first of them asks for it."""


def evaluate_suite(
    suite: str = "starter",
    models_root: Path | None = None,
    out: Path = Path("runs/evaluation"),
    device: str = "auto",
    only: Sequence[str] = (),
) -> dict[str, Any]:
    """Measure a bundle and write `out/figures.json`, `contact_sheet.png` and `random.jpg`; returns the figures.

    The figures are written after each measurement, so that an interrupted suite leaves what it has measured.
    A figure whose model files are missing is reported as `missing`, with the file and the command that fetches it.
    `only`: names of measurements (identity, pose, ...); the others' figures stay as `out` has them from before, and no
    sheet is drawn. Raises SettingsError for an unknown suite or measurement, before a model is loaded.
    """
    if suite not in SUITES:
        raise SettingsError(f"There is no suite {suite!r}; choose one of {', '.join(SUITES)}.")
    unknown = sorted(set(only) - set(MEASUREMENTS))
    if unknown:
        raise SettingsError(f"There is no measurement {unknown[0]!r}; choose among {', '.join(MEASUREMENTS)}.")
    sizes = SUITES[suite]
    engine = Engine.open(models_root, device=device)
    try:
        bench = Bench(engine, sizes.people, sizes.steps)
        head: dict[str, Any] = {"suite": suite, "models": engine.models.kind, "people": sizes.people}
        results = {**head, **(_measured(out / "figures.json", head) if only else {})}
        bench.scores["plain"] = results.get("identity", {}).get("cosine_own", 0.0)
        judge = functools.cache(lambda: Judge.fit(engine, bench.cast, sizes.judge))
        for name in [name for name in MEASUREMENTS if not only or name in only]:
            results[name] = _guarded(name, functools.partial(MEASUREMENTS[name], bench, sizes, judge))
            write_json(out / "figures.json", results)
        if not only:
            _save(contact_sheet(bench), out / "contact_sheet.png")
            _save(grid(figures.random_results(bench, sizes.random), columns=20), out / "random.jpg")
    finally:
        engine.close()
    return results


def _measured(path: Path, head: Mapping[str, Any]) -> dict[str, Any]:
    """Figures of an earlier run of the same suite; none where there is no such file."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    same = isinstance(found, dict) and all(found.get(key) == value for key, value in head.items())
    return {name: found[name] for name in MEASUREMENTS if name in found} if same else {}


def _save(sheet: NDArray[np.uint8], path: Path) -> None:
    with replace_with(path) as part:
        Image.fromarray(sheet).save(part, "PNG" if path.suffix == ".png" else "JPEG", quality=90)


def contact_sheet(bench: Bench, columns: int = 12) -> NDArray[np.uint8]:
    """One row per mode, one column per person; modes with fewer pictures end earlier."""
    size = bench.engine.native_size
    rows = []
    for pictures in bench.shown.values():
        row = np.full((size, columns * size, 3), 255, np.uint8)
        for k, picture in enumerate(pictures[:columns]):
            row[:, k * size : (k + 1) * size] = np.asarray(Image.fromarray(picture).resize((size, size)))
        rows.append(row)
    return np.concatenate(rows)


def _guarded(name: str, measure: Callable[[], Figures]) -> Figures:
    try:
        result = measure()
    except WeightsError as error:
        return {"missing": str(error)}
    except Arc2FaceError as error:
        return {"failed": str(error)}
    log.info("%s: %s", name, result)
    return result
