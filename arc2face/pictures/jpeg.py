"""What a JPEG file is made of, read off its markers (ITU-T T.81, annex B) before any pixel is decoded.

Two things cannot be seen in its header: how many passes over the picture its decoder must make (a file of 300 kB can
ask for a hundred over 80 million pixels), and whether its end is there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

__all__ = ["END_OF_IMAGE", "FILLER", "JpegScans", "read_scans"]

END_OF_IMAGE = b"\xff\xd9"
FILLER = bytes((37 * k * k + 11 * k) % 251 for k in range(4096))
"""Data that belongs to no picture: what it changes was not in the file."""

_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_BARE = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a length
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")  # within a scan 0xFF is data (00) or a restart (D0 to D7)


@dataclass
class JpegScans:
    """The first image of a JPEG file: how many scans, whether its end marker is there, and what the scans carry."""

    scans: int = 0
    ended: bool = False
    coefficients: dict[int, list[int | None]] = field(default_factory=dict[int, list[int | None]])
    """Per component and coefficient, the lowest bit that some scan gave; None where no scan gave anything."""

    @property
    def complete(self) -> bool:
        """Whether every coefficient of every component was given to its last bit."""
        return bool(self.coefficients) and all(bit == 0 for bits in self.coefficients.values() for bit in bits)


def read_scans(contents: bytes) -> JpegScans:
    """Walk the markers of a file that starts with FF D8. Stops without an error where the file is damaged."""
    found, at = JpegScans(), 2
    while at + 2 <= len(contents):
        if contents[at] != 0xFF:
            return found
        marker = contents[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
        elif marker == 0xD9:
            found.ended = True
            return found
        elif marker in _BARE:
            at += 2
        else:
            at = _segment(found, contents, at + 2, marker)
            if at < 0:
                return found
    return found


def _segment(found: JpegScans, contents: bytes, at: int, marker: int) -> int:
    """Read one segment whose length field lies at `at`; where the next marker lies, or -1 at the end."""
    length = int.from_bytes(contents[at : at + 2], "big")
    body = contents[at + 2 : at + length]
    if length < 2 or len(body) < length - 2:
        return -1
    if marker in _FRAMES:
        found.coefficients = {body[6 + 3 * k]: [None] * 64 for k in range((len(body) - 6) // 3)}
    if marker != 0xDA:
        return at + length
    found.scans += 1
    _note_scan(found, body)
    following = _NEXT_MARKER.search(contents, at + length)
    return following.start() if following else -1


def _note_scan(found: JpegScans, body: bytes) -> None:
    count = body[0] if body else 0
    if len(body) < 4 + 2 * count:
        return
    first, last, bits = body[1 + 2 * count : 4 + 2 * count]
    for k in range(count):
        given = found.coefficients.get(body[1 + 2 * k])
        if given is not None:
            given[first : last + 1] = [bits & 15] * len(given[first : last + 1])
