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

__all__ = ["NotThereError", "Patience", "VerificationError", "fetch_url", "open_url", "size_at"]

_BLOCK = 1 << 18
_USER_AGENT = "arc2face-downloader"
_RETRY_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
_DROPPED = (OSError, http.client.HTTPException, TimeoutError)
_DISK_REFUSES = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG, errno.EACCES, errno.EROFS)


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


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Python 3.10 does not know 308, which only differs from 307 for requests that carry a body."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        new = super().redirect_request(req, fp, 307 if code == 308 else code, msg, headers, newurl)
        if new is not None:
            new.method = req.get_method()
        return new

    http_error_308 = urllib.request.HTTPRedirectHandler.http_error_302


def open_url(url: str, headers: Mapping[str, str], timeout: float, method: str = "GET") -> http.client.HTTPResponse:
    """Opens an http(s) address, following redirects. Raises urllib's errors."""
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise DownloadError(f"{url} is not an http or https address.")
    asked = {"User-Agent": _USER_AGENT, "Accept-Encoding": "identity", **headers}
    request = urllib.request.Request(url, headers=asked, method=method)
    handlers: list[Any] = [_Redirects(), urllib.request.HTTPSHandler(context=_tls())]
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
    on_bytes: Callable[[int], None] | None = None,
    verify: Callable[[Path], None] | None = None,
) -> None:
    """Fetches `url` to `target`, resuming what an earlier call or process left behind.

    `on_bytes` hears how many bytes of the file are on the disk, from zero up, again after a restart. `verify` looks
    at the complete part before it is put in place; its VerificationError leads to one fetch from the beginning.

    Raises NotThereError, VerificationError, DownloadError (tried often enough, or refused) and StorageError.
    """
    transfer = _Transfer(url, target, patience or Patience(), on_bytes or (lambda done: None))
    for last_try in (False, True):
        transfer.complete()
        try:
            if verify:
                verify(transfer.part)
        except VerificationError:
            transfer.forget()
            if last_try:
                raise
            continue
        transfer.publish()
        return


