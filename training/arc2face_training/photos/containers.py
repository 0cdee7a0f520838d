"""Listing folders, tar files and Parquet tables, and reading one file of them (zips:
`arc2face_training.photos.zips`).
"""

from __future__ import annotations

import json
import os
import tarfile
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np

from arc2face_training.common.errors import TrainingError
from arc2face_training.photos.listing import Listing
from arc2face_training.photos.names import Bytes, Flags, Names, text_hash
from arc2face_training.photos.zips import list_zip

PERSON_KEYS = ("identity", "person", "person_id", "identity_id", "subject", "label")
IMAGE_COLUMNS = ("image", "jpg", "png", "webp", "image_bytes", "bytes", "photo")
SUFFIXES = (".zip", ".tar", ".parquet")
GROUPS_KEPT = 8
NO_PYARROW = 'Parquet needs pyarrow: pip install "arc2face-studio[dataset]"'


def containers_of(path: Path) -> tuple[list[Path], Listing | None]:
    """The zips, tar files or tables that a data path means, or, where there are none, the files of a folder tree.

    Raises TrainingError for a path that does not exist, a file of another kind, or kinds that are mixed.
    """
    if path.is_file():
        if path.suffix.lower() not in SUFFIXES:
            raise TrainingError(f"{path} is neither a folder nor a zip, tar or Parquet file. Set `data.path`.")
        return [path], None
    if not path.is_dir():
        raise TrainingError(f"The data folder {path} does not exist. Set `data.path` in the config.")
    tree = list_tree(path)
    tail = tree.names.tail(max(map(len, SUFFIXES)))
    found = {suffix: np.flatnonzero(ends_with(tail, suffix)) for suffix in SUFFIXES}
    if len(found[".tar"]):  # tables beside tar files describe them
        found.pop(".parquet")
    kinds = [suffix for suffix, places in found.items() if len(places)]
    if len(kinds) > 1:
        raise TrainingError(f"{path} holds {' and '.join(kinds)} files; name a folder with one kind of them.")
    if not kinds:
        return [], tree
    return [path / tree.names[int(place)] for place in found[kinds[0]]], None


def ends_with(tail: Bytes, suffix: str) -> Flags:
    """(n,) whether names whose last letters are `tail` (from `Names.tail`) end with `suffix`, in lower case."""
    return (tail[:, -len(suffix) :] == np.frombuffer(suffix.encode(), np.uint8)).all(1)


def list_container(path: Path, person_key: str) -> Listing:
    """Every file in a container. Raises TrainingError for one that cannot be read."""
    kind = path.suffix.lower()
    if kind == ".zip":
        return list_zip(path)
    return list_tar(path, person_key) if kind == ".tar" else list_parquet(path, person_key)


def list_tree(root: Path) -> Listing:
    """All files under a folder, sorted, with their sizes; hidden ones and links to folders are left out."""
    names, sizes = list[bytes](), list[int]()

    def visit(folder: str, prefix: str) -> None:
        with os.scandir(folder) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
        for entry in listed:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                visit(entry.path, f"{prefix}{entry.name}/")
            elif entry.is_file():
                names.append(os.fsencode(prefix + entry.name))
                sizes.append(entry.stat().st_size)

    try:
        visit(str(root), "")
    except OSError as error:
        raise TrainingError(f"{root} cannot be listed: {error}. Check its permissions.") from error
    return Listing(Names.of(names), np.zeros(len(names), np.int64), np.array(sizes, np.int64))


