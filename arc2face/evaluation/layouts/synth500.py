"""Synth-500: 500 people who do not exist, one picture each, from which others are drawn.

The list behind the published figures was never released, so this reads what a person has: one picture per person in a
flat folder (the file's name is the person), a folder per person, or a list.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from arc2face.errors import InputError
from arc2face.evaluation.layouts.files import listing, need_folder
from arc2face.evaluation.layouts.folder import LIST, read_folder
from arc2face.evaluation.samples import FaceSet, Sample

LAYOUT = "Layout: one picture per person in a flat folder, a folder per person, or pictures and people.csv."
PEOPLE = 500


def read_synth500(path: Path | str, list_file: Path | str | None = None) -> FaceSet:
    """The people of a folder; a note says so when they are not 500.

    Raises:
        InputError: no folder, no picture, two pictures of one name, or both layouts at once.
    """
    root = need_folder(path, LAYOUT)
    people, files = listing(root)
    if list_file is not None or people or (root / LIST).is_file():
        found = read_folder(root, list_file)
    else:
        found = FaceSet("synth500", tuple(_flat(root, files)))
    count = len(found.people)
    note = () if count == PEOPLE else (f"This set has {count} people, not {PEOPLE}; figures differ for that alone.",)
    return FaceSet("synth500", found.samples, found.pairs, (*found.notes, *note))


def _flat(root: Path, files: list[str]) -> list[Sample]:
    names: dict[str, str] = {}
    for name in files:
        person = Path(name).stem
        if person in names:
            raise InputError(f"{root}: {names[person]!r} and {name!r} would be one person; keep one. {LAYOUT}")
        names[person] = name
    if not names:
        raise InputError(f"{root} holds no picture. {LAYOUT}")
    return [Sample(name, person, partial(Path, root / name)) for person, name in names.items()]
