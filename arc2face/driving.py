"""A face that moves: expressions over time from a video or a blendshape recording, one picture per moment.

    seen = watch(engine, "clip.mp4", rate=8)
    frames = driven(base, seen)
    for shot in drive(engine, frames, "out"):
        print(shot.path)
    save_film(seen, [shot.path for shot in ...], "out/drive.webp")

All pictures have one seed, so that only the expression changes. What is finished stays in the folder; the same call
again goes on behind it. Gaze does not follow: it is not among an expression's 55 numbers.
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arc2face import checks
from arc2face.errors import NoFaceError, SettingsError, VideoError
from arc2face.expression.blendshapes import expressions_of, read_recording
from arc2face.expression.shapes import load_shapes
from arc2face.pictures.animation import save_animation
from arc2face.pictures.loading import load_rgb_u8
from arc2face.pictures.recipes import read_recipe, recipe_png, save_png
from arc2face.pictures.video import Sample, pictures_at, sample, timestamps
from arc2face.series import Frame, single
from arc2face.settings import DRIVE_MOST, DRIVE_RATE, DRIVE_RATE_RANGE, PasteMask
from arc2face.sources import Person, paste_all
from arc2face.types import Expression, ExpressionCondition, GenerationRequest, GenerationResult, ProgressCallback
from arc2face.weights.jsonfile import parse_json
from arc2face.weights.writing import replace_with

if TYPE_CHECKING:
    from arc2face.engine import Engine
    from arc2face.jobs import Job

LEDGER = "drive.json"
AHEAD = 2
"""Requests in the queue at once: the device never waits, and other people's requests come in between."""
NAMED = 6
"""Moments without a face that a message names."""


@dataclass(frozen=True, slots=True, eq=False)
class Moment:
    """`time`, `until`: seconds from the start of the recording. `expression`: from `time` to `until`."""

    time: float
    until: float
    expression: Expression


