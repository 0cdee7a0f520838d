"""Changes to valid files: blind ones on bytes, and ones that keep the container whole and spoil what is in it."""

from __future__ import annotations

import copy
import io
import json
import pickletools
import random
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Sequence
from typing import Any

Change = Callable[[random.Random, bytes], bytes]
_LENGTHS = (0, 1, 2, 7, 127, 128, 255, 256, 32767, 65535, 1 << 20, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 62)
_DEEP = "@deep@"
MAX_BYTES = 4 << 20
"""Longest input that is made; files beyond the limits of a door are cheap to refuse and dear to write."""

VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 0.5, -0.0, 1e-320, 1e308, -1e308, 1e9, 2**31, 2**53 + 1, 2**63, 2**64, 10**400,
    float("nan"), float("inf"), -float("inf"), "", " ", "5", "0x10", "nan", "\x00", "\ud800", "\udfff\ud800", "é" * 3,
    "x" * 10_000, "<script>alert(1)</script>", "../../etc/passwd", "%s%n{0}", _DEEP, [], {}, [None], [[]], [1] * 5000,
    [0.0] * 50, [0.0] * 55, [1e38] * 512, {"a": 1}, {"": None}, {"\ud800": 1}, {"__class__": "x"},
    {"path": "/etc/passwd"}, [{}] * 3, {"left": "x"}, [1, [2, [3]]], [True, False],
)  # fmt: skip
"""Values that do not belong where they are put."""


def strange(rng: random.Random) -> Any:
    """One of VALUES, its own copy."""
    return copy.deepcopy(rng.choice(VALUES))


def as_json(value: Any, depth: int = 100_000) -> bytes:
    """JSON as a careless client writes it: NaN and lone surrogates pass, and so does nesting beyond any recursion."""
    text = json.dumps(value)
    return text.replace(f'"{_DEEP}"', "[" * depth + "]" * depth).encode()


def blind(rng: random.Random, data: bytes, others: Sequence[bytes] = ()) -> bytes:
    """One to four changes that know nothing of the format."""
    for _ in range(rng.choice((1, 1, 2, 4))):
        data = rng.choice(_BLIND)(rng, data)
    if others and rng.random() < 0.1:
        other = rng.choice(others)
        data = data[: rng.randrange(len(data) + 1)] + other[rng.randrange(len(other) + 1) :]
    return data[:MAX_BYTES]


