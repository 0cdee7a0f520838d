"""Files of MCP calls: how a client names one, and how it gets those that were made."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import mimetypes
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote

from arc2face.weights.writing import replace_with

if TYPE_CHECKING:
    from mcp import types

STORED = "/gradio_api/file="
"""What stands before the path in the address of a file of ours."""
FILE_TEXT = (
    "A file is given as a data: URI, as the `url` of a file that another tool returned, or as the path that "
    "POST /gradio_api/upload answered with."
)
SUFFIXES = {b"PK": ".npz", b"\x93NUMPY": ".npy"}
"""By their first bytes, what the type of a data: URI does not tell."""
MAX_SHOWN = 8
"""Pictures that an answer holds itself; all of them have an address."""


def stored(text: Any, uploads: Path, folder: Path) -> dict[str, Any]:
    """The file that a text names, as Gradio's client takes it.

    `uploads`: the resolved folder of uploads and results; nothing outside it is opened. `folder`: a folder in it for
    what the text itself holds; Gradio's client makes a copy of its own.

    Raises:
        ValueError: it names no file that this client may use.
    """
    given = str(text)
    path = _saved(given, folder) if given.startswith("data:") else _path(given)
    resolved = path.resolve()
    if not resolved.is_relative_to(uploads) or not resolved.is_file():
        raise ValueError(f"There is no such file here. {FILE_TEXT}")
    return {"path": str(resolved), "orig_name": resolved.name, "meta": {"_type": "gradio.FileData"}}


def content(data: Iterable[Any], root_url: str) -> list[types.TextContent | types.ImageContent]:
    """The answer of a call: one JSON object as text, then its pictures. Files stand under `files`, without paths."""
    from mcp import types

    answer: dict[str, Any] = {}
    files: list[dict[str, Any]] = []
    for part in _parts(data):
        if "path" in part and "meta" in part:
            files.append(part)
        else:
            answer |= part
    if files:
        answer["files"] = [{"name": _name(file), "url": _address(file, root_url)} for file in files]
    text = types.TextContent(type="text", text=json.dumps(answer, ensure_ascii=False))
    pictures = [Path(file["path"]) for file in files if str(file["path"]).endswith(".png")][:MAX_SHOWN]
    return [text, *(_picture(path) for path in pictures)]


def _parts(node: Any) -> Iterator[dict[str, Any]]:
    """Files and JSON objects, however Gradio has nested them."""
    if hasattr(node, "model_dump"):
        node = node.model_dump()
    if isinstance(node, dict):
        yield cast("dict[str, Any]", node)
    elif isinstance(node, list | tuple):
        for each in cast("list[Any]", node):
            yield from _parts(each)


def _picture(path: Path) -> types.ImageContent:
    from mcp import types

    data = base64.b64encode(path.read_bytes()).decode()
    return types.ImageContent(type="image", data=data, mimeType="image/png")


def _name(file: dict[str, Any]) -> str:
    return str(file.get("orig_name") or Path(file["path"]).name)


def _address(file: dict[str, Any], root_url: str) -> str:
    return f"{root_url.rstrip('/')}{STORED}{file['path']}"


def _path(text: str) -> Path:
    """The path of an upload, or the one in the address of a file of ours."""
    try:
        return Path(unquote(text.partition(STORED)[2]) if STORED in text else text)
    except ValueError as error:
        raise ValueError(f"There is no such file here. {FILE_TEXT}") from error


def _saved(uri: str, folder: Path) -> Path:
    """A data: URI as a file, under a name made of its content."""
    head, comma, body = uri.partition(",")
    if not comma or not head.endswith(";base64"):
        raise ValueError("A data: URI must be coded as base64: data:image/png;base64,...")
    try:
        raw = base64.b64decode("".join(body.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("The data: URI is not valid base64.") from error
    kind = head.removeprefix("data:").partition(";")[0]
    found = next((suffix for start, suffix in SUFFIXES.items() if raw.startswith(start)), None)
    suffix = found or mimetypes.guess_extension(kind) or ".bin"
    path = folder / f"{hashlib.sha256(raw).hexdigest()[:16]}{suffix}"
    with replace_with(path) as temporary:
        temporary.write_bytes(raw)
    return path
