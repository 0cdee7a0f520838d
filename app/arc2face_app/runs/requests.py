"""What is looked at in a request before Gradio sees it: the size and content of bodies, uploads, failed logins."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import Message, Receive

MAX_BODY = 4 << 20
"""Bytes of a JSON body. Pictures are uploaded apart; what remains are numbers, names and at most a recipe."""
MAX_MCP_BODY = 32 << 20
"""MCP clients may send a picture as text within the call."""
MAX_DEPTH = 40
UPLOAD_BYTES = 2 << 30
UPLOAD_WINDOW = 3600.0
"""Bytes that one network address may upload within so many seconds."""
KEEP_FREE = 256 << 20
"""Bytes of disk that uploads leave alone."""
TRIES = 10
TRIES_WINDOW = 60.0
"""Failed logins of one network address within so many seconds."""
MAX_ADDRESSES = 10_000


class TooLargeError(Exception):
    """A body or an upload is over a limit. `status`: the HTTP status that says so."""

    def __init__(self, text: str, status: int = 413) -> None:
        super().__init__(text)
        self.status = status


class BadBodyError(Exception):
    """A body is not what it should be. `call_id`: that of the MCP call, None elsewhere."""

    def __init__(self, text: str, call_id: Any = None) -> None:
        super().__init__(text)
        self.call_id = call_id


@dataclass(frozen=True, slots=True)
class Body:
    """What the guard needs to know of a body. `paths`: every file it names. `function`: Gradio's number of it."""

    session: str = ""
    function: int | None = None
    paths: tuple[str, ...] = ()

    @classmethod
    def of(cls, raw: bytes, to_mcp: bool) -> Body:
        """Read a body; one that is not JSON is left to Gradio.

        Raises:
            BadBodyError: it nests too deep, holds text that is none, or asks for a web address to be fetched.
        """
        try:
            data: Any = json.loads(raw) if raw.lstrip()[:1] in (b"{", b"[") else None
        except RecursionError as error:
            raise BadBodyError("The request nests too deep.") from error
        except ValueError:
            return cls()
        if to_mcp and isinstance(data, list):
            raise BadBodyError("Send one call at a time.", 0)
        if not isinstance(data, dict):
            return cls()
        call_id = data.get("id", 0) if to_mcp else None
        if b"\\u" in raw:
            _check_text(data, call_id)
        if to_mcp:
            asked = data.get("params")
            if isinstance(asked, dict) and any(_is_foreign(text) for text in _texts(asked.get("arguments"))):
                raise BadBodyError("Web addresses are not fetched. Upload the file and pass its path.", call_id)
            return cls()
        paths = tuple(file_paths(data))
        if any(_is_web_address(path) for path in paths):
            raise BadBodyError("Web addresses are not fetched. Upload the file instead.")
        session, function = data.get("session_hash"), data.get("fn_index")
        return cls(
            session[:100] if isinstance(session, str) else "", function if isinstance(function, int) else None, paths
        )


async def read_body(request: Request, to_mcp: bool) -> bytes:
    """The whole body. Raises TooLargeError."""
    limit = MAX_MCP_BODY if to_mcp else MAX_BODY
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise TooLargeError(f"The request is larger than {limit >> 20} MB. Pictures are uploaded apart.")
        chunks.append(chunk)
    return b"".join(chunks)


def replayed(raw: bytes, receive: Receive) -> Receive:
    """`receive` for whoever comes next: the body once more, then what the client still sends."""
    left: list[Message] = [{"type": "http.request", "body": raw, "more_body": False}]

    async def again() -> Message:
        return left.pop() if left else await receive()

    return again


class Quota:
    """How much each network address has uploaded lately."""

    def __init__(self) -> None:
        self._sent: dict[str, deque[list[float]]] = defaultdict(deque)
        """Per address: when each upload began, and its bytes so far."""

    def metered(self, request: Request, receive: Receive) -> Receive:
        """`receive` that counts. Raises TooLargeError at once, or while the body arrives."""
        address = request.client.host if request.client is not None else ""
        length = request.headers.get("content-length", "")
        self._check(address, int(length) if length.isdecimal() else 0)
        upload = [time.monotonic(), 0.0]
        self._sent[address].append(upload)

        async def counted() -> Message:
            message = await receive()
            upload[1] += len(message.get("body", b""))
            self._check(address, 0)
            return message

        return counted

    def _check(self, address: str, coming: int) -> None:
        now = time.monotonic()
        if len(self._sent) > MAX_ADDRESSES:
            self._sent.clear()
        sent = self._sent[address]
        while sent and now - sent[0][0] > UPLOAD_WINDOW:
            sent.popleft()
        if sum(size for _, size in sent) + coming > UPLOAD_BYTES:
            raise TooLargeError(f"More than {UPLOAD_BYTES >> 30} GB were uploaded within the hour. Wait a while.", 429)
        if coming and shutil.disk_usage(tempfile.gettempdir()).free - coming < KEEP_FREE:
            raise TooLargeError("The server's disk is full; nothing can be uploaded now.", 507)


class Tries:
    """Failed logins by network address."""

    def __init__(self) -> None:
        self._failed: dict[str, deque[float]] = defaultdict(deque)

    def failed(self, address: str) -> None:
        """Note one."""
        if len(self._failed) > MAX_ADDRESSES:
            self._failed.clear()
        self._failed[address].append(time.monotonic())

    def wait(self, address: str) -> int:
        """Seconds until this address may try again; 0 for now."""
        failed = self._failed.get(address)
        if failed is None:
            return 0
        now = time.monotonic()
        while failed and now - failed[0] > TRIES_WINDOW:
            failed.popleft()
        return int(TRIES_WINDOW - (now - failed[0])) + 1 if len(failed) >= TRIES else 0


def _nodes(data: Any) -> Iterator[Any]:
    """Every value in it, without recursion. Raises BadBodyError when it nests too deep."""
    waiting = [(data, 0)]
    while waiting:
        value, depth = waiting.pop()
        yield value
        if depth > MAX_DEPTH:
            raise BadBodyError("The request nests too deep.")
        if isinstance(value, dict):
            waiting += [(one, depth + 1) for one in value.values()]
        elif isinstance(value, list):
            waiting += [(one, depth + 1) for one in value]


def _texts(data: Any) -> Iterator[str]:
    yield from (value for value in _nodes(data) if isinstance(value, str))


def file_paths(data: Any) -> Iterator[str]:
    """Every file that a JSON value names, as Gradio writes files. Raises BadBodyError when it nests too deep."""
    for value in _nodes(data):
        if isinstance(value, dict):
            path = value.get("path")
            if isinstance(path, str) and path:
                yield path
            elif isinstance(value.get("url"), str) and "meta" in value:
                yield value["url"]


def _check_text(data: Any, call_id: Any) -> None:
    for text in _texts(data):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise BadBodyError("The request holds text that is no valid Unicode.", call_id) from error


def _is_foreign(text: str) -> bool:
    """A web address, unless it is that of a file of ours: `arc2face_app.api.toolfiles` takes the path out of it."""
    return _is_web_address(text) and "/gradio_api/file=" not in text


def _is_web_address(text: str) -> bool:
    return text.lstrip()[:8].lower().startswith(("http:", "https:", "ftp:", "//"))
