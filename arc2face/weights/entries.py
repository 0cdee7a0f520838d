"""What an entry of the weights table says: a file, another form of it, or a zip file that holds several."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Archive", "Origin", "Variant", "WeightFile"]

Origin = Literal["huggingface", "https", "drive", "archive"]


@dataclass(frozen=True, slots=True)
class Variant:
    """Another form of the same file: `path` in the models folder, `remote` in the repository, size and hash."""

    path: str
    remote: str
    bytes: int | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class WeightFile:
    """One file of the models folder.

    `path`: relative to the models folder, with forward slashes.
    `origin` and `repo`: where it lives. huggingface: repository; https: empty; drive: empty; archive: key in ARCHIVES.
    `remote`: file in the repository, URL, Google Drive id, or name inside the archive (may hold `*`).
    `revision`: commit the download is pinned to, None when unknown (then the main branch).
    `bytes`, `sha256`: None when nobody has published them.
    `accepted`: every path under which it is found, best first (see `arc2face.weights.spellings`); may hold `*`.
    Empty: `path` alone.
    `fp16`: the half-precision form, where one is published.
    """

    key: str
    path: str
    title: str
    licence: str
    origin: Origin
    repo: str
    remote: str
    revision: str | None = None
    bytes: int | None = None
    sha256: str | None = None
    accepted: tuple[str, ...] = ()
    fp16: Variant | None = None

    @property
    def spellings(self) -> tuple[str, ...]:
        """Every accepted path, in the order in which they are tried."""
        return self.accepted or (self.path,)

    @property
    def needed(self) -> bool:
        """False for files that only the original snippets read (they are fetched for those)."""
        return self.key not in ("sd15-model-index", "sd15-feature-extractor-preprocessor-config")

    @property
    def known_hashes(self) -> tuple[str, ...]:
        """Every published SHA-256 under which this file is right."""
        return tuple(h for h in (self.sha256, self.fp16.sha256 if self.fp16 else None) if h)

    @property
    def published_names(self) -> tuple[str, ...]:
        """File names that `known_hashes` speaks about; an alternative under another name has no published hash."""
        return (self.path.rpartition("/")[2], *((self.fp16.path.rpartition("/")[2],) if self.fp16 else ()))


@dataclass(frozen=True, slots=True)
class Archive:
    """A zip file that holds several weights. `urls` are tried in order; `drive:ID` means Google Drive.

    `folder`: where its wanted members go, relative to the models folder.
    """

    key: str
    file_name: str
    folder: str
    urls: tuple[str, ...]
    licence: str
    bytes: int | None = None
    sha256: str | None = None
