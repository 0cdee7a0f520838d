"""Carrying out a plan: fetch, verify, unpack, write down."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from arc2face.errors import DownloadError, StorageError
from arc2face.weights.download.archives import extract
from arc2face.weights.download.http import NotThereError, Patience, VerificationError, fetch_url
from arc2face.weights.download.hub import fetch_from_hub, need_package
from arc2face.weights.download.ledger import Entry, Ledger
from arc2face.weights.download.lock import only_one
from arc2face.weights.download.plan import Job, Plan
from arc2face.weights.download.sources import Address, addresses_of, archive_addresses, is_url, resolve_drive
from arc2face.weights.entries import WeightFile
from arc2face.weights.folder import ModelsFolder
from arc2face.weights.shards import parts_of
from arc2face.weights.sniff import what_is_wrong
from arc2face.weights.spellings import is_index
from arc2face.weights.store import hash_file
from arc2face.weights.writing import replace_with

__all__ = ["Event", "Outcome", "fetch"]

_GLINTR = "antelopev2/glintr100.onnx"
_STAGING = ".download"


@dataclass(frozen=True, slots=True)
class Event:
    """Progress of a fetch. `kind`: start, bytes, verify, unpack, done or note.

    `done`, `total`: bytes of this job (total None when unknown). `message`: for a note, one sentence.
    """

    kind: Literal["start", "bytes", "verify", "unpack", "done", "note"]
    title: str
    done: int = 0
    total: int | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a fetch did. `first_use`: paths whose hash was recorded without a published one to compare with."""

    fetched: tuple[str, ...]
    first_use: tuple[str, ...]
    notes: tuple[str, ...]


def fetch(plan: Plan, on_event: Callable[[Event], None] | None = None, patience: Patience | None = None) -> Outcome:
    """Does what the plan says; every file is in place, verified, or absent.

    Raises DownloadError or StorageError at the first job that fails; what is complete stays, and the next call goes
    on where this one ended. Two fetches into one folder at the same time are refused.
    """
    worker = _Worker(plan, on_event or (lambda _: None), patience or Patience())
    if plan.options.mirror is None and any(job.file and job.file.origin == "huggingface" for job in plan.jobs):
        need_package()
    with only_one(plan.root) as locked, _staging(plan.root):
        if not locked:
            worker.note("lock", f"{plan.root} lies on a disk without locks: see to it that only one download runs.")
        for job in plan.jobs:
            worker.run(job)
        worker.set_aside_glintr()
    return Outcome(tuple(worker.fetched), tuple(worker.first_use), tuple(worker.notes))


