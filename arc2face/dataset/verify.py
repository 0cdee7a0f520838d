"""Every tar against its manifest, every manifest against the plan: nothing lost, doubled, mixed or left over."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from arc2face.dataset import manifest
from arc2face.dataset.folder import DatasetFolder, picture_key, read_tar
from arc2face.dataset.leftovers import strays
from arc2face.dataset.manifest import Facts, Row
from arc2face.dataset.planning import OpenSet, open_set
from arc2face.dataset.shards import sweep_folder
from arc2face.errors import Arc2FaceError, InputError, StorageError

__all__ = ["Fault", "Verified", "digest_of", "verify"]

KINDS = {
    "unreadable": "a manifest or tar that cannot be read",
    "lost": "a picture or row that should be there",
    "doubled": "a picture or row that is there twice",
    "changed": "a picture that is not what the manifest says",
    "mixed": "a shard of another plan, or of other models than the rest",
    "foreign": "a file that belongs to no shard",
}
"""What can be wrong. All but `foreign` and the models' kind of `mixed` are repaired by drawing the shard again."""
OnShard = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Fault:
    """`kind`: of KINDS. `shard`: None where no shard is to blame. `text`: one sentence."""

    kind: str
    text: str
    shard: int | None = None


@dataclass(frozen=True, slots=True)
class Verified:
    """`digest`: hash of all keys and pixels, equal for equal sets. `shards` finished of `shards_total`. `removed`:

    files that `repair` took away. `unfinished`: temporary files that are left. `notes`: what is worth knowing.
    """

    faults: tuple[Fault, ...]
    shards: int
    shards_total: int
    pictures: int
    rows: int
    digest: str
    unfinished: int
    removed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def sound(self) -> bool:
        """Whether what is there is right; it may still be unfinished."""
        return not self.faults

    @property
    def complete(self) -> bool:
        """Whether nothing is missing either."""
        return self.sound and self.shards == self.shards_total

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self) | {"sound": self.sound, "complete": self.complete}


def verify(
    path: DatasetFolder | Path | str,
    *,
    pixels: bool = True,
    repair: bool = False,
    on_shard: OnShard = lambda done, total: None,
) -> Verified:
    """Check a data set.

    Args:
        path: its folder.
        pixels: decode every picture and compare its hash; False compares the tars' hashes alone.
        repair: remove shards that are not right, and what dead writers left, so that the next run draws them again.
        on_shard: hears shards checked and shards to check.

    Raises:
        InputError: no plan, or one that was changed. StorageError: a repair cannot remove a file.
    """
    opened = open_set(path)
    folder = opened.folder
    faults, lines, models = list(_foreign(folder, opened)), list[str](), Counter[tuple[str, str]]()
    count = 0
    numbers = [shard for shard in folder.committed() if shard < opened.plan.shards]
    for done, shard in enumerate(numbers):
        on_shard(done, len(numbers))
        found, ours = _check_shard(opened, shard, pixels)
        faults += found
        if not found:
            count += len(ours)
            lines += _lines(ours)
            models.update({(row.models, row.settings) for row in ours[:1]})
    on_shard(len(numbers), len(numbers))
    faults += _mixed_models(models)
    removed = _repair(folder, faults) if repair else ()
    left = strays((folder.root, folder.shards))
    broken = {fault.shard for fault in faults if fault.shard is not None}
    there = [shard for shard in numbers if shard not in broken]
    return Verified(
        faults=tuple(faults),
        shards=len(there),
        shards_total=opened.plan.shards,
        pictures=len(lines),
        rows=count,
        digest=_digest(lines),
        unfinished=len(left),
        removed=removed,
        notes=_notes(models),
    )


def digest_of(rows: Iterable[Row]) -> str:
    """SHA-256 over key and pixel hash of every picture, in the order of the keys."""
    return _digest(_lines(rows))


def _lines(rows: Iterable[Row]) -> list[str]:
    return [f"{row.key} {row.pixels_sha256}\n" for row in rows if row.file is not None]


def _digest(lines: list[str]) -> str:
    return hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()


def _check_shard(opened: OpenSet, shard: int, pixels: bool) -> tuple[list[Fault], list[Row]]:
    folder = opened.folder
    try:
        facts, rows = manifest.read_facts(folder.manifest(shard)), manifest.read(folder.manifest(shard))
    except InputError as error:
        return [Fault("unreadable", str(error), shard)], []
    faults = [Fault(kind, text, shard) for kind, text in _check_rows(opened, shard, facts, rows)]
    if not faults:
        faults = [Fault(kind, text, shard) for kind, text in _check_tar(folder.tar(shard), facts, rows, pixels)]
    return faults, rows


