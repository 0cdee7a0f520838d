"""What the generating commands do alike: open the engine, find the person, run requests, save and report."""

from __future__ import annotations

import secrets
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from arc2face import checks
from arc2face.errors import CancelledError, SettingsError
from arc2face.settings import DEFAULT_IMAGES, DEFAULT_SCHEDULER, MAX_SEED, SWITCHES, VRAM_POLICIES, Switch, VramPolicy
from arc2face_app.cli import console
from arc2face_app.cli.options import parse_size
from arc2face_app.cli.output import Series, unused

if TYPE_CHECKING:
    from arc2face.engine import Engine
    from arc2face.jobs import Job
    from arc2face.series import Frame
    from arc2face.sources import Person
    from arc2face.types import GenerationRequest, GenerationResult, NegativeIdentity

__all__ = [
    "ModelChoice",
    "Settings",
    "check_enlarge",
    "find_negative",
    "find_person",
    "generate",
    "generate_series",
    "open_engine",
    "zero_based",
]


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """Which models run where."""

    models: Path | None
    device: str
    dtype: str
    vram: str
    fast_path: str = "auto"


@dataclass(frozen=True, slots=True)
class Settings:
    """Generation settings as the command line gives them; None means the usual value of the mode."""

    count: int = DEFAULT_IMAGES
    seed: int | None = None
    steps: int | None = None
    guidance: float | None = None
    fast: bool = False
    scheduler: str = DEFAULT_SCHEDULER
    size: str | None = None
    keep_best: int = 0
    score: bool = True
    decoder: str = "auto"
    guidance_start: float = 0.0
    guidance_end: float = 1.0

    def fields(self) -> dict[str, Any]:
        """As fields of GenerationRequest, checked before any model is opened. A missing seed is drawn here.

        Raises:
            SettingsError: the first setting that does not fit.
        """
        from arc2face.sources.settings import check_settings

        height, width = parse_size(self.size)
        return check_settings(
            num_images=self.count,
            seed=secrets.randbelow(MAX_SEED + 1) if self.seed is None else self.seed,
            steps=self.steps,
            guidance_scale=self.guidance,
            fast=self.fast,
            scheduler=self.scheduler,
            height=height,
            width=width,
            keep_best=self.keep_best,
            score=self.score,
            decoder=self.decoder,
            guidance_start=self.guidance_start,
            guidance_end=self.guidance_end,
        )


@contextmanager
def open_engine(choice: ModelChoice) -> Generator[Engine]:
    """An engine that is closed afterwards; says so when the models are not the real ones.

    Raises CancelledError, with the notes of what was kept, where Ctrl-C ends the body.
    """
    from arc2face.engine import Engine
    from arc2face.pictures.recipes import check_marks

    check_marks()
    vram = cast("VramPolicy", checks.choice("The VRAM policy", choice.vram, VRAM_POLICIES))
    fast_path = cast("Switch", checks.choice("The fast path", choice.fast_path, SWITCHES))
    engine = Engine.open(choice.models, device=choice.device, dtype=choice.dtype, vram=vram, fast_path=fast_path)
    if engine.models.kind == "tiny":
        console.warn("These are tiny random models: the pictures will be noise. Fetch real ones: arc2face download")
    elif engine.models.kind == "starter":
        console.warn("These are the small starter models, trained on synthetic faces. Full ones: arc2face download")
    try:
        yield engine
    except KeyboardInterrupt as interrupt:
        stopped = CancelledError("Stopped as you asked.")
        for text in console.notes_of(interrupt):
            console.add_note(stopped, text)
        raise stopped from None
    finally:
        engine.close()


def find_person(
    engine: Engine,
    photos: Sequence[Path] | None,
    identity: Path | None,
    picks: Sequence[int] | None = None,
    method: str = "mean",
    drop_outliers: bool = False,
) -> Person:
    """The person from photos or from a file; warnings are shown. Raises Arc2FaceError."""
    from arc2face import sources

    found = tuple(photos or ())
    person = sources.find_person(
        engine,
        found,
        picks=zero_based(picks, len(found)),
        identity_file=identity,
        method=method,
        drop_outliers=drop_outliers,
    )
    for text in person.warnings:
        console.warn(text)
    return person


def find_negative(engine: Engine, somebody: Path | None, strength: float) -> NegativeIdentity | None:
    """Whom the pictures should not look like, None for nobody. Raises Arc2FaceError."""
    from arc2face import sources

    return sources.find_negative(engine, somebody, strength)


def check_enlarge(factor: int | None) -> int | None:
    """`factor` if pictures can be enlarged so many times. Raises SettingsError before anything is computed."""
    if factor is None:
        return None
    from arc2face.pictures.enlarge import check_factor

    return check_factor(factor)


def zero_based(picks: Sequence[int] | None, photos: int) -> list[int | None] | None:
    """Faces as people count them (from 1) to places (from 0). Raises SettingsError for more faces than photos."""
    if not picks:
        return None
    if len(picks) > photos:
        raise SettingsError(f"--face is given {len(picks)} times for {photos} photos; give it at most once per photo.")
    return [pick - 1 for pick in picks]


def generate(engine: Engine, request: GenerationRequest, title: str = "") -> GenerationResult:
    """Runs one request with a progress bar. Ctrl-C cancels it within one step."""
    return next(_follow([engine.submit(request, previews=False)], [title]))


def generate_series(
    engine: Engine, frames: Sequence[Frame], folder: Path, stem: str, prefix: str, enlarge: int | None = None
) -> dict[str, Any]:
    """Runs a series that is queued at once; saves each picture when it is there, sheet and animation at the end.

    Returns facts for the answer. Whatever ends the series early, the pictures made until then are kept, and the error
    carries a note that says so.
    """
    from arc2face.series import save_series

    titles = [f"{frame.name} ({number} of {len(frames)})" for number, frame in enumerate(frames, 1)]
    series = Series(folder, prefix, enlarge)
    with series.kept(len(frames)):
        with closing(_follow([engine.submit(frame.request, previews=False) for frame in frames], titles)) as results:
            for frame, result in zip(frames, results, strict=True):
                series.add(result, frame.facts)
        sheet, animation = save_series(series.pictures, unused(folder / f"{stem}.png"), unused(folder / f"{stem}.webp"))
    return {"images": series.rows, "sheet": str(sheet), "animation": str(animation)}


def _follow(jobs: Sequence[Job], titles: Sequence[str]) -> Generator[GenerationResult]:
    """The results in order, each as soon as it is there. What is not finished is stopped when the caller leaves."""
    with console.bars() as shown:
        task = shown.add_task("waiting", total=None)
        try:
            for job, title in zip(jobs, titles, strict=True):
                for progress in job.events():
                    words = f"{title}: {progress.stage}" if title else progress.message or progress.stage
                    shown.update(task, description=words, completed=progress.step, total=progress.total or None)
                yield job.result()
        finally:
            for job in jobs:
                job.cancel()
