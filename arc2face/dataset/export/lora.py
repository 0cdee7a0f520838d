"""Sets for LoRA trainers: `10_anna/KEY.png` with `10_anna/KEY.txt` each, and `metadata.jsonl` over all of them.

kohya-ss reads the folders (the number is how often a picture is repeated per epoch, the word its name) and the text
files; diffusers' scripts and `datasets` ("imagefolder") read `metadata.jsonl`.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable
from typing import Any

from arc2face.dataset.export.captions import caption
from arc2face.dataset.export.job import Job, Picture

__all__ = ["write"]


def write(job: Job, pictures: Iterable[Picture]) -> dict[str, Any]:
    """Write pictures, captions and the table."""
    folders: dict[int, str] = {}
    with (job.folder / "metadata.jsonl").open("w", encoding="utf-8", newline="\n") as table:
        for picture in pictures:
            if picture.number not in folders:
                folders[picture.number] = _folder(picture, job.options.repeats, set(folders.values()))
                (job.folder / folders[picture.number]).mkdir()
            name = f"{folders[picture.number]}/{picture.key}"
            text = caption(picture.row, job.options.trigger)
            (job.folder / f"{name}.{job.suffix}").write_bytes(picture.data)
            (job.folder / f"{name}.txt").write_text(text + "\n", encoding="utf-8", newline="\n")
            table.write(json.dumps({"file_name": f"{name}.{job.suffix}", "text": text}, ensure_ascii=False) + "\n")
    return {"folders": list(folders.values())[:100]}


def _folder(picture: Picture, repeats: int, taken: set[str]) -> str:
    """A name that every file system takes, made of the person's key."""
    plain = unicodedata.normalize("NFKD", picture.identity).encode("ascii", "ignore").decode()
    word = re.sub(r"[^A-Za-z0-9-]+", "_", plain).strip("_-")[:60] or "person"
    name = f"{repeats}_{word}"
    lower = {other.lower() for other in taken}
    return name if name.lower() not in lower else f"{name}_{picture.number}"
