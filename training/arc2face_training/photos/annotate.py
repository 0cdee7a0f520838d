"""Annotate photos, wherever they lie: `arc2face annotate PHOTOS`, in shards, resumable, on as many machines as wanted.

Without an alignment the photos stay where they are and a folder of annotations is written beside them
(`arc2face_training.photos.annotations`). With one, new tar files are written that hold the aligned faces (`ffhq`: with
their annotations; `arcface`: 112-pixel crops for a recogniser), named by person: a data set of its own.

Every shard appears whole or not at all; one that is there is not made again, so a killed run goes on where it was.
Shard k belongs to process k mod n of `--shard i/n`; two processes on one shard write the same files.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from arc2face.engine import Engine
from arc2face.weights.store import replace_with
from arc2face_training.common.errors import TrainingError
from arc2face_training.photos.annotations import ABOUT, KINDS, content_digest, default_folder, read_about
from arc2face_training.photos.index import Grouping
from arc2face_training.photos.reading import Alignment, PhotoReader, Reading
from arc2face_training.photos.store import PhotoStore, open_store
from arc2face_training.photos.writing import Counts, write_aligned, write_annotations

log = logging.getLogger(__name__)
READERS = 4
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class AnnotateOptions:
    """What is written. `kinds`: embedding, expression, normals. `size`: side of normal maps and FFHQ-aligned faces.

    `shard`: this process's number, from 0, and how many there are. `per_shard`: photos of a shard. `batch`: photos
    read at once. `picture`: png or jpg, of aligned faces.
    """

    kinds: tuple[str, ...] = KINDS
    align: Alignment = "none"
    size: int = 512
    shard: tuple[int, int] = (0, 1)
    per_shard: int = 1024
    batch: int = 16
    picture: str = "png"
    people: Grouping = "auto"
    person_key: str = ""

    def __post_init__(self) -> None:
        part, parts = self.shard
        if not 0 <= part < parts:
            raise TrainingError(f"--shard is i/n with i from 0 to n - 1, for example 0/4; not {part}/{parts}.")
        if self.per_shard < 1 or self.batch < 1 or not 32 <= self.size <= 2048:
            raise TrainingError("Shards and batches hold at least one photo, and sizes lie between 32 and 2048 pixels.")
        if self.picture not in ("png", "jpg") or self.align not in ("none", "ffhq", "arcface"):
            raise TrainingError("Pictures are png or jpg; the alignment is none, ffhq or arcface.")


def annotate(
    path: Path, engine: Engine, output: Path | None, options: AnnotateOptions, progress: Progress | None = None
) -> Counts:
    """Annotate this process's shards; see the module. `progress(photos done, photos of this process)`.

    Raises TrainingError for unusable photos, options or an output that belongs to other photos; StorageError when the
    disk is full. Photos that cannot be used are counted and noted, never an error.
    """
    store = open_store(path, options.people, options.person_key)
    folder = output or (default_folder(path) if options.align == "none" else None)
    if folder is None:
        raise TrainingError("Aligned faces need a place of their own: --output FOLDER")
    if folder.resolve() == path.resolve():
        raise TrainingError(f"The output must not be the photos' own folder {path}.")
    kinds = () if options.align == "arcface" else tuple(kind for kind in KINDS if kind in options.kinds)
    folder.mkdir(parents=True, exist_ok=True)
    _begin(folder, store, engine, options, kinds)
    reader = PhotoReader(engine, kinds, options.size, options.align)
    mark = "state.npy" if options.align == "none" else "tar"
    mine = range(options.shard[0], -(-len(store) // options.per_shard), options.shard[1])
    total = sum(len(_numbers(store, shard, options.per_shard)) for shard in mine)
    counts, seen = Counts(), 0
    for shard in mine:
        numbers = _numbers(store, shard, options.per_shard)
        seen += len(numbers)
        if (folder / f"{shard:05d}.{mark}").exists():
            counts.already += 1
        else:
            readings = _read(store, reader, numbers, options.batch)
            place = folder / f"{shard:05d}"
            if options.align == "none":
                counts.include(write_annotations(place, store, readings, len(numbers), kinds))
            else:
                counts.include(write_aligned(place, store, readings, kinds, options.picture))
        if progress is not None:
            progress(seen, total)
    return counts


def _numbers(store: PhotoStore, shard: int, per_shard: int) -> range:
    return range(shard * per_shard, min(len(store), (shard + 1) * per_shard))


def _begin(folder: Path, store: PhotoStore, engine: Engine, options: AnnotateOptions, kinds: tuple[str, ...]) -> None:
    """Write what the output is about, or compare it with what is there."""
    about = {
        "version": 1,
        "photos": content_digest(store.index),
        "count": len(store),
        "kinds": list(kinds),
        "align": options.align,
        "size": options.size,
        "per_shard": options.per_shard,
        "models": _models(engine, kinds),
    }
    if options.align != "none":
        about |= {"picture": options.picture, "people": options.people, "person_key": options.person_key}
    name = folder / (ABOUT if options.align == "none" else "aligned.json")
    if name.exists():
        known = read_about(folder) if name.name == ABOUT else _read_json(name)
        other = sorted(key for key in about if known.get(key) != about[key])
        if other:
            raise TrainingError(f"{folder} was begun with other {', '.join(other)}. Choose another --output.")
        return
    if any(folder.iterdir()):
        raise TrainingError(f"{folder} is not empty and holds no annotations. Choose another --output.")
    with replace_with(name) as part:
        part.write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return cast("dict[str, Any]", json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise TrainingError(f"{path} is damaged ({error}). Choose another --output.") from error


def _models(engine: Engine, kinds: tuple[str, ...]) -> dict[str, str]:
    """Hash of the recogniser: embeddings of different ones must not be mixed."""
    return {"arcface": engine.perception.faces.recogniser_sha256} if "embedding" in kinds else {}


def _read(store: PhotoStore, reader: PhotoReader, numbers: range, batch: int) -> Iterator[tuple[int, Reading]]:
    """Number and reading of each photo; the next batch's bytes are fetched meanwhile."""

    def fetch(number: int) -> bytes | Exception:
        try:
            return store.photo(number)
        except (OSError, ValueError) as error:
            return error

    with ThreadPoolExecutor(READERS, thread_name_prefix="photos") as pool:
        parts = [numbers[k : k + batch] for k in range(0, len(numbers), batch)]
        waiting = [pool.submit(fetch, number) for number in parts[0]]
        for part, following in zip(parts, [*parts[1:], range(0)], strict=True):
            contents = [future.result() for future in waiting]
            waiting = [pool.submit(fetch, number) for number in following]
            yield from zip(part, reader.read(contents), strict=True)


