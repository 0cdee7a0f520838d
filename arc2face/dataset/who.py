"""Who a data set shows: photos, tables of photos, saved identities, embeddings of many, or people who do not exist.

from arc2face.dataset.who import find_people
people = find_people("photos/", engine, skip_unreadable=True)
people.identities, people.unread, people.warnings

Nobody is lost: who cannot be read is reported with the reason, and the caller chooses whether to go on without.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from arc2face.dataset import manifold
from arc2face.dataset.embeddings import is_embeddings, read_embeddings
from arc2face.dataset.identities import Identities
from arc2face.dataset.people import SAMPLED, Found, People, Unread, check_names, collect
from arc2face.dataset.photos import OUTLIERS, Outliers, PhotoOf, combine_photos
from arc2face.dataset.tables import TABLES, read_table
from arc2face.errors import Arc2FaceError, InputError, SettingsError
from arc2face.faces.identities import load_identity
from arc2face.sources.person import recogniser_in_use

if TYPE_CHECKING:
    from arc2face.engine import Engine

__all__ = [
    "OUTLIERS",
    "Found",
    "People",
    "Progress",
    "Unread",
    "find_people",
    "from_embeddings",
    "from_files",
    "from_folder",
    "from_table",
    "new_people",
]

PICTURES = frozenset(
    (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".heic", ".heif", ".avif", ".jp2", ".gif")
)
IDENTITY_FILES = frozenset((".npz", ".npy"))
Progress = Callable[[int, int], None]
"""Called with the number of photos (or files) that are read, and of all. What it raises stops."""


def find_people(
    source: Path | str,
    engine: Engine | None = None,
    *,
    skip_unreadable: bool = False,
    outliers: Outliers = "drop",
    person_column: str | None = None,
    picture_column: str | None = None,
    progress: Progress | None = None,
) -> People:
    """People from whatever is at `source`: see `from_folder`, `from_table`, `from_files`, `from_embeddings`.

    `engine`: reads photos, needed for those alone. Raises InputError or SettingsError.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        saved = sorted(file for file in _visible(path) if file.suffix.lower() in IDENTITY_FILES and file.is_file())
        if saved:
            _check_only_files(path)
            return from_files(saved, engine, skip_unreadable=skip_unreadable, progress=progress)
        return from_folder(path, _needed(engine), skip_unreadable=skip_unreadable, outliers=outliers, progress=progress)
    if not path.is_file():
        raise InputError(
            f"{path} does not exist. Give a folder of people, a table (.csv, .parquet) or embeddings (.npz)."
        )
    if path.suffix.lower() in TABLES:
        return from_table(
            path,
            _needed(engine),
            person_column=person_column,
            picture_column=picture_column,
            skip_unreadable=skip_unreadable,
            outliers=outliers,
            progress=progress,
        )
    if path.suffix.lower() not in IDENTITY_FILES:
        raise InputError(f"{path.name} is no table (.csv, .tsv, .parquet) and no file of embeddings (.npz, .npy).")
    if is_embeddings(path):
        return from_embeddings(path, skip_unreadable=skip_unreadable)
    return from_files([path], engine, skip_unreadable=skip_unreadable, progress=progress)


def from_folder(
    folder: Path | str,
    engine: Engine,
    *,
    skip_unreadable: bool = False,
    outliers: Outliers = "drop",
    progress: Progress | None = None,
) -> People:
    """One person per folder, named after it, from the pictures in it.

    Args:
        folder: holds a folder per person and no pictures of its own.
        engine: reads the photos.
        skip_unreadable: go on without people who cannot be read; else they are an error.
        outliers: what happens to photos that do not agree with the person's others: `drop` (left out, with a
            warning), `keep` (used, with a warning) or `refuse` (the person counts as unreadable).
        progress: see Progress.

    Raises InputError: no such folder, nobody in it, pictures beside the folders, a name that is there twice, or people
    who cannot be read.
    """
    root = Path(folder).expanduser()
    inside = _visible(root)
    people = sorted(path for path in inside if path.is_dir())
    loose = sorted(path.name for path in inside if path.is_file() and path.suffix.lower() in PICTURES)
    if loose and people:
        raise InputError(
            f"{root} holds pictures ({_some(loose)}) beside folders of people "
            f"({_some([path.name for path in people])}). Put each picture into the folder of its person."
        )
    if loose:
        raise InputError(
            f"{root} holds {len(loose)} pictures and no folders. Make one folder per person, or a table (.csv) with "
            "the columns person and file."
        )
    if not people:
        raise InputError(f"{root} is empty. It should hold one folder of photos per person.")
    check_names([path.name for path in people])
    lists = [(path.name, _photos_in(path)) for path in people]
    total = sum(len(photos) for _, photos in lists if isinstance(photos, list))

    def photos() -> Iterator[PhotoOf | Unread]:
        for name, found in lists:
            if isinstance(found, str):
                yield Unread(name, found)
            else:
                yield from (PhotoOf(name, path.name, path) for path in found)

    return collect(combine_photos(photos(), engine, outliers, _told(progress, total)), skip_unreadable)


