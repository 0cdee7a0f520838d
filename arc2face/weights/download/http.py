"""One plain address to one file: resumable, patient, and never half done. For what does not live on the hub.

Bytes go to `NAME.part`; beside it `NAME.part.json` notes which version they belong to (ETag or Last-Modified). An
interrupted transfer goes on with a Range request that is valid for that version only; when the server has another
one by now, it starts over. The finished part takes the target's place in one step, after `verify` agreed.
"""

from __future__ import annotations

import contextlib
import email.utils
import errno
import functools
import http.client
import json
import os
import random
import re
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arc2face.errors import CorruptWeightsError, DownloadError, StorageError
from arc2face.weights.jsonfile import read_json

__all__ = ["DISK_REFUSES", "NotThereError", "Patience", "VerificationError", "fetch_url", "open_url", "size_at"]

DISK_REFUSES = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG, errno.EACCES, errno.EROFS)
_BLOCK = 1 << 18
_RETRY_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
_DROPPED = (OSError, http.client.HTTPException, TimeoutError)


class NotThereError(DownloadError):
    """The server says that there is no such file (404 or 410)."""


class VerificationError(DownloadError):
    """Every byte came, but they are not the right ones."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to keep trying. `attempts` counts failures without progress; seconds are wall time.

    `backoff` doubles per failure up to `longest_wait`, which also bounds what a server may ask for (Retry-After).
    """

    attempts: int = 6
    backoff: float = 1.0
    longest_wait: float = 120.0
    timeout: float = 30.0
    sleep: Callable[[float], None] = time.sleep

    def pause(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row; never the same twice, so that clients spread."""
        return min(self.longest_wait, self.backoff * 2 ** (failures - 1)) * random.uniform(0.5, 1.0)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Python 3.10 does not know 308, which only differs from 307 for requests that carry a body."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        return super().redirect_request(req, fp, 307 if code == 308 else code, msg, headers, newurl)

    http_error_308 = urllib.request.HTTPRedirectHandler.http_error_302


def open_url(url: str, headers: Mapping[str, str], timeout: float, method: str = "GET") -> http.client.HTTPResponse:
    """Opens an http(s) address, following redirects. Raises urllib's errors."""
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise DownloadError(f"{url} is not an http or https address.")
    asked = {"User-Agent": "arc2face-downloader", "Accept-Encoding": "identity", **headers}
    handlers: list[Any] = [_Redirects(), urllib.request.HTTPSHandler(context=_tls())]
    request = urllib.request.Request(url, headers=asked, method=method)
    return urllib.request.build_opener(*handlers).open(request, timeout=timeout)


@functools.cache
def _tls() -> ssl.SSLContext:
    try:
        import certifi
    except ImportError:
        return ssl.create_default_context()
    return ssl.create_default_context(cafile=certifi.where())


def size_at(url: str, timeout: float = 15.0) -> int | None:
    """Bytes of what lies at an address, -1 when it is there and does not say, None when it cannot be asked."""
    try:
        with open_url(url, {}, timeout, "HEAD") as response:
            value = response.headers.get("Content-Length", "")
            return int(value) if value.isdigit() else -1
    except (*_DROPPED, DownloadError, ValueError):
        return None


def fetch_url(
    url: str,
    target: Path,
    *,
    patience: Patience | None = None,
    on_bytes: Callable[[int], None] = lambda done: None,
    verify: Callable[[Path], None] = lambda part: None,
) -> None:
    """Fetches `url` to `target`, resuming what an earlier call or process left behind.

    `on_bytes` hears how many bytes of the file are on the disk, from zero up, again after a restart. `verify` looks
    at the complete part before it is put in place; its VerificationError leads to one fetch from the beginning.

    Raises NotThereError, VerificationError, DownloadError (tried often enough, or refused) and StorageError.
    """
    part = _Part(url, target)
    for last_try in (False, True):
        _complete(part, patience or Patience(), on_bytes)
        try:
            verify(part.path)
        except VerificationError:
            part.forget()
            if last_try:
                raise
        else:
            part.publish()
            return


class _Part:
    """What has come of one file, and the version that it belongs to."""

    def __init__(self, url: str, target: Path) -> None:
        self.url = url
        self.target = target
        self.path = target.with_name(target.name + ".part")
        self.note = target.with_name(target.name + ".part.json")
        parts = urllib.parse.urlsplit(url)  # without the query, which may hold a signature
        self.address = urllib.parse.urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))

    def size(self) -> int:
        try:
            return self.path.stat().st_size
        except OSError:
            return 0

    def known(self) -> dict[str, Any]:
        """The note, when it is about this address."""
        try:
            note = read_json(self.note, max_bytes=1 << 16)
        except CorruptWeightsError:
            return {}
        return note if note.get("url") == self.address else {}

    def write_note(self, headers: http.client.HTTPMessage, total: int | None) -> None:
        etag = headers.get("etag") or ""
        strong = etag if not etag.startswith("W/") else ""  # Range accepts strong validators only
        note = {"url": self.address, "version": strong or headers.get("last-modified"), "total": total}
        self.target.parent.mkdir(parents=True, exist_ok=True)
        self.note.write_text(json.dumps(note), "utf-8")

    def forget(self) -> None:
        for path in (self.path, self.note):
            with contextlib.suppress(FileNotFoundError):
                path.unlink()

    def publish(self) -> None:
        try:
            os.replace(self.path, self.target)
        except OSError as error:
            raise StorageError(f"{self.target} could not be written ({error.strerror or error}).") from error
        self.forget()


