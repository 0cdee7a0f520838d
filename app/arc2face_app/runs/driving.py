"""A driven run of one visitor: pictures come one by one, stay when it is stopped, and are not made again."""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from arc2face.driving import AHEAD, Performance, Reel, Shot, mark, save_film, watching
from arc2face.errors import CancelledError
from arc2face.pictures.animation import save_animation
from arc2face.pictures.loading import load_rgb_u8
from arc2face.series import Frame
from arc2face.types import Progress
from arc2face.weights.jsonfile import parse_json
from arc2face.weights.writing import replace_with
from arc2face_app.runs import runner
from arc2face_app.runs.pictures import Picture
from arc2face_app.runs.shell import Shell
from arc2face_app.runs.tickets import Ticket

if TYPE_CHECKING:
    from arc2face.engine import Engine

TIMING = "film.json"
"""Beside the pictures of a film: how long each is shown."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Take:
    """One film to be made: what moves, and one request per moment."""

    performance: Performance
    frames: tuple[Frame, ...]


Takes = Generator[Progress, None, Take]
"""Reads what moves; yields progress, its value is the film to be made."""


def follow(shell: Shell, session: str, take: Callable[[Engine], Takes], lane: str) -> Iterator[Progress | Take | Shot]:
    """Make a film; yields progress, the take once it is known, and each picture as soon as it is saved.

    Pictures that an earlier run of this visitor finished for the same film are not made again. Everything is stopped
    when the iterator is closed or the session's tickets are cancelled; what is finished stays.

    Raises:
        Arc2FaceError: as `runner.follow`.
    """
    with shell.jobs.ticket(session, lane) as ticket:
        ticket.await_turn()
        try:
            engine = yield from runner.opened(shell, ticket)
            found = yield from _checked(take(engine), ticket)
            yield found
            folder = shell.files.named_run(session, _name(engine, found))
            yield from _made(engine, ticket, found.frames, Reel(engine, folder))
        except CancelledError as error:
            raise runner.ReplacedError(str(error)) if ticket.replaced else error from None


def watched(
    engine: Engine, video: Path, rate: float, start: float, end: float | None, most: int
) -> Generator[Progress, None, Performance]:
    """The expressions of a video, with progress."""
    steps = watching(engine, video, rate, start, end, most)
    yield Progress("encoding", message="Opening the video")
    while True:
        try:
            done, total = next(steps)
        except StopIteration as stop:
            return stop.value
        yield Progress("encoding", done, total, message=f"Reading the expression: frame {done} of {total}")


def picture_of(shot: Shot) -> Picture:
    """A finished picture as results show it; the score of one that was there already is in its file."""
    from arc2face.pictures.recipes import read_recipe

    if shot.result is not None:
        image = shot.result.images[0]
        score, found = image.similarity, image.face_found
    else:
        known = read_recipe(shot.path).get("similarity")
        score, found = known if isinstance(known, float) else None, None
    seed = shot.frame.request.seed
    return Picture(str(shot.path), seed, score, found, shot.frame.name, size=size_of(shot.path))


def size_of(path: Path) -> tuple[int, int]:
    """Width and height of a picture made here, from its first bytes."""
    with Image.open(path) as opened:
        return opened.size


def film_as(pictures: Sequence[str], kind: str) -> Path | None:
    """A film of another kind with the same timing; None where the pictures are no film. Raises StorageError."""
    paths = [Path(picture) for picture in pictures]
    try:
        timing: Any = parse_json(paths[0].with_name(TIMING).read_bytes(), max_bytes=1 << 16)
    except (OSError, ValueError):
        return None
    target = paths[0].with_name(f"{paths[0].stem}-{len(paths)}.{kind}")
    if target.is_file():
        return target
    shown = [
        frame
        for path, count in zip(paths, timing["repeats"], strict=False)
        for frame in [load_rgb_u8(path)] * int(count)
    ]
    return save_animation(shown, target, int(timing["milliseconds"]), bounce=False)


def save_film_of(take: Take, pictures: Sequence[str]) -> Path:
    """The pictures of a take as a film beside them; fewer pictures make the beginning. Raises StorageError."""
    paths, seen = [Path(picture) for picture in pictures], take.performance
    with replace_with(paths[0].with_name(TIMING)) as temporary:
        timing = {"milliseconds": round(1000 / seen.rate), "repeats": seen.repeats}
        temporary.write_text(json.dumps(timing), encoding="utf-8")
    return save_film(seen, paths, paths[0].with_name(f"{paths[0].stem}-{len(paths)}.webp"))


def _name(engine: Engine, take: Take) -> str:
    """The same for the same pictures at the same times, so that a run finds what an earlier one finished."""
    digest = hashlib.sha256()
    for frame in take.frames:
        digest.update(f"{frame.name} {mark(engine, frame.request)}".encode())
    return f"film-{digest.hexdigest()[:24]}"


def _checked(steps: Takes, ticket: Ticket) -> Takes:
    while True:
        ticket.check()
        try:
            event = next(steps)
        except StopIteration as stop:
            return stop.value
        yield event


def _made(engine: Engine, ticket: Ticket, frames: tuple[Frame, ...], reel: Reel) -> Iterator[Progress | Shot]:
    there = [reel.finished(number, frame.request) for number, frame in enumerate(frames, 1)]
    missing = iter([number for number, path in enumerate(there) if path is None])
    open_runs: deque[runner.Events] = deque()

    def submit() -> None:
        while len(open_runs) < AHEAD and (number := next(missing, None)) is not None:
            open_runs.extend(runner.computed(engine, [frames[number].request], ticket))

    submit()
    for number, frame in enumerate(frames):
        ticket.check()
        path = there[number]
        if path is not None:
            yield Shot(number + 1, frame, path, None)
            continue
        for event in runner.thinned(open_runs.popleft()):
            if isinstance(event, Progress):
                yield runner.overall(event, number, len(frames))
            else:
                submit()
                yield Shot(number + 1, frame, reel.add(number + 1, event), event)
