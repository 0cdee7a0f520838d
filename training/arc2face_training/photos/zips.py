"""The directory of a zip file as arrays, without an object per member, and one member's bytes.

The published data set of Arc2Face is 35 zips of some 600,000 pictures; Python's own reader takes a minute and half a
gigabyte for each. Layout: APPNOTE.TXT 4.3 (central directory, zip64 extra field).
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from arc2face_training.common.errors import TrainingError
from arc2face_training.photos.listing import Listing
from arc2face_training.photos.names import Bytes, Int64, Names

HEAD, LOCAL_HEAD, END = 46, 30, 22
SIGNATURE = b"PK\x01\x02"
FULL32, FULL16 = 0xFFFFFFFF, 0xFFFF
MOST_DIRECTORY = 4 << 30


def list_zip(path: Path) -> Listing:
    """All members; `offset` is that of their own headers, `size` what they take in the file. Raises TrainingError."""
    try:
        with path.open("rb") as stream:
            directory = np.frombuffer(_directory(stream), np.uint8)
    except (OSError, ValueError, struct.error) as error:
        raise TrainingError(f"{path} is not a readable zip file: {error}. Fetch it again.") from error
    places = _places(directory, path)
    heads = directory[places[:, None] + np.arange(HEAD)]
    if np.any(_number(heads, 8, 2) & 1):
        raise TrainingError(f"{path} is encrypted; unpack it.")
    named, extra = _number(heads, 28, 2), _number(heads, 30, 2)
    packed, size, offset = _number(heads, 20, 4), _number(heads, 24, 4), _number(heads, 42, 4)
    packed, offset = _large(directory, places + HEAD + named, extra, size, packed, offset, path)
    every = np.repeat(places + HEAD - (np.cumsum(named) - named), named) + np.arange(int(named.sum()))
    return Listing(Names(directory[every], np.cumsum(named)), offset, packed)


def read_zip(stream: BinaryIO, offset: int, size: int, most: int) -> bytes:
    """The member whose header lies at `offset`. Raises ValueError for what cannot be read or is larger than `most`."""
    if size > most:
        raise ValueError(f"it takes {size} bytes")
    stream.seek(offset)
    head = stream.read(LOCAL_HEAD)
    if len(head) < LOCAL_HEAD or head[:4] != b"PK\x03\x04":
        raise ValueError("the zip file is damaged here")
    method, named, extra = struct.unpack("<H", head[8:10]) + struct.unpack("<HH", head[26:30])
    stream.seek(named + extra, 1)
    content = stream.read(size)
    if method == 0:
        return content
    if method != 8:
        raise ValueError(f"it is packed by method {method}; repack it with deflate or without compression")
    try:
        unpacker = zlib.decompressobj(-15)
        plain = unpacker.decompress(content, most)
    except zlib.error as error:
        raise ValueError(f"the zip file is damaged here ({error})") from error
    if unpacker.unconsumed_tail:
        raise ValueError(f"it takes more than {most} bytes")
    return plain


def _directory(stream: BinaryIO) -> bytes:
    length = stream.seek(0, 2)
    tail_at = max(0, length - END - FULL16 - 20)
    stream.seek(tail_at)
    tail = stream.read()
    found = tail.rfind(b"PK\x05\x06")
    if found < 0:
        raise ValueError("its directory is missing")
    count, size, start = struct.unpack("<HII", tail[found + 10 : found + 20])
    if count == FULL16 or FULL32 in (size, start):
        locator = tail.rfind(b"PK\x06\x07", 0, found)
        if locator < 0:
            raise ValueError("its directory is missing")
        stream.seek(struct.unpack("<Q", tail[locator + 8 : locator + 16])[0])
        record = stream.read(56)
        if record[:4] != b"PK\x06\x06":
            raise ValueError("its directory is damaged")
        size, start = struct.unpack("<QQ", record[40:56])
    if start + size > length or size > MOST_DIRECTORY:
        raise ValueError("its directory is damaged")
    stream.seek(start)
    return stream.read(size)


def _places(directory: Bytes, path: Path) -> Int64:
    """(n,) where each member's head begins: wherever its signature stands, if that makes a chain without gaps."""
    if not len(directory):
        return np.zeros(0, np.int64)
    last = max(0, len(directory) - HEAD + 1)
    first = np.flatnonzero(directory[:last] == SIGNATURE[0])
    for k, letter in enumerate(SIGNATURE[1:], start=1):
        first = first[directory[first + k] == letter]
    if len(first) and first[0] == 0:
        ends = first + HEAD + sum(_field(directory, first, at, 2) for at in (28, 30, 32))
        if ends[-1] == len(directory) and np.array_equal(ends[:-1], first[1:]):
            return first
    return _walked(bytes(directory), path)


def _walked(directory: bytes, path: Path) -> Int64:
    """The same one by one, for directories in whose names or comments the signature occurs."""
    places, place = list[int](), 0
    while place < len(directory):
        head = directory[place : place + HEAD]
        length = HEAD + sum(struct.unpack("<HHH", head[28:34])) if len(head) == HEAD else 0
        if head[:4] != SIGNATURE or not 0 < length <= len(directory) - place:
            raise TrainingError(f"{path} is not a readable zip file: its directory is damaged. Fetch it again.")
        places.append(place)
        place += length
    return np.array(places, np.int64)


def _large(
    directory: Bytes, at: Int64, length: Int64, size: Int64, packed: Int64, offset: Int64, path: Path
) -> tuple[Int64, Int64]:
    """Packed sizes and offsets with those that need 64 bits taken from the zip64 field, which must come first."""
    large = np.flatnonzero((size == FULL32) | (packed == FULL32) | (offset == FULL32))
    if not len(large):
        return packed, offset
    at, length = at[large], length[large]
    places = [(values[large] == FULL32).astype(np.int64) for values in (size, packed, offset)]
    needed = 4 + 8 * sum(places)
    if np.any(length < needed) or np.any(_field(directory, at, 0, 2) != 1):
        raise TrainingError(f"{path} has members whose 64-bit sizes cannot be read. Repack it.")
    packed, offset = packed.copy(), offset.copy()
    before = 4 + 8 * places[0]
    for values, here in ((packed, places[1]), (offset, places[2])):
        some = here == 1
        values[large[some]] = _field(directory, (at + before)[some], 0, 8)
        before = before + 8 * here
    return packed, offset


def _number(heads: NDArray[np.uint8], at: int, width: int) -> Int64:
    return heads[:, at : at + width].astype(np.int64) @ (1 << 8 * np.arange(width, dtype=np.int64))


def _field(directory: Bytes, places: Int64, at: int, width: int) -> Int64:
    return directory[places[:, None] + at + np.arange(width)].astype(np.int64) @ (
        1 << 8 * np.arange(width, dtype=np.int64)
    )
