"""The index of a set of photos: arrays, not objects, so that 21 million photos take seconds and no gigabytes.

Of containers (zips, tar files, tables) it is built once, by one process, and kept beside the data (or, where nothing
can be written there, in the user's cache folder) for as long as the containers do not change; all processes map the
same files. A folder tree is listed anew at each start.

Who a photo shows: `auto` takes the key that `x.json`, `x.cls` or a table's column gives, else the folder, except in
FFHQ's folders of a thousand, where every picture shows somebody else. `folder` takes the folder in any case, `each`
makes every picture its own person. Photos without a folder are their own. The same folder name in two zips counts as
two people.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

import numpy as np
from numpy.typing import NDArray

from arc2face.weights.store import cache_folder
from arc2face_training.common.errors import TrainingError
from arc2face_training.photos.containers import containers_of, ends_with, list_container
from arc2face_training.photos.listing import Listing
from arc2face_training.photos.names import DOT, SLASH, Flags, Hashes, Int64, Names, text_hash, thousands
from arc2face_training.photos.people import People, grouped

log = logging.getLogger(__name__)
Grouping = Literal["auto", "folder", "each"]
PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
LABELS, NORMALS = ".npz", ".normals.png"
TAIL = len(NORMALS)
VERSION = 1
ABANDONED_SECONDS = 86400.0
WITH_SIDECARS = ("", ".tar")
"""Kinds of containers ("" for a folder tree) in which annotations may lie beside the photos."""
# Sidecars: where the annotations inside a tar file lie; in a folder tree only whether they are there.
COLUMNS: dict[str, Any] = {
    "container": np.uint32, "offset": np.int64, "size": np.uint32, "owner": np.uint64, "name_end": np.int64,
    "labels_at": np.int64, "labels_size": np.uint32, "normals_at": np.int64, "normals_size": np.uint32,
}  # fmt: skip
GROUPS: dict[str, Any] = {"person": np.uint32, "order": np.uint32, "start": np.int64}


@dataclass(frozen=True)
class PhotoIndex:
    """Photos of a data path. Arrays of one entry per photo, mapped from files where there are containers.

    `containers`: files that the photos lie in; empty for a folder tree. `people`: who is on which photo.
    """

    root: Path
    containers: list[Path]
    columns: dict[str, NDArray[Any]]
    names: Names
    people: People
    in_thousands: bool

    def __len__(self) -> int:
        return len(self.columns["offset"])

    def stem(self, number: int) -> str:
        """A photo's name without its ending."""
        return self.names[number].rpartition(".")[0]

    def has(self, what: str) -> Flags:
        """(n,) whether photos have `labels` or `normals` beside them."""
        column = self.columns.get(f"{what}_at")
        return np.zeros(len(self), bool) if column is None else column >= 0


def open_index(
    path: Path, grouping: Grouping = "auto", person_key: str = "", state: Path | None = None, builds: bool = True
) -> PhotoIndex:
    """The index of a data path. `state`: folder to keep it in. Of several processes only one `builds`.

    Raises TrainingError where there are no photos, or a container cannot be read.
    """
    containers, tree = containers_of(path)
    if tree is not None:
        part = _photos(tree, grouping)
        return _checked(path, [], part.columns, part.names, grouped(part.columns["owner"]), part.in_thousands)
    folder = _place(path, containers, grouping, person_key, state)
    if not (folder / "index.json").exists():
        if not builds:
            raise TrainingError(f"{folder} is missing: another process was to write it.")
        _build(folder, path, containers, grouping, person_key)
    return _load(folder, path, containers)


@dataclass(frozen=True)
class _Part:
    columns: dict[str, NDArray[Any]]
    names: Names
    in_thousands: bool


def _photos(listing: Listing, grouping: Grouping, container: str = "", kind: str = "") -> _Part:
    """The photos among a container's files, whom they show, and what lies beside them."""
    names = listing.names
    tail = names.tail(TAIL)
    slash = names.last(SLASH)
    hidden = names.blob[np.minimum(slash + 1, len(names.blob) - 1)] == DOT if len(names.blob) else np.zeros(0, bool)
    normals = ends_with(tail, NORMALS)
    is_photo = np.logical_or.reduce([ends_with(tail, s) for s in PHOTO_SUFFIXES]) & ~normals & ~hidden
    photos = np.flatnonzero(is_photo)
    own = names.take(photos)
    slashes, dots = own.last(SLASH), own.last(DOT)
    # size: what does not fit is no photo and is refused when it is read
    columns: dict[str, NDArray[Any]] = {
        "offset": listing.offset[photos],
        "size": np.minimum(listing.size[photos], np.iinfo(np.uint32).max).astype(np.uint32),
        "name_end": own.ends,
    }
    fits = thousands(own, slashes, dots) if grouping == "auto" else np.zeros(len(own), bool)
    salts = text_hash(container), text_hash(container if kind == ".zip" else "")
    columns["owner"] = _owners(listing, photos, own, (slashes, dots), fits, salts, grouping)
    if kind in WITH_SIDECARS:
        stems = own.hashes(dots)
        for what, among, letters in (("labels", ends_with(tail, LABELS), len(LABELS)), ("normals", normals, TAIL)):
            files = np.flatnonzero(among)
            columns |= _beside(what, stems, names.take(files), letters, listing, files)
    return _Part(columns, own, bool(fits.any()))


def _owners(
    listing: Listing, photos: Int64, own: Names, places: tuple[Int64, Int64], alone: Flags,
    salts: tuple[np.uint64, np.uint64], grouping: Grouping,
) -> Hashes:  # fmt: skip
    """Whom each photo shows. `salts`: for single files, which differ between containers, and for folders.

    Zips number their folders anew, tar files of one set go on counting.
    """
    slashes, dots = places
    by_file = own.hashes(dots) ^ salts[0]
    if grouping == "each":
        return by_file
    by_folder = own.hashes(slashes + 1) ^ salts[1]
    owners = np.where(alone | (slashes < own.starts), by_file, by_folder)
    if listing.owners is not None and grouping == "auto":
        keys = listing.owners[photos]
        owners = np.where(keys == 0, owners, keys)
    return owners


