"""One evaluation from a set to a report: look (resumable, in shards), compute, write."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arc2face.evaluation import writing
from arc2face.evaluation.breakdown import with_groups
from arc2face.evaluation.diversity import Distance, folder_of, lpips_diversity, measure
from arc2face.evaluation.features import Features
from arc2face.evaluation.figure import Figures, absent
from arc2face.evaluation.figures import all_figures
from arc2face.evaluation.judge import Judge
from arc2face.evaluation.looking import Looker
from arc2face.evaluation.networks import Inception
from arc2face.evaluation.protocol import Protocol
from arc2face.evaluation.samples import FaceSet
from arc2face.evaluation.state import OnProgress, Shard, State
from arc2face.pictures.recipes import app_version
from arc2face.readers import Perception

NO_LPIPS = "no network for LPIPS was named (--lpips)"
NO_LANDMARKS = "the landmark network is missing, so faces cannot be aligned"


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """What came of a run. `figures`: JSON-ready; empty while `waiting` pieces of work of other shards are missing.

    `folder`: holds report.json, report.md, plots, pictures.parquet (with pyarrow) and state/.
    """

    folder: Path
    figures: Figures
    waiting: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Networks:
    """Optional ones. `inception`: for FID and KID; `lpips`: see `arc2face.evaluation.networks`."""

    inception: Inception | None = None
    lpips: Distance | None = None


def evaluate(
    faces: FaceSet,
    perception: Perception,
    protocol: Protocol | None = None,
    *,
    out: Path | str,
    judge: Judge | None = None,
    networks: Networks | None = None,
    groups: Path | str | None = None,
    shard: Shard | None = None,
    on_progress: OnProgress | None = None,
    plots: bool = True,
) -> Report:
    """Measure a set and write the report into `out`.

    Run again after a stop, it goes on where it was; with `shard`, whoever ends last writes the report.

    Args:
        faces: the set; real photographs, drawn pictures, or both.
        perception: the readers of one models folder (`Engine.perception`).
        protocol: what is measured; the usual one when None.
        out: a folder of this run's own.
        judge: an independent recogniser.
        networks: for figures of looks.
        groups: CSV with the column person and one per kind of group.
        shard: the part of the work that this process does.
        on_progress: called with pieces done and to do.
        plots: whether to draw them.

    Raises:
        InputError: a list that does not fit. SettingsError: `out` belongs to another run. WeightsError, StorageError.
    """
    protocol, networks, shard = protocol or Protocol(), networks or Networks(), shard or Shard()
    folder = Path(out).expanduser()
    faces = faces.limited(protocol.pictures_per_person, protocol.people, protocol.seed)
    if groups is not None:
        faces = with_groups(faces, groups)
    looker = Looker(perception, protocol, judge, networks.inception)
    state = State(folder / "state", faces, looker)
    state.run(shard, on_progress)
    if waiting := state.missing():
        return Report(folder, {}, waiting)
    features = Features.of(faces, state.load())
    reasons = {"pose": looker.pose_reason, "expression": looker.expression_reason}
    lpips = _lpips(folder, faces, features, looker, networks.lpips, protocol, shard)
    figures = all_figures(faces, features, protocol, reasons)
    for role, section in figures["diversity"].items():
        section["lpips"] = lpips[role]
    figures = {"about": _about(faces, looker, networks), "protocol": protocol.written(), **figures}
    writing.write(folder, figures, features, plots=plots)
    return Report(folder, figures)


def _lpips(
    folder: Path, faces: FaceSet, features: Features, looker: Looker, distance: Distance | None,
    protocol: Protocol, shard: Shard,
) -> Figures:  # fmt: skip
    """LPIPS per role."""
    roles = {"real": False, "drawn": True}
    if distance is None or looker.landmarks_reason:
        reason = NO_LPIPS if distance is None else NO_LANDMARKS
        return {role: absent(reason) for role in roles}
    kept = folder_of(folder / "state", distance, protocol)
    measure(kept, faces, features, looker.perception, distance, protocol, shard)
    return {role: lpips_diversity(kept, features, drawn, protocol) for role, drawn in roles.items()}


def _about(faces: FaceSet, looker: Looker, networks: Networks) -> dict[str, Any]:
    facts: Callable[[Any], Any] = lambda network: getattr(network, "facts", None)  # noqa: E731
    return {
        "version": app_version(),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "set": faces.name,
        "set_sha256": faces.digest(),
        "models": looker.models(),
        "judge": facts(looker.judge),
        "inception": facts(networks.inception),
        "lpips": facts(networks.lpips),
        "kind_of_models": looker.perception.models.kind,
    }