def _complete(part: _Part, patience: Patience, on_bytes: Callable[[int], None]) -> None:
    """Runs attempts until every byte is there. Failures that moved bytes forward do not count."""
    failures = 0
    while True:
        before, wait = part.size(), None
        try:
            return _attempt(part, patience.timeout, on_bytes)
        except urllib.error.HTTPError as error:
            wait = _judge(error, part, patience.longest_wait)
            problem = f"the server answered {error.code} {error.reason}"
            error.close()
        except _DROPPED as error:
            if isinstance(error, OSError) and error.errno in DISK_REFUSES:
                raise StorageError(
                    f"{part.target} could not be written ({error.strerror}). What came so far is kept; free some space "
                    "or choose another folder with --models, then run the same command again."
                ) from error
            problem = str(getattr(error, "reason", None) or error) or type(error).__name__
        failures = 1 if part.size() > before else failures + 1
        if failures >= patience.attempts:
            raise DownloadError(
                f"{part.target.name} could not be fetched: {problem}, {failures} times in a row. "
                f"What came so far is kept; run the same command again to go on. ({part.address})"
            )
        patience.sleep(patience.pause(failures) if wait is None else wait)


def _attempt(part: _Part, timeout: float, on_bytes: Callable[[int], None]) -> None:
    have, known = part.size(), part.known()
    if have and have == known.get("total"):  # stopped between the last byte and publishing
        return
    resume = {"Range": f"bytes={have}-", "If-Range": str(known["version"])} if have and known.get("version") else {}
    with open_url(part.url, resume, timeout) as response:
        offset, total = _place(response)
        if offset not in (0, have):
            part.forget()
            raise http.client.HTTPException("the server went on at another place than asked")
        part.write_note(response.headers, total)
        with part.path.open("r+b" if part.path.exists() else "wb") as stream:
            stream.truncate(offset)
            stream.seek(offset)
            on_bytes(offset)
            while block := response.read(_BLOCK):
                stream.write(block)
                on_bytes(stream.tell())
            stream.flush()
            os.fsync(stream.fileno())
    if total is not None and part.size() < total:
        raise http.client.IncompleteRead(b"", total - part.size())
    if total is not None and part.size() > total:
        part.forget()
        raise http.client.HTTPException("the server sent more bytes than it announced")


def _place(response: http.client.HTTPResponse) -> tuple[int, int | None]:
    """Where the coming bytes belong, and the size of the whole file if the server said it."""
    if response.status == 206:  # Content-Range: bytes 5-9/10
        span = re.match(r"\s*bytes\s+(\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        if span is None:
            raise http.client.HTTPException("the server's Content-Range makes no sense")
        return int(span[1]), int(span[2]) if span[2] != "*" else None
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdigit() else None


def _judge(error: urllib.error.HTTPError, part: _Part, longest: float) -> float | None:
    """How long to wait before another try (None: as usual). Raises when trying again is no use."""
    if error.code in (404, 410):
        raise NotThereError(
            f"{part.target.name} is not at {part.address} (error {error.code}). It may have moved: update this "
            "project, or use --mirror with a copy."
        ) from error
    if error.code == 416:  # the part is as long as the file or longer: begin anew rather than guess
        part.forget()
        return 0.0
    if error.code not in _RETRY_STATUS:
        raise DownloadError(f"{part.address} answered {error.code} {error.reason}.") from error
    return _retry_after(error.headers.get("Retry-After") or "", longest)


def _retry_after(value: str, longest: float) -> float | None:
    """Seconds a server asks to wait: a number or an HTTP date, at most `longest`."""
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, TypeError):
            return None
    return min(longest, max(0.0, seconds))  # in this order, so that NaN is no wait
