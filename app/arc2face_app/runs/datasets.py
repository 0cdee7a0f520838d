"""A small data set of one visitor: planned, drawn with the page's own engine, looked at, exported as a zip.

The library (`arc2face.dataset`) does the work; here is what a page adds: limits, a folder that goes with the visitor, a
run that can be followed and stopped, and the pictures as files that a browser can show.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from arc2face.errors import Arc2FaceError, InputError, SettingsError
from arc2face.types import Progress
from arc2face.weights.writing import replace_with
from arc2face_app.runs import runner
from arc2face_app.runs.files import zip_files

if TYPE_CHECKING:
    from arc2face.dataset.identities import Identities
    from arc2face.dataset.plan import DatasetPlan
    from arc2face.dataset.schedule import Kind, Schedule, Wish
    from arc2face.engine import Engine
    from arc2face_app.runs.shell import Shell
    from arc2face_app.runs.tickets import Ticket

ABOVE, SEVERAL, NEW = "above", "several", "new"
Who = Literal["above", "several", "new"]
POSES: dict[str, tuple[float, float, float]] = {
    "Front": (0.0, 0.0, 0.0),
    "Left": (-30.0, 0.0, 0.0),
    "Right": (30.0, 0.0, 0.0),
    "Up": (0.0, -18.0, 0.0),
    "Down": (0.0, 18.0, 0.0),
}
"""Yaw, pitch and roll in degrees."""
MAX_PEOPLE, MAX_EACH, MAX_TOTAL = 64, 32, 512
"""People, pictures per person, and pictures of a set that a page draws; larger ones are for the command line."""
POOL = 24
"""Made-up people between whom new ones are sampled; with the starter models only, which know no others."""
NEAREST = 0.5
"""Largest cosine between two new people. The starter models' people all lie within a small part of the sphere."""
WHOLE = "set"
"""The export that is the set itself, for `arc2face dataset`."""
TOO_MANY = (
    f"A set on this page has at most {MAX_PEOPLE} people and {MAX_TOTAL} pictures. Larger ones: arc2face dataset plan"
)
NO_POOL = (
    "New people are drawn between given ones. Add at least four photos or saved identities under “Several people”."
)
NOBODY = "Add photos or saved identities, one for each person."


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a form asks for. `files`: photos and saved identities, one person each. `person`: the one above the tabs."""

    who: Who
    files: tuple[Path, ...] = ()
    count: int = 8
    pictures: int = 6
    poses: tuple[str, ...] = ()
    expressions: tuple[str, ...] = ()
    kind: Kind = "balanced"
    fast: bool = True
    seed: int = 0
    min_score: float | None = None
    person: Callable[[], Any] | None = None

    @property
    def people(self) -> int:
        """How many there will be."""
        return {ABOVE: 1, SEVERAL: len(self.files), NEW: self.count}[self.who]

    def check(self) -> None:
        """Raises SettingsError for more than a page draws, InputError where nobody was given."""
        if self.who == SEVERAL and not self.files:
            raise InputError(NOBODY)
        if self.people > MAX_PEOPLE or self.people * self.pictures > MAX_TOTAL:
            raise SettingsError(TOO_MANY)


@dataclass(frozen=True, slots=True)
class Tile:
    """One picture of a set. `score`: cosine to the asked person, None without a face."""

    key: str
    person: str
    file: str
    score: float | None
    shows: str


@dataclass(frozen=True, slots=True)
class DrawnSet:
    """A set that was drawn, whole or in part. `failed`: reasons of pictures that could not be had."""

    folder: Path
    tiles: tuple[Tile, ...]
    asked: int
    failed: tuple[str, ...] = ()
    stopped: bool = False
    seconds_each: float | None = field(default=None, compare=False)


def schedule_of(wanted: Wanted, root: Path | None) -> Schedule:
    """Poses and expressions of a form. Raises SettingsError."""
    from arc2face.dataset.catalogue import load_catalogue
    from arc2face.dataset.schedule import Pose, Schedule

    poses = tuple(Pose(name, *POSES[name]) for name in wanted.poses)
    return Schedule(wanted.kind, poses, expressions=load_catalogue(wanted.expressions, root))


def wishes_of(wanted: Wanted, root: Path | None) -> list[Wish]:
    """What the first person's pictures will show. Raises SettingsError."""
    from arc2face.dataset.schedule import wishes

    return wishes(schedule_of(wanted, root), wanted.seed, "somebody", wanted.pictures)


