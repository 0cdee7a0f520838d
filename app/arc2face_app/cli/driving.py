"""`arc2face drive`: the person moves as a face in a video, or in a blendshape recording, moves."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from arc2face.errors import SettingsError
from arc2face.settings import (
    ANIMATION_KINDS,
    DEFAULT_LOOK_STRENGTH,
    DEFAULT_SCHEDULER,
    DRIVE_MOST,
    DRIVE_RATE,
    DRIVE_RATE_RANGE,
    one_of,
    span,
)
from arc2face_app.cli import console
from arc2face_app.cli.expression import KeepLook, LookStrength, PasteBack
from arc2face_app.cli.expression_options import Strength
from arc2face_app.cli.options import (
    AsJson,
    Device,
    Dtype,
    Fast,
    Guidance,
    IdentityFile,
    Models,
    NoScore,
    OptionalPhotos,
    Output,
    Picks,
    Scheduler,
    Size,
    Steps,
    Vram,
)
from arc2face_app.cli.output import check_folder, tell
from arc2face_app.cli.session import ModelChoice, Settings, find_person, open_engine

if TYPE_CHECKING:
    from arc2face.driving import Performance, Shot
    from arc2face.engine import Engine
    from arc2face.series import Frame

HELP = (
    "A film of the person: the expression follows a face in a video, or a blendshape recording. What is "
    "finished stays, and the same command goes on behind it."
)
_PANEL = "The motion"

Video = Annotated[
    Path | None,
    typer.Option(
        "--video",
        help="Video of a face (MP4, MOV, WebM, MKV, AVI, GIF): its expression is read, not its gaze.",
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]
Blendshapes = Annotated[
    Path | None,
    typer.Option(
        help="Recording with ARKit's 52 names (CSV of Live Link Face or MediaPipe); where the head model knows them.",
        rich_help_panel=_PANEL,
        show_default=False,
    ),
]
RecordedRate = Annotated[
    float | None,
    typer.Option(help="Rows per second of a recording that does not say.", rich_help_panel=_PANEL, show_default=False),
]
Rate = Annotated[
    float,
    typer.Option(
        help=f"Pictures per second, {span(DRIVE_RATE_RANGE)}; at most {DRIVE_MOST} pictures.", rich_help_panel=_PANEL
    ),
]
Begin = Annotated[float, typer.Option("--start", help="Seconds at which to begin.", rich_help_panel=_PANEL)]
Finish = Annotated[
    float | None, typer.Option("--end", help="Seconds at which to end.", rich_help_panel=_PANEL, show_default=False)
]
Film = Annotated[str, typer.Option(help=f"Kind of film: {one_of(ANIMATION_KINDS)}.", rich_help_panel="Answer")]
OneSeed = Annotated[
    int, typer.Option("--seed", help="The one seed of all pictures.", rich_help_panel="Pictures", show_default=True)
]


def run(
    photos: OptionalPhotos = None,
    identity: IdentityFile = None,
    face: Picks = None,
    video: Video = None,
    blendshapes: Blendshapes = None,
    recorded_rate: RecordedRate = None,
    rate: Rate = DRIVE_RATE,
    start: Begin = 0.0,
    end: Finish = None,
    strength: Strength = 1.0,
    keep_look: KeepLook = False,
    look_strength: LookStrength = DEFAULT_LOOK_STRENGTH,
    paste_back: PasteBack = None,
    seed: OneSeed = 0,
    steps: Steps = None,
    guidance: Guidance = None,
    fast: Fast = False,
    scheduler: Scheduler = DEFAULT_SCHEDULER,
    size: Size = None,
    no_score: NoScore = False,
    output: Output = Path("outputs"),
    film: Film = "webp",
    as_json: AsJson = False,
    models: Models = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    vram: Vram = "resident",
) -> None:
    """Reads the motion, generates picture by picture, saves each at once, and makes the film."""
    from arc2face import checks
    from arc2face.driving import check_piece, driven, paste_shot, save_film
    from arc2face.sources import LookSource, find_look
    from arc2face.types import GenerationRequest

    if (video is None) == (blendshapes is None):
        raise SettingsError("Say what moves: --video with a face, or --blendshapes with a recording.")
    check_piece(rate, start, end)
    checks.choice("The kind of film", film, ANIMATION_KINDS)
    settings = Settings(1, seed, steps, guidance, fast, scheduler, size, 0, not no_score).fields()
    look = LookSource(keep=keep_look, strength=look_strength, paste=cast("Any", paste_back)).check()
    output = check_folder(output)
    with open_engine(ModelChoice(models, device, dtype, vram)) as engine:
        person = find_person(engine, photos, identity, face)
        seen = _performance(engine, video, blendshapes, rate, start, end, recorded_rate)
        base = GenerationRequest(identity=person.identity, reference=find_look(engine, look, person), **settings)
        shots = _make(engine, driven(base, seen, strength), output)
        pasted = [paste_shot(engine, person, shot, look.paste) for shot in shots] if look.paste is not None else []
        path = save_film(seen, pasted or [shot.path for shot in shots], output / f"drive.{film}")
        rows = [_row(shot) for shot in shots]
        motion = {"seconds": seen.seconds, "faceless": list(seen.faceless), "warnings": list(seen.warnings)}
        tell(
            {"images": rows, "pasted": [str(path) for path in pasted], "animation": str(path), "motion": motion},
            as_json,
        )


def _performance(
    engine: Engine,
    video: Path | None,
    blendshapes: Path | None,
    rate: float,
    start: float,
    end: float | None,
    recorded_rate: float | None,
) -> Performance:
    from arc2face.driving import replay, watch

    with console.bars() as shown:
        task = shown.add_task("reading the motion", total=None)

        def progress(done: int, total: int) -> None:
            shown.update(task, completed=done, total=total)

        if video is not None:
            seen = watch(engine, video, rate, start, end, on_progress=progress)
        else:
            seen = replay(engine, cast("Path", blendshapes), rate, start, end, recorded_rate=recorded_rate)
    for text in seen.warnings:
        console.warn(text)
    return seen


def _make(engine: Engine, frames: list[Frame], folder: Path) -> list[Shot]:
    """All pictures, each on the disk as soon as it is there; those of an earlier run are taken as they are."""
    from arc2face.driving import drive
    from arc2face.types import Progress

    shots: list[Shot] = []
    with console.bars() as shown, _kept(shots, len(frames), folder):
        task = shown.add_task("starting", total=len(frames))

        def progress(event: Progress) -> None:
            shown.update(task, description=f"{frames[len(shots)].name}: {event.stage}")

        with closing(drive(engine, frames, folder, progress)) as made:
            for shot in made:
                shots.append(shot)
                shown.update(task, completed=len(shots))
    there = sum(shot.result is None for shot in shots)
    if there:
        console.note(f"{there} of {len(shots)} pictures were there already.")
    return shots


@contextmanager
def _kept(shots: list[Shot], wanted: int, folder: Path) -> Generator[None]:
    try:
        yield
    except BaseException as error:
        text = f"{len(shots)} of {wanted} pictures are finished"
        more = f" and kept in {folder}; the same command goes on with the next." if shots else "."
        console.add_note(error, text + more)
        raise


def _row(shot: Shot) -> dict[str, Any]:
    image = shot.result.images[0] if shot.result is not None else None
    return {
        "path": str(shot.path),
        "seed": shot.frame.request.seed,
        "similarity": image.similarity if image is not None else None,
        "face_found": image.face_found if image is not None else None,
        "made": image is not None,
        **shot.frame.facts,
    }
