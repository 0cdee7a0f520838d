"""The report of a data set: what was asked for, what came of it, and how well the people are told apart.

All but `measured` comes from the manifests and the identities alone: no picture is opened (but for the contact
sheet), no model is loaded, so it takes seconds for a million pictures.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from arc2face.dataset import reporting, tars
from arc2face.dataset.drawing import LEFT_OUT
from arc2face.dataset.folder import DatasetFolder
from arc2face.dataset.identities import Identities
from arc2face.dataset.report_figures import NOTHING, Rows, about, asked, likeness, progress, read_rows, separation
from arc2face.errors import InputError
from arc2face.evaluation.figure import Figures
from arc2face.evaluation.judge import Judge
from arc2face.evaluation.protocol import Protocol
from arc2face.evaluation.run import Report
from arc2face.evaluation.samples import Asked, FaceSet, Sample
from arc2face.evaluation.state import OnProgress
from arc2face.readers import Perception

__all__ = ["Report", "read_dataset", "report"]


def report(
    folder: Path | str,
    judge: Path | str | None = None,
    against: Path | str | None = None,
    out: Path | str | None = None,
    *,
    perception: Perception | None = None,
    protocol: Protocol | None = None,
    on_progress: OnProgress | None = None,
) -> Report:
    """The figures of a data set, as report.md, report.json and plots.

    Args:
        folder: the data set; it may still be unfinished, the report says how far it is.
        judge: an independent recogniser (ONNX in ArcFace's format). It looks at every picture, which needs
            `perception`, or else opens the best models found.
        against: identities (`.npz` with keys, vectors and sources) of real people, to find those whom drawn people
            resemble.
        out: where the report goes; `report` in the data set when None.
        perception: readers that look at every picture: separation of the faces that came out, poses and expressions
            asked and got, copies. None without `judge`: the manifests alone.
        protocol: seeds, bootstrap draws and what the readers look at.
        on_progress: called with pieces done and to do while pictures are looked at.

    Raises:
        InputError: no data set, or nothing in it yet. EmbeddingError, WeightsError, StorageError.
    """
    home, protocol = DatasetFolder.of(folder), protocol or Protocol()
    target = Path(out).expanduser() if out is not None else home.report
    people, rows = home.identities(), read_rows(home)
    sources = Identities.load(Path(against).expanduser()) if against is not None else None
    figures: Figures = {
        "about": about(home, people),
        "progress": progress(home, rows),
        "likeness": likeness(rows, protocol),
        "separation": separation(people, sources),
        "asked": asked(rows),
    }
    if judge is not None or perception is not None:
        figures["measured"] = _measured(home, target, judge, perception, protocol, on_progress)
    reporting.write(target, figures, rows,
                    _examples(home, rows))  # fmt: skip
    return Report(target, figures)


def read_dataset(folder: Path | str) -> FaceSet:
    """A data set as a set to measure: drawn pictures with what was asked for; failures are samples without a picture.

    Raises InputError when there is none, or nothing is finished.
    """
    home = DatasetFolder.of(folder)
    people = home.identities()
    samples: list[Sample] = []
    left_out = 0
    for row in home.rows():
        if (row.error or "").startswith(LEFT_OUT):
            left_out += 1
            continue
        angles = (row.yaw, row.pitch, row.roll)
        wish = Asked(
            vector=people.vectors[row.identity_number],
            pose=None if None in angles else tuple(float(angle or 0.0) for angle in angles),  # type: ignore[arg-type]
            expression=None if row.expression is None else np.asarray(row.expression, np.float32),
            error=row.error,
        )
        opener = None if row.file is None else partial(tars.member, home.tar(row.shard), row.file)
        samples.append(Sample(row.key, row.identity, opener, "drawn", {}, wish))
    if not samples:
        raise InputError(f"{home.root}: {NOTHING}")
    notes = (f"{left_out} pictures were left out for more similar ones of the same person.",) if left_out else ()
    return FaceSet(home.root.resolve().name, tuple(samples), notes=notes)


def _measured(
    home: DatasetFolder, target: Path, judge: Path | str | None, perception: Perception | None, protocol: Protocol,
    on_progress: OnProgress | None,
) -> Figures:  # fmt: skip
    """The full evaluation of the pictures, in a folder of its own below the report."""
    from arc2face.evaluation.run import evaluate

    second = Judge(judge) if judge is not None else None
    faces = read_dataset(home.root)
    if perception is not None:
        return evaluate(faces, perception, protocol, out=target / "pictures", judge=second,
                        on_progress=on_progress).figures  # fmt: skip
    from arc2face.engine import Engine

    with Engine.open() as engine:
        return evaluate(faces, engine.perception, protocol, out=target / "pictures", judge=second,
                        on_progress=on_progress).figures  # fmt: skip


def _examples(home: DatasetFolder, rows: Rows) -> dict[str, list[tuple[str, bytes]]]:
    """(caption, picture) of the best, middle and worst pictures by likeness."""
    places = np.flatnonzero(rows.there & np.isfinite(rows.similarity))
    order = places[np.argsort(rows.similarity[places], kind="stable")]
    count = min(reporting.SHOWN, len(order))
    middle = (len(order) - count) // 2
    chosen = {"best": order[::-1][:count], "median": order[middle : middle + count], "worst": order[:count]}
    found: dict[str, list[tuple[str, bytes]]] = {}
    for title, which in chosen.items():
        found[title] = [
            (f"{rows.similarity[k]:.2f}  {rows.names['key'][k]}",
             tars.member(home.tar(int(rows.shard[k])), str(rows.names["file"][k])))
            for k in which
        ]  # fmt: skip
    return found
