"""A file server on this machine that can be told to misbehave, request by request.

    with Hub({"a/b.bin": data}) as hub:
        hub.script("a/b.bin", drop(1000), busy(429, "1"), ok)
        hub.url("a/b.bin")

Each request to a path takes the next behaviour of its script; afterwards everything is served properly, with ETag,
Range and If-Range as real hosts have them.
"""

from __future__ import annotations

import hashlib
import threading
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit


@dataclass
class Seen:
    method: str
    path: str
    query: str
    headers: dict[str, str]


COMMIT = "0123456789abcdef" * 2 + "01234567"
"""The commit that every answer names, as the Hugging Face Hub does."""

Behaviour = Callable[["_Handler", bytes], None]


def ok(handler: _Handler, data: bytes) -> None:
    handler.serve(data)


def drop(count: int) -> Behaviour:
    """Sends `count` bytes of the body, then closes the connection although more was announced."""
    return lambda handler, data: handler.serve(data, cut=count)


def corrupt(handler: _Handler, data: bytes) -> None:
    handler.serve(bytes([data[0] ^ 0xFF]) + data[1:])


def truncated(count: int) -> Behaviour:
    """Announces and sends a file that is `count` bytes long, as a broken proxy cache does."""
    return lambda handler, data: handler.serve(data[:count])


def busy(code: int, retry_after: str | None = None) -> Behaviour:
    return lambda handler, data: handler.say(code, b"busy", {"Retry-After": retry_after} if retry_after else {})


def redirect(target: str, code: int = 302, **headers: str) -> Behaviour:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler, data: handler.say(code, b"", {"Location": target, **named})


def page(text: str = "<!DOCTYPE html><html>please log in</html>") -> Behaviour:
    return lambda handler, data: handler.say(200, text.encode(), {"Content-Type": "text/html; charset=utf-8"})


def slow(piece: int, gate: threading.Event) -> Behaviour:
    """Sends `piece` bytes and then waits for `gate` before the rest."""
    return lambda handler, data: handler.serve(data, pause=(piece, gate))


@dataclass
class Hub:
    files: dict[str, bytes]
    seen: list[Seen] = field(default_factory=list)
    scripts: dict[str, deque[Behaviour]] = field(default_factory=lambda: defaultdict(deque))
    ranges: bool = True
    promises: dict[str, str] = field(default_factory=dict[str, str])  # path -> SHA-256 that the hub states for it

    def __enter__(self) -> Hub:
        handler = type("Bound", (_Handler,), {"hub": self})
        self.server = _Server(("127.0.0.1", 0), handler)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def url(self, path: str) -> str:
        return f"{self.base}/{path}"

    def script(self, path: str, *behaviours: Behaviour) -> None:
        self.scripts[path].extend(behaviours)

    def gets(self, path: str) -> list[Seen]:
        return [s for s in self.seen if s.path == path and s.method == "GET"]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away in the middle are what the tests are about."""


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        parts = urlsplit(self.path)
        path = unquote(parts.path).lstrip("/")
        headers = {k.lower(): v for k, v in self.headers.items()}
        self.hub.seen.append(Seen(self.command, path, parts.query, headers))
        script = self.hub.scripts.get(path)
        behaviour = script.popleft() if script and self.command == "GET" else ok
        if path not in self.hub.files and behaviour is ok:
            self.say(404, b"no such file", {})
            return
        behaviour(self, self.hub.files.get(path, b""))

    def say(self, code: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(code)
        for name, value in {"Content-Length": str(len(body)), "X-Repo-Commit": COMMIT, **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def serve(self, data: bytes, cut: int | None = None, pause: tuple[int, threading.Event] | None = None) -> None:
        tag = f'"{hashlib.md5(data).hexdigest()}"'
        start = self._start(tag, len(data))
        if start is not None and start >= len(data):
            self.say(416, b"", {"Content-Range": f"bytes */{len(data)}"})
            return
        body = data[start or 0 :]
        self.send_response(200 if start is None else 206)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", tag)
        self.send_header("X-Repo-Commit", COMMIT)
        if promise := self.hub.promises.get(unquote(urlsplit(self.path).path).lstrip("/")):
            self.send_header("X-Linked-ETag", f'"{promise}"')
        if start is not None:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        if self.command == "HEAD":
            return
        if pause is not None:
            piece, gate = pause
            self.wfile.write(body[:piece])
            self.wfile.flush()
            gate.wait(30)
            body = body[piece:]
        self.wfile.write(body[:cut])
        if cut is not None:
            self.wfile.flush()
            self.connection.close()

    def _start(self, tag: str, length: int) -> int | None:
        wanted = self.headers.get("Range")
        if not wanted or not self.hub.ranges or self.headers.get("If-Range", tag) != tag:
            return None
        return int(wanted.removeprefix("bytes=").partition("-")[0])

    def log_message(self, format: str, *args: Any) -> None:
        pass
