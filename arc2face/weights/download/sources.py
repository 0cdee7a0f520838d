"""From a table entry to the addresses it can be fetched from."""

from __future__ import annotations

import html
import os
import re
import urllib.error
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from arc2face.errors import DownloadError
from arc2face.weights.download.http import open_url
from arc2face.weights.download.hub import HubFile
from arc2face.weights.entries import Archive, Variant, WeightFile
from arc2face.weights.spellings import is_index

__all__ = ["Address", "Remote", "addresses_of", "archive_addresses", "is_url", "resolve_drive"]

_DRIVE = "https://drive.usercontent.google.com/download"


@dataclass(frozen=True, slots=True)
class Address:
    """One place to fetch from.

    `path`: where the file belongs, relative to the models folder. `hub`: the file in its repository, None for a plain
    address. `drive` marks a Google Drive address, which may have to be resolved first.
    """

    url: str
    path: str
    hub: HubFile | None = None
    drive: bool = False


@dataclass(frozen=True, slots=True)
class Remote:
    """Where the original hosts are. The defaults are the real ones; tests and proxies put others in their place.

    `endpoint`: Hugging Face (`HF_ENDPOINT`), None for the usual one; `drive`: Google Drive's download address;
    `unpinned`: take the newest version instead of the pinned commit.
    """

    endpoint: str | None = None
    drive: str = _DRIVE
    unpinned: bool = False

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ, *, unpinned: bool = False) -> Remote:
        """Reads HF_ENDPOINT, the variable that Hugging Face's own tools use. The hub's library reads the others."""
        return cls((environ.get("HF_ENDPOINT") or "").rstrip("/") or None, unpinned=unpinned)


def is_url(source: str) -> bool:
    """Whether a mirror is an address rather than a folder."""
    return source.startswith(("http://", "https://"))


def addresses_of(
    file: WeightFile, remote: Remote, mirror: str | None = None, variant: Variant | None = None
) -> Iterator[Address]:
    """Addresses for one file, best first. With a mirror, only the mirror: the same relative paths under it."""
    if mirror is not None:
        for path in dict.fromkeys((file.path, *file.spellings)):
            if "*" not in path and not is_index(path):
                yield Address(_join(mirror, path), path)
    elif file.origin == "huggingface":
        revision = (None if remote.unpinned else file.revision) or "main"
        name, path = (variant.remote, variant.path) if variant else (file.remote, file.path)
        hub = HubFile(file.repo, name, revision, remote.endpoint)
        yield Address(hub.address, path, hub)
    elif file.origin == "https":
        yield Address(file.remote, file.path)
    elif file.origin == "drive":
        yield _drive(file.remote, file.path, remote)


def archive_addresses(archive: Archive, remote: Remote, mirror: str | None = None) -> Iterator[Address]:
    """Addresses for a zip file, best first."""
    if mirror is not None:
        yield Address(_join(mirror, archive.file_name), archive.file_name)
        return
    for url in archive.urls:
        if url.startswith("drive:"):
            yield _drive(url.removeprefix("drive:"), archive.file_name, remote)
        else:
            yield Address(url, archive.file_name)


def _drive(file_id: str, path: str, remote: Remote) -> Address:
    query = urllib.parse.urlencode({"id": file_id, "export": "download", "confirm": "t"})
    return Address(f"{remote.drive}?{query}", path, drive=True)


def resolve_drive(address: Address, timeout: float = 30.0) -> Address:
    """Follows Google Drive's "cannot be scanned for viruses" page, if it is shown, to the real address.

    Raises DownloadError when Drive refuses, usually because too many people fetched the file today.
    """
    if not address.drive:
        return address
    try:
        with open_url(address.url, {"Range": "bytes=0-0"}, timeout) as response:
            if "text/html" not in response.headers.get("Content-Type", ""):
                return Address(address.url, address.path)
            page = response.read(1 << 20).decode("utf-8", "replace")
    except urllib.error.HTTPError as error:
        error.close()
        raise _drive_refuses(address) from error
    form = re.search(r'<form[^>]*action="([^"]+)"', page)
    if form is None:
        raise _drive_refuses(address)
    fields = {
        html.unescape(m["name"]): html.unescape(m["value"])
        for m in re.finditer(r'<input[^>]*name="(?P<name>[^"]*)"[^>]*value="(?P<value>[^"]*)"', page)
    }
    action = urllib.parse.urljoin(address.url, html.unescape(form[1]))
    return Address(f"{action}?{urllib.parse.urlencode(fields)}", address.path)


def _drive_refuses(address: Address) -> DownloadError:
    file_id = urllib.parse.parse_qs(urllib.parse.urlsplit(address.url).query).get("id", [""])[0]
    return DownloadError(
        "Google Drive does not hand out the file at the moment, usually because too many people fetched it today. "
        f"Try again tomorrow, or fetch https://drive.google.com/file/d/{file_id}/view in a browser and give the folder "
        "to --mirror."
    )


def _join(base: str, path: str) -> str:
    if not is_url(base):
        return str(Path(base) / path)
    return base.rstrip("/") + "/" + urllib.parse.quote(path, safe="/=-_.")