@dataclass(frozen=True, slots=True, eq=False)
class Performance:
    """Expressions over time. `rate`: pictures per second that were asked for. `warnings`: sentences for the user.

    `faceless`: seconds at which no face was seen; the expression before stays there.
    """

    moments: tuple[Moment, ...]
    rate: float
    faceless: tuple[float, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """From the first moment to the end of the last."""
        return self.moments[-1].until - self.moments[0].time

    @property
    def repeats(self) -> list[int]:
        """How many pictures of a film with `rate` a second each moment fills, at least one."""
        return [max(1, round((moment.until - moment.time) * self.rate)) for moment in self.moments]


@dataclass(frozen=True, slots=True, eq=False)
class Shot:
    """A finished picture on the disk. `result`: None when it was there already. `number`: from 1."""

    number: int
    frame: Frame
    path: Path
    result: GenerationResult | None


Watching = Generator[tuple[int, int], None, Performance]
"""Yields (frames read, frames to read); its value is the performance."""


def watch(
    engine: Engine,
    video: Path | str,
    rate: float = DRIVE_RATE,
    start: float = 0.0,
    end: float | None = None,
    *,
    most: int = DRIVE_MOST,
    on_progress: Callable[[int, int], None] | None = None,
) -> Performance:
    """The expressions of a face in a video, read frame by frame by SMIRK.

    Args:
        engine: reads the frames.
        video: a file (MP4, MOV, WebM, MKV, AVI or GIF); its timestamps count, so the rate may vary.
        rate: moments per second, 0.5 to 30; a frame that stays on screen longer is one moment.
        start: seconds at which to begin.
        end: seconds at which to end, None for the whole.
        most: refuse more moments than this.
        on_progress: hears frames read and frames to read; an error that it raises ends the reading.

    Raises:
        VideoError: no video, damaged, too long, or nothing between start and end.
        NoFaceError: no frame shows a face; names the moments.
        SettingsError, MissingWeightsError.
    """
    return _finished(watching(engine, Path(video), rate, start, end, most), on_progress)


def watching(engine: Engine, video: Path, rate: float, start: float, end: float | None, most: int) -> Watching:
    """As `watch`, one step per frame."""
    rate, start, end = check_piece(rate, start, end)
    video = video.expanduser()
    samples = sample(timestamps(video), rate, start, end)
    _check_count(len(samples), rate, most)
    seen: list[tuple[Sample, Expression]] = []
    faceless: list[float] = []
    yield 0, len(samples)
    pictures = pictures_at(video, [one.frame for one in samples])
    for number, (one, picture) in enumerate(zip(samples, pictures, strict=False), 1):
        try:
            seen.append((one, engine.read_expression(picture)))
        except NoFaceError:
            faceless.append(one.time)
        yield number, len(samples)
    if not seen:
        raise NoFaceError(
            f"No face was found in any of the {len(samples)} frames that were looked at ({_named(faceless)}). "
            "Choose a video that shows one face, large and from the front."
        )
    return Performance(_moments(seen, samples[-1].until), rate, tuple(faceless), _faceless(faceless, len(samples)))


def replay(
    engine: Engine,
    recording: Path | str,
    rate: float = DRIVE_RATE,
    start: float = 0.0,
    end: float | None = None,
    *,
    most: int = DRIVE_MOST,
    recorded_rate: float | None = None,
) -> Performance:
    """The expressions of a blendshape recording (CSV with ARKit's 52 names), copied number by number.

    Args:
        engine: its head model must know ARKit's shapes.
        recording: see `arc2face.expression.blendshapes.read_recording`.
        rate: as `watch`.
        start: as `watch`.
        end: as `watch`.
        most: as `watch`.
        recorded_rate: rows per second where the file does not say.

    Raises:
        ExpressionError: no such recording, or this head cannot show it exactly; says why.
        VideoError, SettingsError: as `watch`.
    """
    rate, start, end = check_piece(rate, start, end)
    if recorded_rate is not None:
        recorded_rate = checks.number("The recording's rate", recorded_rate, (1.0, 1000.0))
    found = read_recording(Path(recording).expanduser(), recorded_rate)
    expressions, left_out = expressions_of(found, load_shapes(engine.models.root))
    samples = sample(found.times, rate, start, end)
    _check_count(len(samples), rate, most)
    warnings = (f"No number stands for {', '.join(left_out)}; the pictures do not show them.",) if left_out else ()
    seen = [(one, expressions[one.frame]) for one in samples]
    return Performance(_moments(seen, samples[-1].until), rate, (), warnings)


def driven(base: GenerationRequest, performance: Performance, strength: float = 1.0) -> list[Frame]:
    """One request per moment, with one seed. Raises SettingsError."""
    one = single(base)
    return [
        Frame(
            f"{moment.time:.2f} s",
            one.with_(expression=ExpressionCondition(moment.expression, strength)),
            {"time": round(moment.time, 4)},
        )
        for moment in performance.moments
    ]


class Reel:
    """A folder of finished pictures that knows which request each was made from, so that a run can go on."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        """Raises StorageError when the folder cannot be made."""
        self._engine = engine
        self.folder = folder
        self._rows = self._read()

    def finished(self, number: int, request: GenerationRequest) -> Path | None:
        """The picture of frame `number` (from 1), if it is there, whole, and made from this very request."""
        row = self._rows.get(str(number))
        if row is None or row["request"] != mark(self._engine, request):
            return None
        path = self.folder / self._name(number)
        try:
            return path if hashlib.sha256(path.read_bytes()).hexdigest() == row["sha256"] else None
        except OSError:
            return None

    def add(self, number: int, result: GenerationResult) -> Path:
        """Save the picture of frame `number`. Raises StorageError."""
        path = self.folder / self._name(number)
        save_png(result.images[0], result, path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        self._rows[str(number)] = {"request": mark(self._engine, result.request), "sha256": digest}
        with replace_with(self.folder / LEDGER) as temporary:
            temporary.write_text(json.dumps({"format": "arc2face-drive", "frames": self._rows}), encoding="utf-8")
        return path

    def _name(self, number: int) -> str:
        return f"frame-{number:04d}.png"

    def _read(self) -> dict[str, dict[str, str]]:
        """What an earlier run noted; a ledger that cannot be read counts for nothing, and its pictures are redone."""
        try:
            content: Any = parse_json((self.folder / LEDGER).read_bytes(), max_bytes=1 << 22)
            return {
                str(number): {"request": str(row["request"]), "sha256": str(row["sha256"])}
                for number, row in content["frames"].items()
            }
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return {}


def mark(engine: Engine, request: GenerationRequest) -> str:
    """A hash of everything that decides a picture: the request, and the model files behind it."""
    digest = hashlib.sha256()
    fields = ("seed", "steps", "guidance_scale", "fast", "scheduler", "height", "width")
    digest.update(repr([(name, getattr(request, name)) for name in fields]).encode())
    digest.update(request.identity.vector.tobytes())
    for part, array in (("expression", "expression"), ("reference", "image"), ("pose", "normal_map")):
        condition: Any = getattr(request, part)
        if condition is not None:
            values = condition.expression.values if part == "expression" else getattr(condition, array)
            acting = [getattr(condition, name, None) for name in ("strength", "start", "end")]
            digest.update(repr((part, values.shape, acting)).encode() + values.tobytes())
    registry = engine.registry
    for name in ("unet", "text_encoder", "vae", *registry.wanted(request)):
        source = registry.source(name)
        stat = source.stat() if source is not None else None
        digest.update(repr((name, str(source), stat and (stat.st_size, stat.st_mtime_ns))).encode())
    return digest.hexdigest()


def drive(
    engine: Engine, frames: Sequence[Frame], folder: Path | str, on_progress: ProgressCallback | None = None
) -> Generator[Shot]:
    """Make the frames one after the other; yields each once it lies in `folder`.

    What an earlier call finished there is not made again. Closing the iterator stops the run within a step; what is
    finished stays. Raises Arc2FaceError.
    """
    reel = Reel(engine, Path(folder).expanduser())
    open_jobs: deque[tuple[int, Job]] = deque()
    numbers = iter(range(1, len(frames) + 1))
    done = [reel.finished(k + 1, frame.request) for k, frame in enumerate(frames)]

    def submit() -> None:
        while len(open_jobs) < AHEAD and (number := next(numbers, None)) is not None:
            if done[number - 1] is None:
                open_jobs.append((number, engine.submit(frames[number - 1].request)))

    try:
        submit()
        for number, frame in enumerate(frames, 1):
            there = done[number - 1]
            if there is not None:
                yield Shot(number, frame, there, None)
                continue
            result = _awaited(open_jobs[0][1], on_progress)
            open_jobs.popleft()
            submit()
            yield Shot(number, frame, reel.add(number, result), result)
    finally:
        for _, job in open_jobs:
            job.cancel()


def paste_shot(engine: Engine, person: Person, shot: Shot, mask: PasteMask | str) -> Path:
    """The picture blended into the person's full photo, beside it, with its recipe; made once.

    Raises InputError (there is no photo), SettingsError (unknown mask) or StorageError.
    """
    target = shot.path.with_name(f"{mask}-{shot.path.name}")
    if shot.result is None and target.is_file() and target.stat().st_mtime_ns >= shot.path.stat().st_mtime_ns:
        return target
    (whole,) = paste_all(engine, person, [load_rgb_u8(shot.path)], mask)
    data = recipe_png(whole, read_recipe(shot.path))
    with replace_with(target) as temporary:
        temporary.write_bytes(data)
    return target


def save_film(performance: Performance, pictures: Sequence[Path], path: Path) -> Path:
    """The pictures as a film with the recording's timing (WebP or GIF by the suffix). Raises StorageError, ImageError.

    `pictures`: one per moment; fewer end the film early.
    """
    shown = [
        picture
        for source, count in zip(pictures, performance.repeats, strict=False)
        for picture in [load_rgb_u8(source)] * count
    ]
    return save_animation(shown, path, round(1000 / performance.rate), bounce=False)


def check_piece(rate: float, start: float, end: float | None) -> tuple[float, float, float | None]:
    """Rate, start and end, checked. Raises SettingsError."""
    rate = checks.number("The number of pictures per second", rate, DRIVE_RATE_RANGE)
    start = checks.number("The start in seconds", start, (0.0, 36_000.0))
    if end is not None:
        end = checks.number("The end in seconds", end, (0.0, 36_000.0))
        if end <= start:
            raise SettingsError(f"The end must come after the start, not {end:g} s after {start:g} s.")
    return rate, start, end


def _check_count(count: int, rate: float, most: int) -> None:
    if count > most:
        raise VideoError(
            f"That would be {count} pictures; at most {most} are made in one go. Take a shorter piece (start and end; "
            f"{most / rate:.0f} s at this rate), or fewer pictures per second."
        )


def _finished(steps: Watching, on_progress: Callable[[int, int], None] | None) -> Performance:
    while True:
        try:
            read, total = next(steps)
        except StopIteration as stop:
            return stop.value
        if on_progress is not None:
            on_progress(read, total)


def _moments(seen: Sequence[tuple[Sample, Expression]], end: float) -> tuple[Moment, ...]:
    """An expression lasts until the next one that was seen."""
    ends = [one.time for one, _ in seen[1:]] + [end]
    return tuple(Moment(one.time, until, found) for (one, found), until in zip(seen, ends, strict=True))


def _faceless(times: Sequence[float], looked_at: int) -> tuple[str, ...]:
    if not times:
        return ()
    frames = "frame" if len(times) == 1 else "frames"
    return (f"No face in {len(times)} of {looked_at} {frames} ({_named(times)}); the expression before stays there.",)


def _named(times: Sequence[float]) -> str:
    named = ", ".join(f"{moment:.2f} s" for moment in times[:NAMED])
    return f"at {named}" + (f" and {len(times) - NAMED} more" if len(times) > NAMED else "")


def _awaited(job: Job, on_progress: ProgressCallback | None) -> GenerationResult:
    for progress in job.events():
        if on_progress is not None:
            on_progress(progress)
    return job.result()
