"""A folder per person, or one flat folder with a list of who is who."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

from arc2face.errors import InputError
from arc2face.evaluation.layouts.files import inside, listing, need_folder, rows_of
from arc2face.evaluation.samples import Asked, FaceSet, Role, Sample

LAYOUT = "Layout: one folder per person with their pictures, or pictures and people.csv (columns file, person)."
LIST = "people.csv"


def read_folder(path: Path | str, list_file: Path | str | None = None, role: Role = "real") -> FaceSet:
    """The pictures of a folder.

    Args:
        path: holds a folder per person (pictures directly inside it), or pictures and a list.
        list_file: CSV in UTF-8 with the columns `file` (relative to `path`) and `person`; further columns are labels.
            `people.csv` in the folder when None and there.
        role: whether the pictures are photographs or were drawn.

    Raises:
        InputError: no folder, no picture, a mixture of both layouts, folders inside a person's folder, a name used
            twice, or a list that does not fit.
    """
    root = need_folder(path, LAYOUT)
    listed = Path(list_file).expanduser() if list_file is not None else root / LIST
    if list_file is not None or listed.is_file():
        return FaceSet(root.name or "folder", tuple(_listed(root, listed, role)))
    people, loose = listing(root)
    if loose and people:
        raise InputError(
            f"{root} holds both pictures ({loose[0]!r}) and folders ({people[0]!r}), so it is not clear whom the loose "
            f"pictures show. {LAYOUT}"
        )
    if loose:
        raise InputError(f"{root} holds pictures but nothing says whom they show. {LAYOUT}")
    samples: list[Sample] = []
    notes: list[str] = []
    for person in people:
        inner, files = listing(root / person)
        if inner:
            raise InputError(
                f"{root / person} holds the folder {inner[0]!r}; a person's pictures lie directly in their folder. "
                "If these folders are the people, name the folder above them."
            )
        if not files:
            notes.append(f"The folder {person!r} holds no picture; that person is left out.")
        samples += [Sample(f"{person}/{name}", person, partial(Path, root / person / name), role) for name in files]
    if not samples:
        raise InputError(f"{root} holds no picture. {LAYOUT}")
    return FaceSet(root.name or "folder", tuple(samples), notes=tuple(notes))


def read_drawn(path: Path | str, faces: FaceSet) -> FaceSet:
    """Pictures that were drawn elsewhere of the people of a set: a folder per person under their name there.

    `people.csv` may say more: the column `input` names the photo of the set that each was drawn from.
    Raises InputError as `read_folder`, and for a person or photo that the set does not have.
    """
    found = read_folder(path, role="drawn")
    strangers = [person for person in found.people if person not in set(faces.people)]
    if strangers:
        raise InputError(
            f"{path} has the person {strangers[0]!r}, who is not in the set {faces.name!r}. Drawn pictures lie in "
            "folders with the set's own names."
        )
    keys = {sample.key for sample in faces.samples}
    samples: list[Sample] = []
    for sample in found.samples:
        labels = dict(sample.labels)
        photo = labels.pop("input", None)
        if photo is not None and photo not in keys:
            raise InputError(
                f"{path}: {sample.key!r} was drawn from {photo!r}, which is not in the set {faces.name!r}."
            )
        samples.append(replace(sample, key=f"drawn/{sample.key}", labels=labels, asked=Asked(photo)))
    return replace(found, samples=tuple(samples))


def _listed(root: Path, listed: Path, role: Role) -> list[Sample]:
    samples: list[Sample] = []
    for row in rows_of(listed, ("file", "person")):
        name = Path(row["file"]).as_posix()
        path = inside(root, name, listed)
        labels = {key: value for key, value in row.items() if key not in ("file", "person") and value}
        samples.append(Sample(name, row["person"], partial(Path, path), role, labels))
    if not samples:
        raise InputError(f"{listed} lists no picture. {LAYOUT}")
    return samples