def _check_rows(opened: OpenSet, shard: int, facts: Facts, rows: Sequence[Row]) -> Iterator[tuple[str, str]]:
    """The manifest against the plan."""
    plan, name = opened.plan, opened.folder.manifest(shard).name
    if facts.plan != plan.sha256 or facts.shard != shard or {row.plan for row in rows} - {plan.sha256}:
        yield "mixed", f"{name} is of another plan or another shard."
        return
    wanted = {
        picture_key(who, k): opened.identities.keys[who] for who in plan.people_of(shard) for k in range(plan.pictures)
    }
    counted = Counter(row.key for row in rows)
    if lost := wanted.keys() - counted.keys():
        yield "lost", f"{name} has no row for {min(lost)} ({len(lost)} in all)."
    if twice := [key for key, count in counted.items() if count > 1]:
        yield "doubled", f"{name} has several rows for {twice[0]}."
    if other := [row.key for row in rows if wanted.get(row.key) != row.identity]:
        yield "mixed", f"{name} has a row for {other[0]}, which the plan does not ask for."
    if len({(row.models, row.settings) for row in rows}) > 1:
        yield "mixed", f"{name} has rows of different models."
    if any((row.file is None) != (row.error is not None) for row in rows):
        yield "lost", f"{name} has a row with neither a picture nor a reason."


def _check_tar(path: Path, facts: Facts, rows: Sequence[Row], pixels: bool) -> Iterator[tuple[str, str]]:
    """The tar against its manifest."""
    wanted = {row.file: row for row in rows if row.file is not None}
    beside = {f"{row.key}.{suffix}" for row in wanted.values() for suffix in ("json", "cls")}
    seen: Counter[str] = Counter()
    try:
        for name, data in read_tar(path):
            seen[name] += 1
            row = wanted.get(name)
            if row is None:
                if name not in beside:
                    yield "doubled", f"{path.name} holds {name}, which the manifest does not name."
            elif len(data) != row.bytes or (pixels and _pixels(data) != row.pixels_sha256):
                yield "changed", f"{name} in {path.name} is not the picture that was drawn."
        if _file_sha256(path) != facts.tar_sha256:
            yield "changed", f"{path.name} is not the file that was written."
    except (Arc2FaceError, OSError) as error:
        yield "unreadable", str(error) if isinstance(error, Arc2FaceError) else f"{path} cannot be read ({error})."
        return
    if lost := (wanted.keys() | beside) - seen.keys():
        yield "lost", f"{path.name} lacks {min(lost)} ({len(lost)} files in all)."
    if twice := [name for name, count in seen.items() if count > 1]:
        yield "doubled", f"{path.name} holds {twice[0]} {seen[twice[0]]} times."


def _pixels(data: bytes) -> str:
    from arc2face.pictures.loading import load_rgb_u8

    with contextlib.suppress(Arc2FaceError):
        return hashlib.sha256(load_rgb_u8(data).tobytes()).hexdigest()
    return ""


def _file_sha256(path: Path) -> str:
    from arc2face.weights.store import hash_file

    return hash_file(path)


def _foreign(folder: DatasetFolder, opened: OpenSet) -> Iterator[Fault]:
    """Files that belong to no shard of the plan. A tar without a manifest is unfinished and will be replaced."""
    known = {path.name for shard in range(opened.plan.shards) for path in (folder.tar(shard), folder.manifest(shard))}
    waiting = {path.name for path in strays((folder.shards,))}
    if folder.shards.is_dir():
        for path in sorted(folder.shards.iterdir()):
            if path.name not in known | waiting:
                yield Fault("foreign", f"{path} belongs to no shard of this plan; remove it.")


def _mixed_models(models: Counter[tuple[str, str]]) -> list[Fault]:
    files = {words for words, _ in models}
    if len(files) < 2:
        return []
    return [Fault("mixed", f"The shards were drawn by {len(files)} different sets of model files.")]


def _notes(models: Counter[tuple[str, str]]) -> tuple[str, ...]:
    kinds: Counter[str] = Counter()
    for (_, settings), count in models.items():
        made: dict[str, Any] = json.loads(settings)
        kinds[f"{made.get('device')} in {made.get('dtype')}"] += count
    if len(kinds) < 2:
        return ()
    told = ", ".join(f"{count} on {kind}" for kind, count in sorted(kinds.items()))
    return (f"Shards were drawn on several kinds of device ({told}); their last digits round differently.",)


def _repair(folder: DatasetFolder, faults: Sequence[Fault]) -> tuple[str, ...]:
    """The manifest goes first: without it a shard is not there, whatever becomes of its tar."""
    removed: list[str] = []
    for shard in sorted({fault.shard for fault in faults if fault.shard is not None}):
        for path in (folder.manifest(shard), folder.tar(shard)):
            try:
                if path.exists():
                    path.unlink()
                    removed.append(str(path))
            except OSError as error:
                raise StorageError(f"{path} cannot be removed ({error.strerror or error}).") from error
    return (*removed, *(str(path) for path in sweep_folder(folder)))
