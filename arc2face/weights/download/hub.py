"""Files that live on the Hugging Face Hub, fetched by its own library.

`huggingface_hub` brings what its users expect: HF_ENDPOINT, HF_TOKEN and saved logins, HF_HUB_OFFLINE, proxies, its
cache, xet transfers, and dropped connections taken up where they ended. A file goes to a staging folder first and to
its place only after it was verified. The package is imported when a file is fetched: planning works without it.
"""

from __future__ import annotations

import errno
import importlib.util
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arc2face.errors import DownloadError, StorageError
from arc2face.weights.download.http import VerificationError

__all__ = ["HubFile", "available", "fetch_from_hub", "hub_size", "need_package"]

_DISK = ("ENOSPC", "EDQUOT", "EFBIG", "EACCES", "EROFS")
_NO_PACKAGE = (
    "Files of the Hugging Face Hub are fetched with the package huggingface_hub, which is not installed here. "
    "Run: pip install huggingface_hub (or ./run install), or take the files from a copy with --mirror."
)

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file in a repository. `revision`: commit or branch. `endpoint`, `token`: None as the environment says."""

    repo: str
    name: str
    revision: str
    endpoint: str | None = None
    token: str | None = None

    @property
    def address(self) -> str:
        """Where it lies, for people and for the ledger."""
        return f"{self.endpoint or 'https://huggingface.co'}/{self.repo}/resolve/{self.revision}/{self.name}"


@dataclass(frozen=True, slots=True)
class _Known:
    """What the hub says about a file: `sha256` for large files only, where it is the name of the content."""

    commit: str = ""
    sha256: str = ""
    bytes: int | None = None


def available() -> bool:
    """Whether the hub's library is installed."""
    return importlib.util.find_spec("huggingface_hub") is not None


def need_package() -> None:
    """Raises DownloadError with the way out when the hub's library is not installed."""
    if not available():
        raise DownloadError(_NO_PACKAGE)


def hub_size(file: HubFile) -> int | None:
    """Bytes of a file as the hub states them; None when it cannot be asked."""
    if not available():
        return None
    try:
        return _ask(file).bytes
    except Exception:  # offline, no access, no such file: the fetch itself says which
        return None


def fetch_from_hub(
    file: HubFile,
    staging: Path,
    target: Path,
    *,
    on_bytes: Callable[[int], None],
    verify: Callable[[Path, str], None],
) -> str:
    """Fetches `file` to `target` by way of the folder `staging`; returns the commit it came from, "" when unknown.

    `on_bytes` hears the bytes that have come. `verify` gets the complete file and the hub's SHA-256 of it ("" for
    small files); its VerificationError leads to one more fetch.

    Raises VerificationError, DownloadError and StorageError.
    """
    need_package()
    cached = _in_cache(file)
    if cached is not None:
        shutil.copyfile(cached, _made(staging / "cached"))
        verify(staging / "cached", "")
        _publish(staging / "cached", target)
        return file.revision
    for last_try in (False, True):
        known, path = _download(file, staging, on_bytes, again=last_try)
        try:
            verify(path, known.sha256)
        except VerificationError:
            path.unlink(missing_ok=True)
            if last_try:
                raise
            continue
        _publish(path, target)
        return known.commit
    raise AssertionError("unreachable")


def _ask(file: HubFile) -> _Known:
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    url = hf_hub_url(file.repo, file.name, revision=file.revision, endpoint=file.endpoint)
    told = get_hf_file_metadata(url, token=file.token, endpoint=file.endpoint)
    tag = (told.etag or "").lower()
    is_hash = len(tag) == 64 and all(c in "0123456789abcdef" for c in tag)
    return _Known(told.commit_hash or "", tag if is_hash else "", told.size)


def _in_cache(file: HubFile) -> Path | None:
    """The file in the hub's own cache, where other programs may have fetched this very commit already."""
    from huggingface_hub import try_to_load_from_cache

    try:
        found = try_to_load_from_cache(file.repo, file.name, revision=file.revision)
    except Exception:  # a damaged cache is the hub's business; the file is fetched then
        return None
    return Path(found) if isinstance(found, str) and len(file.revision) == 40 else None


def _download(file: HubFile, staging: Path, on_bytes: Callable[[int], None], again: bool) -> tuple[_Known, Path]:
    from huggingface_hub import hf_hub_download

    try:
        known = _ask(file)
        path = hf_hub_download(
            file.repo,
            file.name,
            revision=file.revision,
            local_dir=_made(staging / "x").parent / file.repo.replace("/", "--"),
            endpoint=file.endpoint,
            token=file.token,
            force_download=again,
            tqdm_class=_bar(on_bytes),
        )
    except Exception as error:  # its errors come from several libraries and have no common base
        raise _explained(error, file) from error
    return known, Path(path)


def _bar(on_bytes: Callable[[int], None]) -> type[Any]:
    """The hub reports progress to a class of tqdm's kind; this one passes it on and draws nothing."""
    from huggingface_hub.utils import tqdm

    class Bar(tqdm):  # pyright: ignore[reportUntypedBaseClass]
        def __init__(self, *args: Any, **options: Any) -> None:
            self.come = int(options.get("initial") or 0)
            super().__init__(*args, **{**options, "disable": True})
            on_bytes(self.come)

        def update(self, n: float | None = 1) -> bool | None:
            self.come += int(n or 0)
            on_bytes(self.come)
            return None

    return Bar


def _explained(error: Exception, file: HubFile) -> DownloadError | StorageError:
    from huggingface_hub import errors

    where = f"({file.address})"
    if isinstance(error, errors.GatedRepoError | errors.RepositoryNotFoundError):
        return DownloadError(
            f"The repository {file.repo} refuses access or does not exist. If it asks for an account, accept its "
            f"terms in the browser and set HF_TOKEN. {where}"
        )
    if isinstance(error, errors.LocalEntryNotFoundError | errors.OfflineModeIsEnabled | ConnectionError):
        return DownloadError(
            f"{file.name} could not be fetched: the hub cannot be reached, or HF_HUB_OFFLINE is set. Check the "
            f"connection and run the same command again, or use --mirror with a copy. {where}"
        )
    if isinstance(error, errors.EntryNotFoundError | errors.RevisionNotFoundError):
        return DownloadError(
            f"{file.name} is not in {file.repo}. It may have moved: update this project, or use --mirror with a copy. "
            f"{where}"
        )
    if isinstance(error, OSError) and errno.errorcode.get(error.errno or 0) in _DISK:
        return StorageError(
            f"{file.name} could not be written ({error.strerror}). Free some space or choose another folder with "
            "--models, then run the same command again."
        )
    reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
    return DownloadError(f"{file.name} could not be fetched: {reason}. Run the same command again. {where}")


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _publish(path: Path, target: Path) -> None:
    try:
        os.replace(path, _made(target))
    except OSError as error:
        raise StorageError(f"{target} could not be written ({error.strerror or error}).") from error
