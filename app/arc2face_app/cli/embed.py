"""`arc2face embed`: photos to an identity, and how well they agree."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from arc2face_app.cli import console
from arc2face_app.cli.generate import DropOutliers, Method
from arc2face_app.cli.options import AsJson, Device, Models, Photos, Picks
from arc2face_app.cli.output import check_file
from arc2face_app.cli.session import ModelChoice, find_person, open_engine

if TYPE_CHECKING:
    from arc2face.sources import Person
    from arc2face.types import IdentityEmbedding

HELP = "Read the identity of one person from photos, save it, and say how well the photos agree."

Target = Annotated[
    Path | None,
    typer.Option(
        "--output", "-o", help="Where to save: .npz (identity) or .npy (512 bare numbers).", show_default=False
    ),
]
Compare = Annotated[
    list[Path] | None, typer.Option(help="Saved identities to compare with; may be repeated.", show_default=False)
]


def run(
    photos: Photos,
    output: Target = None,
    face: Picks = None,
    method: Method = "mean",
    drop_outliers: DropOutliers = False,
    compare: Compare = None,
    as_json: AsJson = False,
    models: Models = None,
    device: Device = "auto",
) -> None:
    """Embeds, saves and reports."""
    output = check_file(output)
    with open_engine(ModelChoice(models, device, "auto", "resident")) as engine:
        person = find_person(engine, photos, None, face, method, drop_outliers)
    others = {str(path): person.identity.cosine(_load(path)) for path in compare or ()}
    saved = _save(output, person.identity) if output is not None else None
    if as_json:
        console.answer({**person.facts, "names": [str(p) for p in photos], "saved": saved, "compared": others})
    else:
        _tell(photos, person, saved, others)


def _load(path: Path) -> IdentityEmbedding:
    from arc2face.faces.identities import load_identity

    found, warnings = load_identity(path)
    for text in warnings:
        console.warn(f"{path.name}: {text}")
    return found


def _save(path: Path, identity: IdentityEmbedding) -> str:
    if path.suffix.lower() == ".npy":
        import numpy as np

        from arc2face.weights.store import replace_with

        with replace_with(path) as temporary, temporary.open("wb") as stream:
            np.save(stream, identity.vector)
        return str(path)
    from arc2face.faces.identities import save_identity

    return str(save_identity(path, identity))


def _tell(photos: list[Path], person: Person, saved: str | None, others: dict[str, Any]) -> None:
    report = person.report
    assert report is not None
    for index, path in enumerate(photos):
        words = "outlier" if index in report.outliers else "ok"
        console.say(f"{path}  agrees {report.cosines[index]:.3f}  {words}")
    for name, cosine in others.items():
        console.say(f"{name}  cosine {cosine:.3f}")
    if saved is not None:
        console.say(saved)
