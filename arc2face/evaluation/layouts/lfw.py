"""Labeled Faces in the Wild: `Name/Name_0001.jpg`, and `pairs.txt` where it is there.

Huang et al., "Labeled Faces in the Wild", UMass TR 07-49, 2007; `pairs.txt` of the same: a first line with the number
of folds and of pairs per fold and kind, then `name n m` for one person and `name n other m` for two.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from arc2face.errors import InputError
from arc2face.evaluation.layouts.files import listing, need_folder
from arc2face.evaluation.samples import FaceSet, Pair, Sample

LAYOUT = "Layout: Name_Surname/Name_Surname_0001.jpg in a folder per person, and pairs.txt beside them or one above."
_NAME = re.compile(r"(?P<person>.+)_(?P<number>\d{4})\.\w+")


def read_lfw(path: Path | str) -> FaceSet:
    """The pictures of LFW, and its pairs where `pairs.txt` lies in the folder or beside it.

    Raises:
        InputError: no folder, no picture, a file that is not named like its folder, or a list that names a picture
            that is not there.
    """
    root = need_folder(path, LAYOUT)
    people, _ = listing(root)
    samples: list[Sample] = []
    numbers: dict[tuple[str, int], str] = {}
    for person in people:
        for name in listing(root / person)[1]:
            match = _NAME.fullmatch(name)
            if match is None or match["person"] != person:
                raise InputError(f"{root / person / name} is not named like its folder. {LAYOUT}")
            key = f"{person}/{name}"
            if (person, int(match["number"])) in numbers:
                raise InputError(f"{root / person} holds picture {int(match['number'])} twice. {LAYOUT}")
            numbers[person, int(match["number"])] = key
            samples.append(Sample(key, person, partial(Path, root / person / name)))
    if not samples:
        raise InputError(f"{root} holds no picture of LFW. {LAYOUT}")
    lists = [place for place in (root / "pairs.txt", root.parent / "pairs.txt") if place.is_file()]
    pairs = _pairs(lists[0], numbers) if lists else ()
    notes = () if lists else ("There is no pairs.txt: all pairs are compared instead of the published 6,000.",)
    return FaceSet("lfw", tuple(samples), pairs, notes)


def _pairs(path: Path, numbers: dict[tuple[str, int], str]) -> tuple[Pair, ...]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as text. Take the published pairs.txt.") from error
    head = lines[0].split() if lines else []
    if not head or not all(word.isdigit() for word in head) or len(head) > 2:
        raise InputError(f"{path} does not begin with the number of folds. Take the published pairs.txt.")
    folds = int(head[0]) if len(head) == 2 else 1
    rows = [line.split() for line in lines[1:] if line.strip()]
    per_fold = max(1, -(-len(rows) // max(folds, 1)))
    pairs: list[Pair] = []
    for place, row in enumerate(rows):
        same = len(row) == 3
        words = (row[0], row[1], row[0], row[2]) if same else tuple(row)
        if len(words) != 4 or not (words[1].isdigit() and words[3].isdigit()):
            raise InputError(f"{path}, line {place + 2}: it is neither `name n m` nor `name n other m`.")
        first, second = (words[0], int(words[1])), (words[2], int(words[3]))
        missing = [name for name in (first, second) if name not in numbers]
        if missing:
            raise InputError(
                f"{path}, line {place + 2}: picture {missing[0][1]} of {missing[0][0]!r} is not in the folder. "
                "Take the whole set, or remove pairs.txt to compare all pairs that are there."
            )
        pairs.append(Pair(numbers[first], numbers[second], same, place // per_fold))
    if not pairs:
        raise InputError(f"{path} lists no pair. Take the published pairs.txt.")
    return tuple(pairs)