def _beside(
    what: str, stems: Hashes, files: Names, letters: int, listing: Listing, at: Int64
) -> dict[str, NDArray[Any]]:
    """Columns of the files that share a photo's stem; -1 where there is none."""
    found = np.full(len(stems), -1, np.int64)
    sizes = np.zeros(len(stems), np.uint32)
    if len(files):
        hashes = files.hashes(files.ends - letters)
        order = np.argsort(hashes)
        place = np.minimum(np.searchsorted(hashes, stems, sorter=order), len(order) - 1)
        match = hashes[order[place]] == stems
        chosen = at[order[place[match]]]
        found[match], sizes[match] = listing.offset[chosen], listing.size[chosen].astype(np.uint32)
    return {f"{what}_at": found, f"{what}_size": sizes}


def _checked(
    path: Path, containers: list[Path], columns: dict[str, NDArray[Any]], names: Names, groups: dict[str, Any],
    in_thousands: bool,
) -> PhotoIndex:  # fmt: skip
    count = len(columns["offset"])
    if not count:
        raise TrainingError(f"{path} holds no photos (jpg, png or webp). Check `data.path` in the config.")
    if in_thousands:
        log.warning(
            "%s has FFHQ's folders of a thousand pictures: a folder there is no person, so every picture counts as "
            "its own (data.people: folder takes folders as people in any case)", path,
        )  # fmt: skip
    people = People(groups["order"], groups["start"])
    log.info("%s: %d photos of %d people", path, count, len(people))
    return PhotoIndex(path, containers, {**columns, "person": groups["person"]}, names, people, in_thousands)


def _place(path: Path, containers: list[Path], grouping: str, person_key: str, state: Path | None) -> Path:
    """Where the index of these containers, as they are now, is kept."""
    stats = [(str(file.relative_to(path) if file != path else file.name), file.stat()) for file in containers]
    files = [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats]
    name = f"{_digest([grouping, person_key])[:6]}-{_digest([VERSION, files])[:12]}"
    beside = path if path.is_dir() else path.parent
    base = state or (beside if os.access(beside, os.W_OK) else cache_folder() / "photos" / _digest(str(path))[:16])
    return base / f".photo-index-{name}"


def _build(folder: Path, path: Path, containers: list[Path], grouping: Grouping, person_key: str) -> None:
    """Write the columns container by container, then the groups; whole or not at all."""
    part = folder.with_name(f"{folder.name}.part{os.getpid()}")
    part.mkdir(parents=True, exist_ok=True)
    try:
        alone = _write_columns(part, path, containers, grouping, person_key)
        owner = np.fromfile(part / "owner", np.uint64)
        for name, values in grouped(owner).items():
            values.astype(GROUPS[name]).tofile(part / name)
        (part / "owner").unlink()
        (part / "index.json").write_text(json.dumps({"photos": len(owner), "in_thousands": alone}))
        _sweep(folder)
        part.rename(folder)
    except OSError as error:
        if (folder / "index.json").exists():  # another run was quicker
            return
        raise TrainingError(f"The index {folder} could not be written: {error}. Free some space.") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _sweep(folder: Path) -> None:
    """Remove indexes of the same containers before they changed, and what a killed process left behind."""
    for old in folder.parent.glob(f"{folder.name.rpartition('-')[0]}-*"):
        if ".part" not in old.name or old.stat().st_mtime < time.time() - ABANDONED_SECONDS:
            shutil.rmtree(old, ignore_errors=True)


def _write_columns(part: Path, path: Path, containers: list[Path], grouping: Grouping, person_key: str) -> bool:
    kind = containers[0].suffix.lower()
    wanted = [name for name in COLUMNS if kind in WITH_SIDECARS or not name.startswith(("labels", "normals"))]
    alone, letters = False, 0
    files: dict[str, BinaryIO] = {name: (part / name).open("wb") for name in (*wanted, "names")}
    try:
        for number, container in enumerate(containers):
            name = str(container.relative_to(path)) if container != path else container.name
            found = _photos(list_container(container, person_key), grouping, name, kind)
            values = {**found.columns, "container": np.full(len(found.names), number)}
            values["name_end"] = values["name_end"] + letters
            for column in wanted:
                files[column].write(values[column].astype(COLUMNS[column]).data)
            files["names"].write(found.names.blob.data)
            letters, alone = letters + len(found.names.blob), alone or found.in_thousands
            log.info("%s: %d photos (%d of %d files)", container.name, len(found.names), number + 1, len(containers))
    finally:
        for file in files.values():
            file.close()
    return alone


def _load(folder: Path, path: Path, containers: list[Path]) -> PhotoIndex:
    about = cast("dict[str, Any]", json.loads((folder / "index.json").read_text()))

    def column(name: str, kind: Any) -> NDArray[Any]:
        file = folder / name
        return np.memmap(file, kind, "r") if file.stat().st_size else np.zeros(0, kind)

    columns = {name: column(name, kind) for name, kind in COLUMNS.items() if (folder / name).exists()}
    groups = {name: column(name, kind) for name, kind in GROUPS.items()}
    names = Names(column("names", np.uint8), columns["name_end"])
    if len(columns["offset"]) != int(about["photos"]):
        raise TrainingError(f"{folder} is damaged. Delete it; it is written anew.")
    return _checked(path, containers, columns, names, groups, bool(about["in_thousands"]))


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()