class _Transfer:
    """The state of one file on its way: the part on the disk and the version it belongs to."""

    def __init__(self, url: str, target: Path, patience: Patience, on_bytes: Callable[[int], None]) -> None:
        self.url = url
        self.target = target
        self.patience = patience
        self.on_bytes = on_bytes
        self.part = target.with_name(target.name + ".part")
        self.note = target.with_name(target.name + ".part.json")

    def complete(self) -> None:
        """Runs attempts until every byte is there. Failures that moved bytes forward do not count."""
        failures = 0
        while True:
            before = self._size()
            try:
                return self._attempt()
            except urllib.error.HTTPError as error:
                wait = self._judge(error)
                problem = f"the server answered {error.code} {error.reason}"
                error.close()
            except _DROPPED as error:
                _raise_if_disk(error, self.target)
                wait = None
                problem = str(getattr(error, "reason", None) or error) or type(error).__name__
            failures = 1 if self._size() > before else failures + 1
            if failures >= self.patience.attempts:
                raise DownloadError(
                    f"{self.target.name} could not be fetched: {problem}, {failures} times in a row. "
                    f"What came so far is kept; run the same command again to go on. ({_public(self.url)})"
                )
            self.patience.sleep(self._pause(failures) if wait is None else wait)

    def _attempt(self) -> None:
        offset, headers = self._resume_point()
        if offset and offset == self._read_note().get("total"):  # stopped between the last byte and publishing
            return
        with open_url(self.url, headers, self.patience.timeout) as response:
            offset, total = self._where(response, offset)
            self._write_note(response.headers, total)
            self._append(response, offset)
        have = self._size()
        if total is not None and have < total:
            raise http.client.IncompleteRead(b"", total - have)
        if total is not None and have > total:
            self.forget()
            raise http.client.HTTPException("the server sent more bytes than it announced")

    def _resume_point(self) -> tuple[int, dict[str, str]]:
        """How many bytes are usable, and the headers that ask for the rest of the same version only."""
        offset, note = self._size(), self._read_note()
        validator = note.get("etag") or note.get("last_modified")
        if not offset or note.get("url") != _public(self.url) or not validator:
            return 0, {}
        return offset, {"Range": f"bytes={offset}-", "If-Range": str(validator)}

    def _where(self, response: http.client.HTTPResponse, offset: int) -> tuple[int, int | None]:
        """Where the coming bytes belong, and the size of the whole file if the server said it."""
        if response.status == 206:
            start, total = _content_range(response.headers.get("Content-Range", ""))
            if start != offset:
                self.forget()
                raise http.client.HTTPException("the server went on at another place than asked")
            return offset, total
        length = response.headers.get("Content-Length")
        return 0, int(length) if length and length.isdigit() else None

    def _append(self, response: http.client.HTTPResponse, offset: int) -> None:
        with self.part.open("r+b" if self.part.exists() else "wb") as stream:
            stream.truncate(offset)
            stream.seek(offset)
            self.on_bytes(offset)
            while block := response.read(_BLOCK):
                stream.write(block)
                offset += len(block)
                self.on_bytes(offset)
            stream.flush()
            os.fsync(stream.fileno())

    def _judge(self, error: urllib.error.HTTPError) -> float | None:
        """How long to wait before another try (None: as usual). Raises when trying again is no use."""
        if error.code in (404, 410):
            raise NotThereError(
                f"{self.target.name} is not at {_public(self.url)} (error {error.code}). It may have moved: "
                "update this project, or use --mirror with a copy."
            ) from error
        if error.code == 416:  # the part is as long as the file or longer: begin anew rather than guess
            self.forget()
            return 0.0
        if error.code not in _RETRY_STATUS:
            raise DownloadError(f"{_public(self.url)} answered {error.code} {error.reason}.") from error
        return _retry_after(error.headers.get("Retry-After"), self.patience.longest_wait)

    def _pause(self, failures: int) -> float:
        longest = min(self.patience.longest_wait, self.patience.backoff * 2 ** (failures - 1))
        return longest * random.uniform(0.5, 1.0)

    def _size(self) -> int:
        try:
            return self.part.stat().st_size
        except OSError:
            return 0

    def _read_note(self) -> dict[str, Any]:
        try:
            return read_json(self.note, max_bytes=1 << 16)
        except CorruptWeightsError:
            return {}

    def _write_note(self, headers: http.client.HTTPMessage, total: int | None) -> None:
        etag = headers.get("etag")
        note = {
            "url": _public(self.url),
            "etag": etag if etag and not etag.startswith("W/") else None,  # Range accepts strong validators only
            "last_modified": headers.get("last-modified"),
            "total": total,
        }
        self.target.parent.mkdir(parents=True, exist_ok=True)
        self.note.write_text(json.dumps(note), "utf-8")

    def forget(self) -> None:
        """Throws the part away."""
        for path in (self.part, self.note):
            with contextlib.suppress(FileNotFoundError):
                path.unlink()

    def publish(self) -> None:
        """Puts the part in the target's place."""
        try:
            os.replace(self.part, self.target)
        except OSError as error:
            raise StorageError(f"{self.target} could not be written ({error.strerror or error}).") from error
        self.forget()


def _content_range(value: str) -> tuple[int, int | None]:
    """`bytes 5-9/10` as (5, 10)."""
    span, _, total = value.removeprefix("bytes").strip().partition("/")
    start = span.partition("-")[0]
    if not start.isdigit():
        raise http.client.HTTPException("the server's Content-Range makes no sense")
    return int(start), int(total) if total.isdigit() else None


def _retry_after(value: str | None, longest: float) -> float | None:
    """Seconds a server asks to wait: a number or an HTTP date, at most `longest`."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, TypeError):
            return None
    return min(max(seconds, 0.0), longest)


def _raise_if_disk(error: BaseException, target: Path) -> None:
    if isinstance(error, OSError) and error.errno in _DISK_REFUSES:
        raise StorageError(
            f"{target} could not be written ({error.strerror}). What came so far is kept; free some space or choose "
            "another folder with --models, then run the same command again."
        ) from error


def _public(url: str) -> str:
    """The address without its query, which may hold a signature."""
    parts = urllib.parse.urlsplit(url)
    return urllib.parse.urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