def _flip(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 3, 16)) if changed else 0):
        changed[_place(rng, len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _cut(rng: random.Random, data: bytes) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _drop(rng: random.Random, data: bytes) -> bytes:
    start = _place(rng, len(data) + 1)
    return data[:start] + data[start + rng.choice((1, 4, 64, 1000)) :]


def _repeat(rng: random.Random, data: bytes) -> bytes:
    start = _place(rng, len(data) + 1)
    piece = data[start : start + rng.choice((1, 4, 64, 1000))]
    return data[:start] + piece * rng.choice((2, 3, 100)) + data[start + len(piece) :]


def _length(rng: random.Random, data: bytes) -> bytes:
    form = rng.choice(("<B", "<H", ">H", "<I", ">I", "<Q", ">Q"))
    size = struct.calcsize(form)
    start = _place(rng, len(data) + 1)
    number = rng.choice(_LENGTHS) % (1 << (8 * size))
    return data[:start] + struct.pack(form, number) + data[start + size :]


def _insert(rng: random.Random, data: bytes) -> bytes:
    start = _place(rng, len(data) + 1)
    return data[:start] + rng.randbytes(rng.choice((1, 2, 8, 100))) + data[start:]


_BLIND: tuple[Change, ...] = (_flip, _flip, _cut, _drop, _repeat, _length, _length, _insert)


def _place(rng: random.Random, size: int) -> int:
    """Headers and directories are where it is interesting: the first and the last kilobyte, half of the time."""
    if size <= 2048 or rng.random() < 0.5:
        return rng.randrange(max(1, size))
    return rng.randrange(1024) if rng.random() < 0.6 else size - 1 - rng.randrange(1024)


def change_json(rng: random.Random, data: bytes) -> bytes:
    """Another value, a missing or a surplus entry, somewhere in the tree; else blind."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return blind(rng, data)
    if rng.random() < 0.05:
        return as_json(strange(rng))
    for _ in range(rng.choice((1, 1, 2, 3))):
        spots = list(_spots(value))
        if not spots:
            break
        holder, key = rng.choice(spots)
        how = rng.random()
        if how < 0.7:
            holder[key] = strange(rng)
        elif how < 0.8:
            del holder[key]
        elif how < 0.9:
            holder[key] = [copy.deepcopy(holder[key]) for _ in range(rng.choice((1, 2, 9)))]
        elif isinstance(holder, dict):
            holder[rng.choice(("", "x", "\ud800", "strength", "x" * 300))] = strange(rng)
    return as_json(value, rng.choice((20, 900, 100_000)))


def _spots(value: Any, depth: int = 0) -> Any:
    """(container, key) of every entry of the tree, long lists by their first few."""
    keys = (
        list(value) if isinstance(value, dict) else list(range(min(len(value), 5))) if isinstance(value, list) else []
    )
    for key in keys[:200] if depth < 20 else ():
        yield value, key
        yield from _spots(value[key], depth + 1)


SIDES = ((8000, 9000), (30_000, 2600), (2600, 30_000), (7000, 7000), (65_535, 65_535), (3, 4), (0, 8), (1 << 30, 1))
"""Widths and heights to claim."""


def change_jpeg(rng: random.Random, data: bytes) -> bytes:
    """Another size in the frame header, or a part of the file over and over; else blind."""
    at = next((data.find(mark) for mark in (b"\xff\xc0", b"\xff\xc2", b"\xff\xc1") if mark in data), -1)
    if at < 0 or rng.random() < 0.6:
        return blind(rng, data)
    if rng.random() < 0.5:
        width, height = rng.choice(SIDES)
        return data[: at + 5] + struct.pack(">HH", height & 0xFFFF, width & 0xFFFF) + data[at + 9 :]
    scan = data.rfind(b"\xff\xda")
    return data[:scan] + data[scan:-2] * rng.choice((2, 60, 400)) + data[-2:]


def change_png(rng: random.Random, data: bytes) -> bytes:
    """One chunk changed, dropped, doubled or moved, checksums right."""
    chunks = list(_chunks(data))
    if not chunks:
        return blind(rng, data)
    at = rng.randrange(len(chunks))
    kind, body = chunks[at]
    how = rng.random()
    if how < 0.1:
        chunks[0] = chunks[0][0], struct.pack(">II", *rng.choice(SIDES)) + chunks[0][1][8:]
    elif how < 0.5:
        chunks[at] = kind, _text(rng, body) if kind in (b"tEXt", b"iTXt") else blind(rng, body)
    elif how < 0.6:
        del chunks[at]
    elif how < 0.8:
        chunks[at:at] = [chunks[at]] * rng.choice((1, 2, 500))
    elif how < 0.9:
        rng.shuffle(chunks)
    else:
        chunks[at] = rng.choice((b"IHDR", b"PLTE", b"tRNS", b"iCCP", b"zTXt", b"iTXt", b"eXIf", b"acTL")), body
    return data[:8] + b"".join(png_chunk(*chunk) for chunk in chunks)


def png_chunk(kind: bytes, body: bytes) -> bytes:
    """One chunk with its length and checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _chunks(data: bytes) -> Any:
    at = 8
    while at + 8 <= len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        yield kind, data[at + 8 : at + 8 + length]
        at += 12 + length


def _text(rng: random.Random, body: bytes) -> bytes:
    name, _, text = body.partition(b"\0")
    return name + b"\0" + change_json(rng, text)


def change_zip(inner: Change) -> Change:
    """A changer of zip files whose members are changed by `inner`."""

    def change(rng: random.Random, data: bytes) -> bytes:
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                members = [(info.filename, archive.read(info)) for info in archive.infolist()]
        except Exception:
            return blind(rng, data)
        at = rng.randrange(len(members))
        name, content = members[at]
        how = rng.random()
        if how < 0.6:
            members[at] = name, inner(rng, content)
        elif how < 0.7:
            del members[at]
        elif how < 0.8:
            members.append((rng.choice(members)[0], content))
        else:
            members[at] = name[:-1] + rng.choice(("", "x", "é", "/..", "\x00")), content
        packing = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2))
        return pack(members, packing)

    return change


def pack(members: Sequence[tuple[str, bytes]], packing: int = zipfile.ZIP_STORED) -> bytes:
    """A zip file that is the same on every day."""
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", packing) as archive:
        warnings.simplefilter("ignore")  # names that occur twice
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content, packing)
    return buffer.getvalue()


def change_pickle(rng: random.Random, data: bytes) -> bytes:
    """Operations of a pickle replaced, dropped, repeated or put elsewhere; other content blind."""
    try:
        starts = [int(position or 0) for _, _, position in pickletools.genops(data)]
    except Exception:
        return blind(rng, data)
    for _ in range(rng.choice((1, 1, 2, 3))):
        at = rng.randrange(len(starts))
        start = min(starts[at], len(data))
        end = starts[at + 1] if at + 1 < len(starts) else len(data)
        how = rng.random()
        if how < 0.3:
            data = data[:start] + rng.choice(_OPERATIONS) + data[start + 1 :]
        elif how < 0.5:
            data = data[:start] + data[end:]
        elif how < 0.7:
            data = data[:start] + data[start:end] * rng.choice((2, 3, 1000)) + data[end:]
        elif how < 0.9:
            data = data[:start] + rng.choice(_SNIPPETS) + data[start:]
        else:
            data = data[:start] + blind(rng, data[start:end]) + data[end:]
    return data[:MAX_BYTES]


