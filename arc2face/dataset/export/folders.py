"""One folder per person: `0000012/0000012_0003.png`.

Folder names are identity numbers, so that they sort in the order of labels: torchvision's ImageFolder gives the same
numbers as the other exports.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from arc2face.dataset.export.job import Job, Picture

__all__ = ["write"]


def write(job: Job, pictures: Iterable[Picture]) -> dict[str, Any]:
    """Write the pictures; returns nothing worth telling."""
    last = ""
    for picture in pictures:
        name = f"{picture.number:07d}"
        if name != last:
            (job.folder / name).mkdir(exist_ok=True)
            last = name
        (job.folder / name / f"{picture.key}.{job.suffix}").write_bytes(picture.data)
    return {}
