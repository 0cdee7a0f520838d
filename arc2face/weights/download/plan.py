"""What has to be fetched for a feature, how much that is, and whether it fits."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from arc2face.errors import SettingsError, StorageError
from arc2face.weights.download.http import size_at
from arc2face.weights.download.hub import hub_size
from arc2face.weights.download.ledger import Ledger
from arc2face.weights.download.sources import Address, Remote, addresses_of, archive_addresses, is_url
from arc2face.weights.entries import Archive, Variant, WeightFile
from arc2face.weights.folder import ModelsFolder, emoca_assets
from arc2face.weights.licences import LICENCES, Licence
from arc2face.weights.sniff import what_is_wrong
from arc2face.weights.store import bytes_of, sha256_of
from arc2face.weights.table import ARCHIVES, FEATURES, files_of

__all__ = ["Job", "Options", "Plan", "Precision", "make_plan", "plan_files"]

Precision = Literal["auto", "fp16", "full"]
_SPARE = 64 << 20


@dataclass(frozen=True, slots=True)
class Options:
    """How to fetch.

    `mirror`: folder or http(s) address holding the same relative paths as the models folder; nothing else is asked.
    `precision`: fp16 takes half-precision files where they exist; auto does so when an NVIDIA driver is installed.
    `accepted`: keys of licences the user has accepted. `trust_changed`: replace a hash recorded at a first download.
    `verify`: compare hashes of files that are already there.
    """

    mirror: str | None = None
    precision: Precision = "auto"
    accepted: frozenset[str] = frozenset()
    trust_changed: bool = False
    verify: bool = True
    remote: Remote = field(default_factory=Remote.from_env)

    @property
    def half(self) -> bool:
        """Whether half-precision files are wanted."""
        return self.precision == "fp16" or (self.precision == "auto" and shutil.which("nvidia-smi") is not None)


@dataclass(frozen=True, slots=True)
class Job:
    """One transfer: a file, or an archive with the files to take out of it. `bytes` is None when unknown.

    `replaces` says why a file that is there is fetched again, or is empty.
    """

    title: str
    path: str
    bytes: int | None
    licence: Licence
    file: WeightFile | None = None
    variant: Variant | None = None
    archive: Archive | None = None
    members: tuple[WeightFile, ...] = ()
    replaces: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What `fetch` will do.

    `present`: files that are there and right. `blocked`: jobs left out because their licence is not accepted.
    """

    root: Path
    options: Options
    jobs: tuple[Job, ...]
    present: tuple[WeightFile, ...]
    blocked: tuple[Job, ...]

    @property
    def known_bytes(self) -> int:
        """Bytes to transfer, as far as sizes are known."""
        return sum(job.bytes or 0 for job in self.jobs)

    @property
    def unknown_sizes(self) -> int:
        """Number of jobs whose size is unknown."""
        return sum(job.bytes is None for job in self.jobs)


def make_plan(features: Sequence[str], root: Path, options: Options | None = None) -> Plan:
    """Looks at the models folder `root` and lists what the features still need.

    Raises SettingsError for an unknown feature or mirror, and StorageError when the disk has not enough room.
    """
    for feature in features:
        if feature not in FEATURES:
            raise SettingsError(f"Unknown feature {feature!r}; choose from {', '.join(FEATURES)}.")
    files = dict.fromkeys(file for feature in features for file in files_of(feature))
    return plan_files(tuple(files), root, options)


def plan_files(
    files: Sequence[WeightFile],
    root: Path,
    options: Options | None = None,
    archives: Mapping[str, Archive] = ARCHIVES,
) -> Plan:
    """Like `make_plan`, for files of one's own choice. Servers are asked for sizes the table does not know."""
    options = options or Options()
    _check_mirror(options.mirror)
    ledger = Ledger(root)
    sizes = _Sizes(options)
    present: list[WeightFile] = []
    jobs: list[Job] = []
    packed: dict[str, list[tuple[WeightFile, str]]] = {}
    for file in files:
        problem = _problem(root, file, ledger, options)
        if problem is None:
            present.append(file)
        elif file.origin == "archive" and not _lies_in_mirror(file, options.mirror):
            packed.setdefault(file.repo, []).append((file, problem))
        else:
            jobs.append(_file_job(file, problem, options, sizes))
    jobs += [_archive_job(archives[key], members, sizes) for key, members in packed.items()]
    allowed = [j for j in jobs if not j.licence.must_accept or j.licence.key in options.accepted]
    blocked = [j for j in jobs if j not in allowed]
    _check_room(root, allowed)
    return Plan(root, options, tuple(allowed), tuple(present), tuple(blocked))