def bytes_needed(wanted: Wanted, side: int) -> int:
    """On the disk, at most."""
    from arc2face.dataset.planning import BYTES_PER_PIXEL, OVERHEAD_BYTES

    return int(wanted.people * wanted.pictures * (side * side * BYTES_PER_PIXEL["png"] + OVERHEAD_BYTES))


def shows(wish: Any) -> str:
    """Pose and expression of a wish, or of a row, in words."""
    return " · ".join(name for name in (wish.pose_name, wish.expression_name) if name)


def follow(shell: Shell, session: str, wanted: Wanted, lane: str) -> Iterator[Progress | DrawnSet]:
    """Plan and draw; yields progress and, last, the set. What is finished stays when it is stopped.

    Raises:
        Arc2FaceError: nothing could be drawn; CancelledError when it was stopped before a picture was finished.
    """
    from arc2face.dataset.packages import need
    from arc2face.dataset.planning import make_folder

    need("pyarrow")
    wanted.check()
    with shell.jobs.ticket(session, lane) as ticket:
        ticket.await_turn()
        engine = yield from runner.opened(shell, ticket)
        people = yield from _people(shell, session, engine, wanted, ticket)
        plan = _plan(engine, wanted, people)
        base = shell.files.new_run(session)
        folder = make_folder(plan, people, base / "set", side=engine.native_size).root
        ended: Arc2FaceError | None = None
        seconds: float | None = None
        try:
            seconds = yield from _drawn(engine, folder, plan, ticket)
        except Arc2FaceError as error:
            ended = error
        found = _looked_at(folder, base / "view", plan.total, stopped=ended is not None, seconds=seconds)
        if ended is not None and not found.tiles:
            raise ended
        yield found


def export_zip(drawn: DrawnSet, to: str, left_out: Collection[str], least: float | None, target: Path) -> Path:
    """A zip of the set in one format, or of the set itself.

    `left_out`: keys of pictures that do not go out. `least`: nor do less similar ones. Raises Arc2FaceError.
    """
    from arc2face.dataset.export import export

    if to == WHOLE:
        return _zipped(drawn.folder, target)
    export(
        drawn.folder, to, target.parent / to, exclude=tuple(left_out), min_similarity=least, partial=drawn.stopped,
        overwrite=True,
    )  # fmt: skip
    return _zipped(target.parent / to, target)


def _zipped(folder: Path, target: Path) -> Path:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return zip_files(files, target, folder)


def _plan(engine: Engine, wanted: Wanted, people: Identities) -> DatasetPlan:
    import torch

    from arc2face.dataset.plan import DatasetPlan, Drawing

    return DatasetPlan(
        people=len(people),
        identities_sha256=people.sha256,
        pictures=wanted.pictures,
        schedule=schedule_of(wanted, engine.models.root),
        drawing=Drawing(fast=wanted.fast),
        min_score=wanted.min_score,
        max_tries=1 if wanted.min_score is None else 4,
        per_shard=1,  # so that a person is seen as soon as they are finished
        threads=min(256, max(1, torch.get_num_threads())),
        seed=wanted.seed,
    )