_OPERATIONS = tuple(opcode.code.encode("latin-1") for opcode in pickletools.opcodes)
_SNIPPETS = (
    b"0", b"2", b"(", b")", b"}", b"]", b"N", b".", b"K\x05", b"K\xff", b"J\xff\xff\xff\xff", b"\x8e" + b"\xff" * 8,
    b"\x8a\xff" + b"\x7f" * 255, b"G\x7f\xf8\0\0\0\0\0\0", b"X\x03\0\0\0\xed\xa0\x80", b"cos\nsystem\n",
    b"c__builtin__\neval\n", b"h\x00", b"q\x00", b"a", b"s", b"t", b"\x85", b"\x86", b"R", b"b", b"]2a", b"}2s", b"(l",
)  # fmt: skip


def change_npy(rng: random.Random, data: bytes) -> bytes:
    """The text header of a NumPy array: shape, type and order; else blind."""
    if not data.startswith(b"\x93NUMPY") or rng.random() < 0.4:
        return blind(rng, data)
    size = struct.unpack("<H", data[8:10])[0]
    header = data[10 : 10 + size].decode("latin-1")
    for old in rng.sample(("512", "<f4", "False", "fortran_order", "shape", "(", "'", "1", "<U", "<i8"), 3):
        header = header.replace(old, rng.choice(_HEADER_WORDS), 1)
    header = header.rstrip()[:size].ljust(size)
    return data[:10] + header.encode("latin-1", "replace") + data[10 + size :]


_HEADER_WORDS = (
    "0", "-1", "513", "10**9", "99999999999", "|O", "<f8", "<f2", ">c16", "<U9", "|V4", "<M8[s]", "True", "None", "((",
    ",", "os", "1,1,512", "[('a','<f4')]", "", "é",
)  # fmt: skip


def change_safetensors(rng: random.Random, data: bytes) -> bytes:
    """The JSON header, its length put right."""
    if len(data) < 8 or rng.random() < 0.2:
        return blind(rng, data)
    size = struct.unpack("<Q", data[:8])[0]
    header = change_json(rng, data[8 : 8 + size])
    return struct.pack("<Q", len(header)) + header + data[8 + size :]


def change_onnx(rng: random.Random, data: bytes) -> bytes:
    """Nodes, attributes, shapes and constants of a network that stays a readable protobuf."""
    import onnx

    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
        graph: Any = model.graph
        for _ in range(rng.choice((1, 1, 2, 4))):
            rng.choice(_GRAPH)(rng, graph)
        return model.SerializeToString()
    except Exception:  # nothing left to change, or no network
        return blind(rng, data)


def _node(rng: random.Random, graph: Any) -> None:
    node = rng.choice(graph.node)
    how = rng.random()
    if how < 0.3:
        node.op_type = rng.choice(
            [other.op_type for other in graph.node] + ["Loop", "Custom", "Identity", "Tile", "Expand"]
        )
    elif how < 0.5 and node.input:
        node.input[rng.randrange(len(node.input))] = rng.choice(graph.node).output[0]
    elif how < 0.7:
        graph.node.remove(node)
    elif how < 0.8:
        graph.node.append(node)
    elif node.attribute:
        attribute = rng.choice(node.attribute)
        if attribute.ints:
            attribute.ints[rng.randrange(len(attribute.ints))] = rng.choice((-1, 0, 1, 7, 1 << 20, 1 << 40, -(1 << 62)))
        else:
            attribute.i = rng.choice((-1, 0, 3, 1 << 40))


def _constant(rng: random.Random, graph: Any) -> None:
    constant = rng.choice(graph.initializer)
    how = rng.random()
    if how < 0.4 and constant.dims:
        constant.dims[rng.randrange(len(constant.dims))] = rng.choice((-1, 0, 1, 3, 1 << 30, 1 << 62))
    elif how < 0.6:
        constant.data_type = rng.randrange(24)
    elif how < 0.7:
        constant.data_location = 1
        entry = constant.external_data.add()
        entry.key, entry.value = "location", rng.choice(("/etc/passwd", "../x", "x", ""))
    else:
        constant.raw_data = blind(rng, constant.raw_data)


def _edge(rng: random.Random, graph: Any) -> None:
    value = rng.choice([*graph.input, *graph.output])
    if rng.random() < 0.3:
        value.name = rng.choice(("", "x", rng.choice(graph.node).output[0]))
        return
    dims = value.type.tensor_type.shape.dim
    dim = dims[rng.randrange(len(dims))]
    dim.dim_value = rng.choice((-1, 0, 1, 2, 3, 111, 1 << 20, 1 << 40))


_GRAPH: tuple[Callable[[random.Random, Any], None], ...] = (_node, _node, _constant, _edge)
