"""Files that live on the Hugging Face Hub, fetched by its own library.

`huggingface_hub` brings what its users expect: HF_ENDPOINT, HF_TOKEN and saved logins, HF_HUB_OFFLINE, proxies, its
cache, xet transfers, and dropped connections taken up where they ended. A file goes to a staging folder first and to
its place only after it was verified. The package is imported when a file is fetched: planning works without it.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arc2face.errors import DownloadError, StorageError
from arc2face.weights.download.http import DISK_REFUSES, VerificationError

__all__ = ["HubFile", "fetch_from_hub", "hub_size", "need_package"]

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file in a repository. `revision`: commit or branch. `endpoint`: None for the usual one."""

    repo: str
    name: str
    revision: str
    endpoint: str | None = None

    @property
    def address(self) -> str:
        """Where it lies, for people and for the ledger."""
        return f"{self.endpoint or 'https://huggingface.co'}/{self.repo}/resolve/{self.revision}/{self.name}"


def need_package() -> None:
    """Raises DownloadError with the way out when the hub's library is not installed."""
    if importlib.util.find_spec("huggingface_hub") is None:
        raise DownloadError(
            "Files of the Hugging Face Hub are fetched with the package huggingface_hub, which is not installed here. "
            "Run: pip install huggingface_hub, or take the files from a copy with --mirror."
        )


def hub_size(file: HubFile) -> int | None:
    """Bytes of a file as the hub states them; None when it cannot be asked."""
    try:
        return _ask(file).size
    except Exception:  # not installed, offline, no access, no such file: the fetch itself says which
        return None


def fetch_from_hub(
    file: HubFile,
    staging: Path,
    target: Path,
    *,
    on_bytes: Callable[[int], None],
    verify: Callable[[Path, str], None],
) -> str:
    """Fetches `file` to `target` by way of the folder `staging`; returns the commit it came from.

    `on_bytes` hears the bytes that have come. `verify` gets the complete file and the SHA-256 that the hub states for
    it ("" for small files); its VerificationError leads to one more fetch.

    Raises VerificationError, DownloadError and StorageError.
    """
    for last_try in (False, True):
        path, commit, sha256 = (None if last_try else _copied(file, staging)) or _fetched(file, staging, on_bytes)
        try:
            verify(path, sha256)
        except VerificationError:
            path.unlink(missing_ok=True)
            if last_try:
                raise
            continue
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(path, target)
        except OSError as error:
            raise StorageError(f"{target} could not be written ({error.strerror or error}).") from error
        return commit
    raise AssertionError("unreachable")


def _ask(file: HubFile) -> Any:
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    url = hf_hub_url(file.repo, file.name, revision=file.revision, endpoint=file.endpoint)
    return get_hf_file_metadata(url, endpoint=file.endpoint)


def _copied(file: HubFile, staging: Path) -> tuple[Path, str, str] | None:
    """From the hub's own cache, where other programs may have fetched this very commit already; also offline."""
    from huggingface_hub import try_to_load_from_cache

    try:
        found = try_to_load_from_cache(file.repo, file.name, revision=file.revision)
        if not isinstance(found, str) or len(file.revision) != 40:
            return None
        staging.mkdir(parents=True, exist_ok=True)
        return Path(shutil.copyfile(found, staging / "copy")), file.revision, ""
    except Exception:  # a damaged cache is the hub's business; the file is fetched then
        return None


def _fetched(file: HubFile, staging: Path, on_bytes: Callable[[int], None]) -> tuple[Path, str, str]:
    """From the hub: where it lies now, its commit, and its SHA-256 where the hub names the content by it."""
    from huggingface_hub import hf_hub_download

    folder = staging / file.repo.replace("/", "--")
    try:
        told = _ask(file)
        path = hf_hub_download(
            file.repo,
            file.name,
            revision=file.revision,
            local_dir=folder,
            endpoint=file.endpoint,
            tqdm_class=_bar(on_bytes),
        )
    except Exception as error:  # its errors come from several libraries and have no common base
        raise _explained(error, file) from error
    tag = str(told.etag or "")
    return Path(path), told.commit_hash or "", tag if len(tag) == 64 else ""


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

    if isinstance(error, OSError) and error.errno in DISK_REFUSES:
        return StorageError(
            f"{file.name} could not be written ({error.strerror}). Free some space or choose another folder with "
            "--models, then run the same command again."
        )
    if isinstance(error, errors.RepositoryNotFoundError):  # also for gated ones
        why = "the repository refuses access. If it asks for an account, accept its terms there and set HF_TOKEN"
    elif isinstance(error, errors.LocalEntryNotFoundError | errors.OfflineModeIsEnabled | ConnectionError):
        why = "the hub cannot be reached, or HF_HUB_OFFLINE is set. Check the connection, or use --mirror with a copy"
    elif isinstance(error, errors.EntryNotFoundError | errors.RevisionNotFoundError):
        why = "it is not there. It may have moved: update this project, or use --mirror with a copy"
    else:
        text = str(error).strip() or type(error).__name__
        why = f"{text.splitlines()[0][:200]}. Run the same command again"
    return DownloadError(f"{file.name} could not be fetched: {why}. ({file.address})")