def _people(
    shell: Shell, session: str, engine: Engine, wanted: Wanted, ticket: Ticket
) -> Generator[Progress, None, Identities]:
    from arc2face.dataset.identities import Identities
    from arc2face.dataset.who import new_people

    yield Progress("encoding", message="Reading the people")
    if wanted.who == ABOVE:
        assert wanted.person is not None
        return Identities.of([("person", wanted.person().identity, "photo")])
    if wanted.who == SEVERAL or len(wanted.files) >= 4:
        found = yield from _read(shell, session, engine, wanted.files, ticket)
    elif engine.models.kind == "starter":
        found = yield from _pool(engine, wanted.seed, ticket)
    else:
        raise InputError(NO_POOL)
    if wanted.who == SEVERAL:
        return found
    people, _ = new_people(found, wanted.count, seed=wanted.seed, max_cosine=NEAREST, max_source_cosine=0.9)
    return people


def _read(
    shell: Shell, session: str, engine: Engine, files: Sequence[Path], ticket: Ticket
) -> Generator[Progress, None, Identities]:
    """One person per file, named after it."""
    from arc2face.dataset.identities import Identities
    from arc2face.faces.identities import load_identity
    from arc2face.sources.person import recogniser_in_use

    people: list[tuple[str, Any, str]] = []
    names: set[str] = set()
    for number, path in enumerate(files, 1):
        ticket.check()
        yield Progress("encoding", number - 1, len(files), message=f"Reading person {number} of {len(files)}")
        name, again = path.stem[:80], 1
        while name in names:
            again += 1
            name = f"{path.stem[:80]}-{again}"
        names.add(name)
        if path.suffix.lower() in (".npz", ".npy"):
            identity, _ = load_identity(path, recogniser_in_use(engine))
        else:
            photo = shell.photos.get(session, str(path))
            photo.name = path.name
            identity = engine.perception.embed(photo, None)
        people.append((name, identity, path.name))
    return Identities.of(people)


def _pool(engine: Engine, seed: int, ticket: Ticket) -> Generator[Progress, None, Identities]:
    """People who do not exist either."""
    from arc2face.dataset.identities import Identities
    from arc2face.faces.made_up import made_up_people, made_up_person

    people: list[tuple[str, Any, str]] = []
    for number in range(min(POOL, made_up_people())):
        ticket.check()
        yield Progress("encoding", number, POOL, message="Looking for people who do not exist")
        identity = engine.perception.embed(made_up_person(seed * POOL + number), None)
        people.append((str(number), identity, "made up"))
    return Identities.of(people)


def _drawn(engine: Engine, folder: Path, plan: DatasetPlan, ticket: Ticket) -> Generator[Progress, None, float | None]:
    """Draws in a thread, since the library's run calls back; returns seconds per picture."""
    from arc2face.dataset.dispatch import RunDone, RunProgress
    from arc2face.dataset.running import EngineChoice, run

    told: queue.Queue[RunProgress | RunDone | BaseException] = queue.Queue()

    def work() -> None:
        try:
            told.put(run(folder, EngineChoice(), engine=engine, on_progress=told.put, stop=lambda: ticket.stopped))
        except BaseException as error:
            told.put(error)

    threading.Thread(target=work, name="studio", daemon=True).start()
    while True:
        event = told.get()
        if isinstance(event, RunDone):
            return event.seconds / plan.total if event.drawn == event.shards else None
        if isinstance(event, BaseException):
            raise event
        number = min(event.shards + 1, event.total)
        said = f"Drawing person {number} of {event.total}: {event.pictures} pictures so far"
        yield Progress("encoding", event.shards, event.total, seconds_left=event.seconds_left, message=said)


def _looked_at(folder: Path, view: Path, asked: int, *, stopped: bool, seconds: float | None) -> DrawnSet:
    """The finished pictures as files of their own."""
    from arc2face.dataset.folder import DatasetFolder

    place, tiles = DatasetFolder(folder), list[Tile]()
    view.mkdir(parents=True, exist_ok=True)
    for row, data in place.pictures():
        path = view / cast("str", row.file)
        with replace_with(path) as temporary:
            temporary.write_bytes(data)
        tiles.append(Tile(row.key, row.identity, str(path), row.similarity, shows(row)))
    failed = tuple(f"{row.identity}: {row.error}" for row in place.rows() if row.file is None and row.error)
    return DrawnSet(folder, tuple(tiles), asked, failed, stopped, seconds)