def list_tar(path: Path, person_key: str) -> Listing:
    """Members of an uncompressed tar file; a person's key comes from `x.cls` or from a field of `x.json`."""
    names, offsets, sizes = list[bytes](), list[int](), list[int]()
    keys: dict[str, np.uint64] = {}
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                if not member.isfile():
                    continue
                name = member.name.removeprefix("./")
                names.append(name.encode("utf-8", "surrogateescape"))
                offsets.append(member.offset_data)
                sizes.append(member.size)
                stem, _, suffix = name.rpartition(".")
                if suffix in ("json", "cls") and member.size < 1 << 20:
                    content = archive.extractfile(member)
                    key = _key_of(b"" if content is None else content.read(), suffix, person_key)
                    if key is not None and (suffix == "json" or stem not in keys):
                        keys[stem] = text_hash(f"key:{key}")
    except (OSError, tarfile.TarError) as error:
        raise TrainingError(f"{path} is not a readable, uncompressed tar file: {error}.") from error
    stems = (name.decode("utf-8", "surrogateescape").rpartition(".")[0] for name in names)
    owners = np.array([keys.get(stem, 0) for stem in stems], np.uint64) if keys else None
    return Listing(Names.of(names), np.array(offsets, np.int64), np.array(sizes, np.int64), owners)


def list_parquet(path: Path, person_key: str) -> Listing:
    """Rows of a table with a column of pictures and one that names the person."""
    table = open_table(path)
    names = table.schema_arrow.names
    image_column(table, path)
    chosen = next((name for name in ((person_key,) if person_key else PERSON_KEYS) if name in names), None)
    if chosen is None:
        raise TrainingError(
            f"{path} has no column that names the person (looked for {person_key or ', '.join(PERSON_KEYS)}; "
            f"there are {', '.join(names)}). Set `data.person_key`."
        )
    people = table.read(columns=[chosen]).column(chosen).to_pylist()
    known = {key: np.uint64(0) if key is None else text_hash(f"key:{key}") for key in set(people)}
    count = len(people)
    rows = np.arange(count, dtype=np.int64)
    return Listing(
        Names.of(f"{path.name}:{row}.png".encode() for row in range(count)),
        rows, np.zeros(count, np.int64), np.array([known[key] for key in people], np.uint64),
    )  # fmt: skip


def open_table(path: Path) -> Any:
    """A pyarrow ParquetFile. Raises TrainingError where pyarrow is missing or the file is none."""
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise TrainingError(NO_PYARROW) from error
    try:
        return parquet.ParquetFile(path, memory_map=True)
    except (OSError, pyarrow.ArrowException) as error:
        raise TrainingError(f"{path} is not a readable Parquet file: {error}.") from error


def image_column(table: Any, path: Path) -> str:
    """Name of the column of encoded pictures, plain bytes or the Hub's {bytes, path}."""
    names = table.schema_arrow.names
    found = next((name for name in IMAGE_COLUMNS if name in names), None)
    if found is None:
        wanted = ", ".join(IMAGE_COLUMNS)
        raise TrainingError(f"{path} has no column of pictures ({wanted}); it has {', '.join(names)}.")
    return found


class TableReader:
    """Pictures of one table by row; the last few row groups stay in memory. Safe to share between threads."""

    def __init__(self, path: Path) -> None:
        self.path, self.table = path, open_table(path)
        self.column = image_column(self.table, path)
        metadata = self.table.metadata
        lengths = [metadata.row_group(k).num_rows for k in range(metadata.num_row_groups)]
        self.ends = np.cumsum(lengths)
        self.groups: OrderedDict[int, Any] = OrderedDict()
        self.lock = threading.Lock()

    def read(self, row: int) -> bytes:
        """The encoded picture of a row. Raises ValueError where there is none."""
        group = int(np.searchsorted(self.ends, row, side="right"))
        with self.lock:
            if group not in self.groups:
                self.groups[group] = self.table.read_row_group(group, columns=[self.column]).column(0)
                while len(self.groups) > GROUPS_KEPT:
                    self.groups.popitem(last=False)
            self.groups.move_to_end(group)
            value: Any = self.groups[group][row - (int(self.ends[group - 1]) if group else 0)].as_py()
        content = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(content, bytes):
            raise ValueError("the row holds no picture")
        return content


def _key_of(content: bytes, suffix: str, person_key: str) -> str | None:
    text = content.decode("utf-8", "replace")
    if suffix == "cls":
        return text.strip() or None
    try:
        fields: Any = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict):
        return None
    for name in (person_key,) if person_key else PERSON_KEYS:
        value = fields.get(name)
        if isinstance(value, str | int) and not isinstance(value, bool):
            return str(value)
    return None
