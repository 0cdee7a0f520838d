"""RecordIO as MXNet's tools write it: `train.rec`, `train.idx`, `train.lst`, `property`.

Two layouts. InsightFace's (the usual one; arcface_torch's MXFaceDataset, insightface/recognition): record 0 names the
range of the identity records, pictures are 1 to n in the order of people, then one record per person names the range of
their pictures. `im2rec`'s (`--shuffle`; DALI, AdaFace, CVLface): pictures only, 0 to n - 1, in random order.

A record is dmlc's: magic word, length with three flag bits above, payload, padding to four bytes. Where a payload holds
the magic word at a multiple of four bytes, dmlc leaves that word out and splits the record there, so that readers which
start in the middle of a file find true record starts only (dmlc-core, recordio.h).
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, BinaryIO

from PIL import Image

from arc2face.dataset.export.job import Job, Picture
from arc2face.errors import SettingsError

__all__ = ["frame", "pack", "write"]

MAGIC = 0xCED7230A
_MAGIC = struct.pack("<I", MAGIC)
_HEADER = struct.Struct("<IfQQ")  # IRHeader: number of labels, or 0 and one label; id; id2
MOST_RECORD = (1 << 29) - 1
MOST_EXACT = 1 << 24
"""Labels are float32, which counts exactly up to here only."""
WHOLE, FIRST, MIDDLE, LAST = 0, 1, 2, 3


def frame(payload: bytes) -> bytes:
    """One record around a payload of less than 2^29 bytes."""
    if len(payload) > MOST_RECORD:
        raise SettingsError(f"A record of {len(payload)} bytes is too long for RecordIO. Export smaller pictures.")
    pieces: list[bytes] = []
    start = 0
    at = payload.find(_MAGIC)
    while at >= 0:
        if at % 4:
            at = payload.find(_MAGIC, at + 1)
            continue
        pieces.append(payload[start:at])
        start = at + 4
        at = payload.find(_MAGIC, start)
    pieces.append(payload[start:])
    last = len(pieces) - 1
    flags = [WHOLE] if not last else [FIRST, *[MIDDLE] * (last - 1), LAST]
    heads = [struct.pack("<II", MAGIC, flag << 29 | len(piece)) for flag, piece in zip(flags, pieces, strict=True)]
    padding = b"\0" * (-len(pieces[-1]) % 4)
    return b"".join(part for pair in zip(heads, pieces, strict=True) for part in pair) + padding


def pack(label: float | Sequence[float], number: int, image: bytes = b"") -> bytes:
    """IRHeader and picture: one label, or several in front of the picture."""
    if isinstance(label, int | float):
        return _HEADER.pack(0, float(label), number, 0) + image
    return _HEADER.pack(len(label), 0.0, number, 0) + struct.pack(f"<{len(label)}f", *label) + image


def write(job: Job, pictures: Iterable[Picture]) -> dict[str, Any]:
    """Write the four files. Raises SettingsError where numbers no longer fit the format's float32."""
    people = len(job.selection.names)
    if not job.options.shuffle and len(job.selection) + people + 2 > MOST_EXACT:
        raise SettingsError(
            f"{len(job.selection):,} pictures are too many for InsightFace's layout, whose numbers are float32. "
            "Export with shuffle, which has im2rec's layout."
        )
    folder = job.folder
    with (
        (folder / "train.rec").open("wb") as records,
        (folder / "train.idx").open("w", newline="\n") as index,
        (folder / "train.lst").open("w", newline="\n") as listing,
    ):
        put = _Put(records, index)
        if job.options.shuffle:
            _pictures(put, listing, pictures, 0, job.suffix)
        else:
            _insightface(put, listing, pictures, people, job.suffix)
    (folder / "property").write_text(f"{people},{put.height},{put.width}\n")
    return {"layout": "im2rec" if job.options.shuffle else "insightface"}


class _Put:
    """Where records go. `width`, `height`: of the first picture, pixels."""

    def __init__(self, records: BinaryIO, index: Any) -> None:
        self._records, self._index = records, index
        self.width = self.height = 0

    def picture(self, number: int, label: int, data: bytes) -> None:
        if not self.width:
            self.width, self.height = Image.open(io.BytesIO(data)).size
        self(number, pack(label, number, data))

    def __call__(self, number: int, payload: bytes) -> None:
        self._index.write(f"{number}\t{self._records.tell()}\n")
        self._records.write(frame(payload))

    def again(self, payload: bytes) -> None:
        """Write the first record anew, as long as it was."""
        self._records.seek(0)
        self._records.write(frame(payload))


def _pictures(put: _Put, listing: Any, pictures: Iterable[Picture], first: int, suffix: str) -> list[tuple[int, int]]:
    """Number pictures from `first`; (label, number) of where each label begins."""
    starts: list[tuple[int, int]] = []
    number = first - 1
    for number, picture in enumerate(pictures, start=first):
        put.picture(number, picture.label, picture.data)
        listing.write(f"{number}\t{picture.label:.6f}\t{picture.number:07d}/{picture.key}.{suffix}\n")
        if first and (not starts or starts[-1][0] != picture.label):
            starts.append((picture.label, number))
    return [*starts, (-1, number + 1)]


def _insightface(put: _Put, listing: Any, pictures: Iterable[Picture], people: int, suffix: str) -> None:
    put(0, pack([0.0, 0.0], 0))  # its numbers are known at the end
    starts = _pictures(put, listing, pictures, 1, suffix)
    end = starts[-1][1]
    spans = {label: (start, following[1]) for (label, start), following in pairwise(starts)}
    for label in range(people):
        first, last = spans.get(label, (end, end))  # a person all of whose pictures lost their face has none
        put(end + label, pack([float(first), float(last)], end + label))
    put.again(pack([float(end), float(end + people)], 0))
