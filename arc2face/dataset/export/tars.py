"""WebDataset: `train-000000.tar` and so on, with `KEY.png` (or .jpg), `KEY.cls` (the label) and `KEY.json` each."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from typing import Any

from arc2face.dataset.export.card import write_card
from arc2face.dataset.export.job import Job, Picture

__all__ = ["facts_of", "write"]

BLOCK = 512
LEFT_OUT = ("file", "bytes", "shard", "error", "pixels_sha256", "width", "height", "settings", "models")
"""Columns about the data set's own files, and those that are the same for all pictures: the card says them once."""


def write(job: Job, pictures: Iterable[Picture]) -> dict[str, Any]:
    """Write tars that are filled up to `shard_bytes`, and a card for the Hub."""
    number, room = 0, 0
    tar: tarfile.TarFile | None = None
    try:
        for picture in pictures:
            words = json.dumps({"label": picture.label, **facts_of(picture.row)}).encode()
            members = ((job.suffix, picture.data), ("cls", str(picture.label).encode()), ("json", words))
            size = sum(BLOCK + len(data) + -len(data) % BLOCK for _, data in members)
            if tar is None or (room < size and tar.offset):
                if tar is not None:
                    tar.close()
                tar = tarfile.open(job.folder / f"train-{number:06d}.tar", "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115
                number, room = number + 1, job.options.shard_bytes - 2 * BLOCK
            for suffix, data in members:
                _add(tar, f"{picture.key}.{suffix}", data)
            room -= size
    finally:
        if tar is not None:
            tar.close()
    write_card(job, "webdataset")
    return {"files": number}


def facts_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """What the manifest says of a picture, without the columns of LEFT_OUT."""
    return {name: value for name, value in row.items() if name not in LEFT_OUT}


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)  # its time and owner are 0: the same set gives the same file
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))
    # it remembers every member, for reading
    tar.members.clear()  # pyright: ignore[reportAttributeAccessIssue]  # not in the stubs