def options_of(*, align: str, skip: tuple[str, ...], shard: str, people: str, **others: Any) -> AnnotateOptions:
    """Options from texts. `skip`: kinds to leave out; `shard`: i/n. Raises TrainingError naming what is wrong."""
    part, slash, parts = shard.partition("/")
    if not slash or not part.isdigit() or not parts.isdigit():
        raise TrainingError(f"--shard is i/n with i from 0 to n - 1, for example 0/4; not {shard!r}.")
    unknown = [kind for kind in skip if kind not in KINDS]
    if unknown or people not in ("auto", "folder", "each"):
        raise TrainingError(f"--skip takes {', '.join(KINDS)}; --people takes auto, folder or each.")
    kinds = tuple(kind for kind in KINDS if kind not in skip)
    return AnnotateOptions(kinds, cast("Alignment", align), shard=(int(part), int(parts)), people=people, **others)


def run(path: Path, output: Path | None, models: Path | None, device: str, options: AnnotateOptions) -> int:
    """What `arc2face annotate` calls. Returns an exit status."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    started = time.monotonic()

    def progress(done: int, total: int) -> None:
        left = (time.monotonic() - started) / done * (total - done)
        log.info("%d of %d photos, about %d min left", done, total, left / 60)

    with Engine.open(models, device=device) as engine:
        counts = annotate(path, engine, output, options, progress)
    for name, reason in counts.reasons.items():
        log.warning("%s: %s", name, reason)
    usable = counts.photos - counts.no_face - counts.unreadable
    print(
        f"{usable} photos annotated, {counts.no_face} without a usable face, {counts.unreadable} unreadable; "
        f"{counts.shards} shards written, {counts.already} were there."
    )
    return 0
