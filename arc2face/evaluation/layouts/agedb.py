"""AgeDB: one flat folder of `number_Name_age_sex.jpg`.

Moschoglou et al., "AgeDB: the first manually collected, in-the-wild age database", CVPR Workshops 2017. Sex and the
ten years of age become labels, so that the report has a part for each.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from arc2face.errors import InputError
from arc2face.evaluation.layouts.files import listing, need_folder
from arc2face.evaluation.samples import FaceSet, Sample

LAYOUT = "Layout: pictures called number_Name_age_sex.jpg, such as 12_MariaCallas_35_f.jpg, in one folder."
_NAME = re.compile(r"(?P<number>\d+)_(?P<person>.+)_(?P<age>\d{1,3})_(?P<sex>[fm])\.\w+", re.IGNORECASE)


def read_agedb(path: Path | str) -> FaceSet:
    """The pictures of AgeDB with the labels `sex` and `age` (in steps of ten years).

    Raises:
        InputError: no folder, no picture, a file with another kind of name, or a number used twice.
    """
    root = need_folder(path, LAYOUT)
    _, files = listing(root)
    samples: list[Sample] = []
    numbers: dict[int, str] = {}
    for name in files:
        match = _NAME.fullmatch(name)
        if match is None:
            raise InputError(f"{root / name} is not named as AgeDB names its pictures. {LAYOUT}")
        number = int(match["number"])
        if number in numbers:
            raise InputError(f"{root}: {numbers[number]!r} and {name!r} have one number. {LAYOUT}")
        numbers[number] = name
        decade = int(match["age"]) // 10 * 10
        labels = {"sex": match["sex"].lower(), "age": f"{decade}-{decade + 9}"}
        samples.append(Sample(name, match["person"], partial(Path, root / name), "real", labels))
    if not samples:
        raise InputError(f"{root} holds no picture of AgeDB. {LAYOUT}")
    samples.sort(key=lambda sample: (sample.person or "", sample.key))
    return FaceSet("agedb", tuple(samples))
