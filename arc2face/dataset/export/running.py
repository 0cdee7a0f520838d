"""One export from beginning to end: what goes out, whether it fits, the pictures one after the other, the mark."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from arc2face import checks
from arc2face.dataset.export import folders, lmdbs, lora, options, parquet, recordio, tars
from arc2face.dataset.export.encoding import Encoder, in_order
from arc2face.dataset.export.job import Job, Picture
from arc2face.dataset.export.options import ExportSummary
from arc2face.dataset.export.place import check_room, fresh_folder, write_mark
from arc2face.dataset.export.reading import Shards
from arc2face.dataset.export.selection import select
from arc2face.dataset.folder import DatasetFolder
from arc2face.dataset.packages import need
from arc2face.dataset.plan import DatasetPlan
from arc2face.dataset.planning import load_plan
from arc2face.errors import ImageError, InputError, SettingsError
from arc2face.faces.analyser import FaceAnalyser
from arc2face.pictures.recipes import app_version

__all__ = ["Progress", "export"]

WRITERS: dict[str, Callable[[Job, Iterable[Picture]], dict[str, Any]]] = {
    "folder": folders.write,
    "rec": recordio.write,
    "lmdb": lmdbs.write,
    "webdataset": tars.write,
    "parquet": parquet.write,
    "lora": lora.write,
}
PACKAGES = {"lmdb": ("lmdb", "msgpack")}
SAMPLE = 8
"""Pictures that are encoded first, to say how much room all will take."""
BESIDE = 700
"""Bytes that a picture takes beside its own: headers, rows, captions."""
Progress = Callable[[int, int], None]
"""Called with the number of pictures that are done and of all, in the thread that exports. What it raises stops the
export, and nothing is left of it."""


def export(
    folder: Path | str,
    to: str,
    out: Path | str,
    *,
    size: int | None = None,
    align: str | None = None,
    picture_format: str | None = None,
    quality: int = 95,
    min_similarity: float | None = None,
    min_second_similarity: float | None = None,
    exclude: Collection[str] = (),
    people: Collection[str] | None = None,
    per_person: int | None = None,
    shuffle: bool = False,
    seed: int = 0,
    shard_bytes: int = options.SHARD_BYTES,
    repeats: int = 10,
    trigger: str = "",
    features: bool = True,
    partial: bool = False,
    overwrite: bool = False,
    faces: FaceAnalyser | Callable[[], FaceAnalyser] | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> ExportSummary:
    """Write a data set in another format; docs/dataset-formats.md says exactly what each holds.

    The export is written beside `out` and takes its place at the end: what is at `out` is whole, or as it was before.
    It holds `export.json` (what it is, and from which plan), `people.csv` (label, identity number, identity, pictures)
    and, where an alignment found no face, `left_out.csv`. Rows without a picture never go out. The same call on the
    same set gives the same bytes (LMDB apart, whose pages hold what was in memory).

    Args:
        folder: the data set.
        to: a name of FORMATS.
        out: a folder that does not exist or is empty.
        size: side in pixels; None: 112 for ArcFace crops, else as drawn. With `align="none"` the middle square is
            scaled.
        align: none, arcface (112 or 128 pixels or multiples), ffhq; None: the format's usual one.
        picture_format: png or jpg; None: jpg for rec, lmdb and ArcFace crops, else as drawn. Pictures that need no
            change go out byte for byte.
        quality: of JPEG, 1 to 100, without chroma subsampling.
        min_similarity: leave out pictures whose cosine to the asked identity is lower, or which show no face.
        min_second_similarity: the same by the independent recogniser, where the set was scored with one.
        exclude: keys of pictures (`0000012_0003`) or of people that stay out.
        people: keys of the only people that go out; None for all.
        per_person: at most so many pictures of each, spread evenly over poses and expressions, the most similar first.
        shuffle: random order by `seed` (rec: im2rec's layout). Else people in order.
        seed: of the order.
        shard_bytes: size to which webdataset's and parquet's files are filled.
        repeats: lora: repeats per epoch, in the folder's name.
        trigger: lora: a word in front of each caption.
        features: lmdb: with the embedding (Vec2Face), or pictures and labels only.
        partial: export what is drawn of a set that is not finished; else such a set is refused.
        overwrite: replace an earlier export at `out`, and nothing else.
        faces: finds faces for alignments (`engine.faces`), or a function that gives it, called when needed; None
            opens the networks of the models folder on the CPU.
        workers: threads that encode, 1 to 64; None: one per core, at most 8. They do not change the bytes.
        progress: see Progress.

    Raises:
        SettingsError: an option is out of range, names are unknown, nothing is left, the set is not finished, `out` is
            not empty, or a package is missing.
        InputError: no data set, or a damaged one.
        MissingWeightsError: an alignment needs networks that are not there.
        StorageError: the disk is full or refuses; asked before anything is written.
    """
    source = DatasetFolder.of(folder)
    plan = load_plan(source)
    given = options.check(
        to,
        drawn=plan.picture,
        size=size,
        align=align,
        picture_format=picture_format,
        quality=quality,
        min_similarity=min_similarity,
        min_second_similarity=min_second_similarity,
        exclude=exclude,
        people=people,
        per_person=per_person,
        shuffle=shuffle,
        seed=seed,
        shard_bytes=shard_bytes,
        repeats=repeats,
        trigger=trigger,
        features=features,
    )
    for package in PACKAGES.get(to, ()):
        need(package)
    threads = _threads(workers)
    partial, overwrite = checks.flag("partial", partial), checks.flag("overwrite", overwrite)
    committed = source.committed()
    identities = source.identities()
    if identities.sha256 != plan.identities_sha256:
        raise InputError(f"{source.root} holds other people than its plan is about. Restore identities.npz.")
    warnings = _unfinished(plan, committed, partial)
    selection = select([(number, source.manifest(number)) for number in committed], given, plan.sha256)
    finder = faces if isinstance(faces, FaceAnalyser) or faces is None or given.align == "none" else faces()
    encoder = Encoder(given, finder if isinstance(finder, FaceAnalyser) else None)
    files = {number: (source.tar(number), source.manifest(number)) for number in committed}
    target = Path(out).expanduser().resolve()
    with Shards(files) as shards, fresh_folder(target, overwrite) as temporary:
        job = Job(given, selection, identities, temporary, source.plan_json())
        job.warnings += warnings
        pictures = _pictures(job, shards, encoder, threads, progress)
        first = list(islice(pictures, SAMPLE))
        check_room(target, _bytes_needed(first, len(selection)))
        details = WRITERS[to](job, chain(first, pictures))
        return _finish(job, details, target)


@dataclass(frozen=True, slots=True)
class _At:
    """A picture that is to be encoded."""

    at: int
    data: bytes
    row: dict[str, Any]


def _pictures(job: Job, shards: Shards, encoder: Encoder, threads: int, progress: Progress | None) -> Iterator[Picture]:
    """The pictures of the selection, read in one thread, encoded in several, in order."""
    selection, rows = job.selection, job.options.format.rows

    def read() -> Iterator[_At]:
        for at in range(len(selection)):
            shard, place = int(selection.shard[at]), int(selection.place[at])
            yield _At(at, shards.data(shard, place), shards.row(shard, place) if rows else {})

    def encode(item: _At) -> bytes | None:
        try:
            return encoder.encode(item.data)
        except ImageError as error:
            raise InputError(
                f"The picture {selection.key(item.at)} is damaged ({error}). Run `arc2face dataset verify`."
            ) from error

    for done, (item, data) in enumerate(in_order(read(), encode, threads), start=1):
        if progress is not None:
            progress(done, len(selection))
        at = item.at
        if data is None:
            job.lost.append(selection.key(at))
            continue
        number = int(selection.number[at])
        picture = Picture(selection.key(at), selection.names[number], number, int(selection.label[at]), data, item.row)
        job.count(picture)
        yield picture


def _finish(job: Job, details: dict[str, Any], target: Path) -> ExportSummary:
    selection = job.selection
    if not job.counts:
        raise SettingsError("The alignment found a face in none of the pictures; nothing was exported.")
    _write_people(job)
    empty = len(selection.names) - len(job.counts)
    if job.lost:
        _write_lost(job)
        job.warnings.append(f"In {len(job.lost):,} pictures no face was found to align; left_out.csv names them.")
    if empty:
        job.warnings.append(f"{empty} people have no picture left; their labels belong to nobody (see people.csv).")
    left_out = dict(selection.left_out)
    if job.lost:
        left_out["in which the alignment found no face"] = len(job.lost)
    summary = ExportSummary(
        target, job.options.to, sum(job.counts.values()), len(job.counts), 0, left_out, details, tuple(job.warnings)
    )
    write_mark(
        job.folder,
        {
            "to": summary.to,
            "pictures": summary.pictures,
            "people": summary.people,
            "left_out": left_out,
            "details": details,
            "options": job.options.facts,
            "plan": selection.plan,
            "version": app_version(),
        },
    )
    return replace(summary, bytes=sum(path.stat().st_size for path in job.folder.rglob("*") if path.is_file()))


def _write_people(job: Job) -> None:
    with (job.folder / "people.csv").open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(["label", "identity_number", "identity", "pictures"])
        for label, number in enumerate(job.selection.numbers):
            table.writerow([label, number, job.selection.names[number], job.counts.get(label, 0)])


def _write_lost(job: Job) -> None:
    with (job.folder / "left_out.csv").open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(["key", "reason"])
        table.writerows([key, f"no face found for the alignment {job.options.align}"] for key in job.lost)


def _unfinished(plan: DatasetPlan, committed: list[int], partial: bool) -> list[str]:
    missing = plan.shards - len([number for number in committed if number < plan.shards])
    if not missing:
        return []
    words = f"{missing} of {plan.shards} shards are not drawn yet"
    if not partial:
        raise SettingsError(f"{words}. Finish the set with `arc2face dataset run`, or export what is there (partial).")
    return [f"{words}; the export holds what is there."]


def _bytes_needed(sample: list[Picture], many: int) -> int:
    if not sample:
        return 0
    return int(float(np.mean([len(picture.data) for picture in sample])) * 1.1 + BESIDE) * many


def _threads(workers: int | None) -> int:
    if workers is None:
        return max(1, min(8, os.cpu_count() or 1))
    return checks.whole("The number of threads", workers, (1, 64))