def from_table(
    path: Path | str,
    engine: Engine,
    *,
    person_column: str | None = None,
    picture_column: str | None = None,
    skip_unreadable: bool = False,
    outliers: Outliers = "drop",
    progress: Progress | None = None,
) -> People:
    """People from a table with one photo per row; rows of a person may stand anywhere.

    Args:
        path: `.csv`, `.tsv` (UTF-8, with a header) or `.parquet`.
        engine: reads the photos.
        person_column: names the person; None: the first of person, identity, id, name, label that there is.
        picture_column: a file path (relative ones start at the table's folder), or in Parquet the picture's bytes,
            also as the Hub's struct of bytes and path; None: the first of file, path, picture, image, photo, file_name.
        skip_unreadable: go on without people who cannot be read.
        outliers: what happens to photos that do not agree.
        progress: see Progress.

    Raises InputError: no such columns, a row without a person or picture, a damaged table, or as `from_folder`.
    """
    total, photos = read_table(Path(path).expanduser(), person_column, picture_column)
    return collect(combine_photos(photos, engine, outliers, _told(progress, total)), skip_unreadable)


def from_files(
    paths: Sequence[Path | str],
    engine: Engine | None = None,
    *,
    skip_unreadable: bool = False,
    progress: Progress | None = None,
) -> People:
    """One person per saved identity (`.npz`, or a bare `.npy` of 512 numbers), named after the file.

    `engine`: its recogniser is compared with the files'. Raises InputError as `from_folder` does.
    """
    files = [Path(path).expanduser() for path in paths]
    check_names([file.stem for file in files])
    in_use = None if engine is None else recogniser_in_use(engine)

    def people() -> Iterator[Found | Unread]:
        for done, file in enumerate(files, start=1):
            try:
                identity, warnings = load_identity(file, in_use)
                yield Found(file.stem, identity, f"file: {file.name}", warnings)
            except Arc2FaceError as error:
                yield Unread(file.stem, str(error))
            if progress is not None:
                progress(done, len(files))

    return collect(people(), skip_unreadable)


def from_embeddings(path: Path | str, *, skip_unreadable: bool = False) -> People:
    """Many people from one file: `.npy` of (n, 512), or `.npz` with `vectors` or `embeddings`, and perhaps `keys`.

    People without a key are called by their row: `person-0000001`. Nothing is unpickled. Rows with NaN or without
    length are people who cannot be read. Raises InputError as `from_folder` does, and for anything else in the file.
    """
    found = read_embeddings(Path(path).expanduser())
    return collect(found, skip_unreadable)


def new_people(
    given: Identities,
    count: int,
    *,
    seed: int = 0,
    method: manifold.Method = "components",
    variance: float = 0.95,
    max_cosine: float = 0.3,
    max_source_cosine: float | None = None,
    prefix: str = "new",
) -> tuple[Identities, manifold.Sampled]:
    """People who do not exist, and how far from one another and from those `given` they came out.

    See `arc2face.dataset.manifold.sample` for the arguments and errors. Keys are `new-0000001` and so on.
    """
    sampled = manifold.sample(
        given.vectors,
        count,
        seed=seed,
        method=method,
        variance=variance,
        max_cosine=max_cosine,
        max_source_cosine=max_source_cosine,
    )
    source = f"{SAMPLED}: {method} of {len(given)} people, seed {seed}"
    keys = tuple(f"{prefix}-{number:07d}" for number in range(1, count + 1))
    return Identities(keys, sampled.vectors, (source,) * count, given.recogniser_sha256), sampled


def _needed(engine: Engine | None) -> Engine:
    if engine is None:
        raise SettingsError("Photos are read with the models' face networks; open an engine for them.")
    return engine


def _visible(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if not path.name.startswith((".", "__MACOSX"))]
    except OSError as error:
        raise InputError(f"The folder {folder} cannot be read ({error.strerror or error}).") from error


def _check_only_files(folder: Path) -> None:
    others = sorted(path.name for path in _visible(folder) if path.is_dir() or path.suffix.lower() in PICTURES | TABLES)
    if others:
        raise InputError(
            f"{folder} holds saved identities beside other things ({_some(others)}). Put them into folders of their "
            "own."
        )


def _photos_in(folder: Path) -> list[Path] | str:
    """The pictures of a person, or why there are none."""
    try:
        inside = _visible(folder)
    except InputError as error:
        return str(error)
    photos = sorted(path for path in inside if path.is_file() and path.suffix.lower() in PICTURES)
    if photos:
        return photos
    if any(path.is_dir() for path in inside):
        return "the folder holds folders, not photos; a person's photos lie directly in their folder"
    return "the folder holds no picture"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


def _told(progress: Progress | None, total: int) -> Callable[[int], None]:
    return (lambda done: None) if progress is None else (lambda done: progress(done, total))