def _check_mirror(mirror: str | None) -> None:
    if mirror is not None and not is_url(mirror) and not Path(mirror).is_dir():
        raise SettingsError(f"The mirror {mirror} is neither a folder nor an http address.")


def _problem(root: Path, file: WeightFile, ledger: Ledger, options: Options) -> str | None:
    """Why the file must be fetched: "" when it is absent, a reason when it is bad, None when it is fine."""
    found = ModelsFolder(root, emoca_assets()).locate(file)
    if found is None:
        return ""
    if wrong := what_is_wrong(found):
        return wrong
    if not options.verify:
        return None
    here = root.resolve()
    noted = ledger.get(found.relative_to(here).as_posix()) if found.is_relative_to(here) else None
    published = file.known_hashes if found.name in file.published_names else ()
    expected = published or ((noted.sha256,) if noted else ())
    if expected and sha256_of(found) not in expected:
        return "its hash is not the published one" if published else "its hash has changed since it was fetched"
    return None


def _lies_in_mirror(file: WeightFile, mirror: str | None) -> bool:
    """Whether a mirror holds the unpacked file itself rather than the archive."""
    if mirror is None:
        return False
    if not is_url(mirror):
        return ModelsFolder(Path(mirror)).locate(file) is not None
    return any(size_at(address.url) is not None for address in addresses_of(file, Remote(), mirror))


class _Sizes:
    """Asks servers for sizes, and stops asking once one cannot be reached: without a network each would time out."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.reachable = True

    def ask(self, addresses: Iterator[Address]) -> int | None:
        """Size of what the first address holds, None when it cannot be known."""
        address = next(addresses, None)
        if address is None or address.drive or not is_url(address.url) or not self.reachable:
            return None
        size = hub_size(address.hub) if address.hub is not None else size_at(address.url)
        self.reachable = size is not None
        return size if size is not None and size >= 0 else None


def _file_job(file: WeightFile, problem: str, options: Options, sizes: _Sizes) -> Job:
    variant = file.fp16 if options.half and options.mirror is None else None
    path, size = (variant.path, variant.bytes) if variant else (file.path, file.bytes)
    if options.mirror is not None:
        size = _mirror_size(file, options.mirror) or size
    if size is None:
        size = sizes.ask(addresses_of(file, options.remote, options.mirror, variant))
    return Job(file.title, path, size, LICENCES[file.licence], file=file, variant=variant, replaces=problem)


def _archive_job(archive: Archive, members: list[tuple[WeightFile, str]], sizes: _Sizes) -> Job:
    options = sizes.options
    return Job(
        f"{archive.file_name} ({', '.join(file.title for file, _ in members)})",
        archive.file_name,
        archive.bytes or sizes.ask(archive_addresses(archive, options.remote, options.mirror)),
        LICENCES[archive.licence],
        archive=archive,
        members=tuple(file for file, _ in members),
        replaces=next((problem for _, problem in members if problem), ""),
    )


def _mirror_size(file: WeightFile, mirror: str) -> int | None:
    if is_url(mirror):
        return None
    found = ModelsFolder(Path(mirror)).locate(file)
    return bytes_of(found) if found else None


def _check_room(root: Path, jobs: Sequence[Job]) -> None:
    """Room for every transfer, and for an archive's members beside it while it is unpacked."""
    need = 0
    for job in jobs:
        unpacked = sum(member.bytes or 0 for member in job.members)
        part = root / f"{job.path}.part"
        have = part.stat().st_size if part.is_file() else 0
        need += max(0, (job.bytes or 0) - have) + unpacked
    folder = next(p for p in (root, *root.parents) if p.exists())
    free = shutil.disk_usage(folder).free
    if jobs and need + _SPARE > free:
        wanted = math.ceil((need + _SPARE) / 1e8) / 10  # never "0.0 GB are needed"
        raise StorageError(
            f"{root} has room for {free / 1e9:.1f} GB, but {wanted:.1f} GB are needed. "
            "Free some space or choose another folder with --models."
        )