class _Worker:
    def __init__(self, plan: Plan, on_event: Callable[[Event], None], patience: Patience) -> None:
        self.plan = plan
        self.root = plan.root
        self.options = plan.options
        self.tell = on_event
        self.patience = patience
        self.ledger = Ledger(plan.root)
        self.fetched: list[str] = []
        self.first_use: list[str] = []
        self.notes: list[str] = []

    def run(self, job: Job) -> None:
        self.tell(Event("start", job.title, 0, job.bytes))
        if job.file is not None:
            self._fetch_file(job, job.file)
        else:
            self._fetch_archive(job)
        self.tell(Event("done", job.title, job.bytes or 0, job.bytes))

    def _fetch_file(self, job: Job, file: WeightFile) -> None:
        mirror = self.options.mirror
        if mirror is not None and not is_url(mirror):
            path, source, revision = self._copy_from(Path(mirror), file, job)
        else:
            addresses = addresses_of(file, self.options.remote, mirror, job.variant)
            path, source, revision = self._first_that_answers(addresses, job)
        self._write_down(file, self.root / path, source, revision)

    def _copy_from(self, mirror: Path, file: WeightFile, job: Job) -> tuple[str, str, str]:
        """From a folder with the same layout, a sharded checkpoint with all of its parts; the index comes last."""
        found = ModelsFolder(mirror).locate(file)
        if found is None:
            raise DownloadError(f"The mirror folder {mirror} has no {file.path}.")
        path = _name_in_mirror(file, mirror.resolve(), found)
        for part in parts_of(found) if is_index(found.name) else ():
            self._copy(part, str(PurePosixPath(path).with_name(part.name)), job)
        self._copy(found, path, job)
        return path, str(found), ""

    def _fetch_archive(self, job: Job) -> None:
        archive = job.archive
        assert archive is not None
        target = self.root / archive.file_name
        mirror = self.options.mirror
        if mirror is not None and not is_url(mirror):
            local = Path(mirror) / archive.file_name
            if not local.is_file():
                names = " or ".join((archive.file_name, *(m.path for m in job.members)))
                raise DownloadError(f"The mirror folder {mirror} has no {names}.")
            self._copy(local, archive.file_name, job)
            source = str(local)
        else:
            addresses = archive_addresses(archive, self.options.remote, mirror)
            _, source, _ = self._first_that_answers(addresses, job)
        self.tell(Event("unpack", job.title, job.bytes or 0, job.bytes))
        for member in job.members:
            written = extract(target, member.remote, self.root / member.path)
            best = ModelsFolder(self.root).locate(member) or written[0]
            self._check_member(member, best)
            self._write_down(member, best, source, "")
        target.unlink()

    def _check_member(self, member: WeightFile, path: Path) -> None:
        if member.known_hashes and hash_file(path) not in member.known_hashes:
            path.unlink()
            raise DownloadError(f"{member.path} came out of its zip file damaged. Run the command again.")

    def _first_that_answers(self, addresses: Iterator[Address], job: Job) -> tuple[str, str, str]:
        """Tries the addresses in turn; returns the relative path, the address that worked, and the commit it named."""
        problems: list[DownloadError] = []
        for address in addresses:
            try:
                return address.path, address.url, self._fetch_from(address, job)
            except DownloadError as error:
                problems.append(error)
        useful = [p for p in problems if not isinstance(p, NotThereError)]
        raise (useful or problems)[0]

    def _fetch_from(self, address: Address, job: Job) -> str:
        """Fetches one address to its place; returns the commit it came from, when there is such a thing."""
        target = self.root / address.path

        def come(done: int) -> None:
            self.tell(Event("bytes", job.title, done, job.bytes))

        def right(part: Path, promised: str = "") -> None:
            self._verify(part, address.path, job, promised)

        if address.hub is not None:
            return fetch_from_hub(address.hub, self.root / _STAGING, target, on_bytes=come, verify=right)
        resolved = resolve_drive(address, self.patience.timeout)
        fetch_url(resolved.url, target, patience=self.patience, on_bytes=come, verify=right)
        return ""

    def _verify(self, part: Path, path: str, job: Job, promised: str = "") -> None:
        """Raises VerificationError for damage, which is worth one more try, and DownloadError for a changed file.

        `promised`: the SHA-256 that the server states, if it does.
        """
        self.tell(Event("verify", job.title, part.stat().st_size, job.bytes))
        if problem := what_is_wrong(part, Path(path).name):
            raise VerificationError(f"{path} arrived, but {problem}. Its server may be out of order; try again later.")
        digest = hash_file(part)
        accepted = _published(job, path)
        if accepted and digest not in accepted:
            raise VerificationError(
                f"{path} arrived with another content than the published one (SHA-256 {digest[:12]}..., expected "
                f"{accepted[0][:12]}...). It was thrown away. Try again, or try another network or --mirror."
            )
        if not accepted and promised and digest != promised:
            raise VerificationError(f"{path} arrived damaged: its server promised another SHA-256. Try again.")
        noted = self.ledger.get(path)
        if not accepted and noted and noted.sha256 != digest and not self.options.trust_changed:
            raise DownloadError(
                f"{path} has changed since it was first fetched (SHA-256 {noted.sha256[:12]}... then, {digest[:12]}... "
                "now). If you expect that, run again with --trust-changed."
            )

    def _copy(self, source: Path, path: str, job: Job) -> None:
        with replace_with(self.root / path) as temporary:
            shutil.copyfile(source, temporary)
            self.tell(Event("bytes", job.title, source.stat().st_size, job.bytes))
            self._verify(temporary, path, job)

    def _write_down(self, file: WeightFile, path: Path, source: str, revision: str) -> None:
        root = self.root.resolve()
        relative = path.resolve().relative_to(root).as_posix() if path.resolve().is_relative_to(root) else file.path
        first = not file.known_hashes and self.ledger.get(relative) is None
        source = source.partition("?")[0]
        published = path.name in file.published_names and bool(file.known_hashes)
        self.ledger.put(relative, Entry(hash_file(path), path.stat().st_size, source, revision, not published))
        self.fetched.append(relative)
        if first:
            self.first_use.append(relative)

    def set_aside_glintr(self) -> None:
        """Moves the wrong recogniser away: insightface loads every one that lies in the folder."""
        wrong = self.root / _GLINTR
        if not wrong.is_file():
            return
        aside = self.root / "unused" / wrong.name
        try:
            aside.parent.mkdir(parents=True, exist_ok=True)
            os.replace(wrong, aside)
        except OSError as error:
            raise StorageError(f"{wrong} must not stay beside arcface.onnx; delete it ({error.strerror}).") from error
        self.note(
            wrong.name, f"{_GLINTR} is not the recogniser of Arc2Face; it was moved to unused/ and may be deleted."
        )

    def note(self, title: str, message: str) -> None:
        """Something that the user should know."""
        self.notes.append(message)
        self.tell(Event("note", title, message=message))


def _published(job: Job, path: str) -> tuple[str, ...]:
    """Published hashes under which the file at `path` is right; none for an alternative form of it."""
    if job.archive is not None:
        return (job.archive.sha256,) if job.archive.sha256 else ()
    if job.variant is not None:
        return (job.variant.sha256,) if job.variant.sha256 else ()
    if job.file is None or Path(path).name not in job.file.published_names:
        return ()
    return job.file.known_hashes


def _name_in_mirror(file: WeightFile, mirror: Path, found: Path) -> str:
    """The path under which a mirror's file is stored: the name it has there, so that an alternative stays one."""
    for folder in (mirror, mirror / "models", mirror.parent):
        if found.is_relative_to(folder):
            relative = found.relative_to(folder).as_posix()
            if relative.split("/")[0] == file.path.split("/")[0]:
                return relative
    return file.path


@contextlib.contextmanager
def _staging(root: Path) -> Generator[None]:
    """Where files of the hub wait to be verified; gone afterwards, and what a killed process left is gone before."""
    shutil.rmtree(root / _STAGING, ignore_errors=True)
    try:
        yield
    finally:
        shutil.rmtree(root / _STAGING, ignore_errors=True)
