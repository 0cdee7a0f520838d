"""`arc2face dataset`: plan a data set of people, draw it anywhere, see how far it is, check it, report, export."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import typer

from arc2face.errors import CancelledError, SettingsError
from arc2face.settings import DEFAULT_LOOK_STRENGTH, DEFAULT_NEGATIVE_STRENGTH, DEFAULT_SCHEDULER
from arc2face_app.cli import console
from arc2face_app.cli import dataset_options as options
from arc2face_app.cli import dataset_results as results
from arc2face_app.cli.options import (
    AsJson,
    Decode,
    Device,
    Dtype,
    Fast,
    FastPath,
    Guidance,
    GuidanceEnd,
    GuidanceStart,
    Models,
    NotLike,
    NotLikeStrength,
    Scheduler,
    Size,
    Steps,
    Vram,
    parse_size,
)

if TYPE_CHECKING:
    from arc2face.dataset.dispatch import RunDone, RunProgress

HELP = "Data sets of people: planned, drawn on one machine or many, verified, reported and exported."
app = typer.Typer(no_args_is_help=True, help=HELP)
LINE_SECONDS = 30.0
"""How often a run tells how far it is where nobody watches a bar."""


@app.command("plan", help="Plan a data set: who, which pictures, how. Nothing is drawn yet.")
def plan(
    who: options.Who,
    output: options.NewFolder,
    sample: options.Sample = None,
    max_cosine: options.MaxCosine = 0.3,
    skip_unreadable: options.SkipUnreadable = False,
    person_column: options.Column = None,
    pictures: options.Pictures = 4,
    yaw: options.Yaw = None,
    pitch: options.Pitch = None,
    roll: options.Roll = None,
    expression: options.Expressions = None,
    schedule: options.ScheduleKind = "balanced",
    pose_strength: options.PoseStrength = 1.0,
    strength: options.ExpressionStrength = 1.0,
    look: options.LookOf = None,
    look_strength: options.LookStrengthOf = DEFAULT_LOOK_STRENGTH,
    not_like: NotLike = None,
    not_like_strength: NotLikeStrength = DEFAULT_NEGATIVE_STRENGTH,
    fast: Fast = False,
    steps: Steps = None,
    guidance: Guidance = None,
    scheduler: Scheduler = DEFAULT_SCHEDULER,
    size: Size = None,
    decoder: Decode = "exact",
    guidance_start: GuidanceStart = 0.0,
    guidance_end: GuidanceEnd = 1.0,
    min_score: options.MinScore = None,
    tries: options.Tries = None,
    keep_best: options.KeepBestOfPerson = 0,
    seed: options.PlanSeed = 0,
    format_: options.Format = "png",
    quality: options.Quality = 95,
    per_shard: options.PerShard = None,
    batch: options.Batch = 4,
    threads: options.Threads = 1,
    measure: options.Measure = False,
    as_json: AsJson = False,
    models: Models = None,
    device: Device = "auto",
) -> None:
    """Checks everything, writes the folder, and says what it will take."""
    from arc2face.dataset.plan import Drawing
    from arc2face_app.cli.dataset_plan import Asked, make

    height, width = parse_size(size)
    drawing = Drawing(
        fast=fast,
        steps=steps,
        guidance_scale=guidance,
        scheduler=scheduler,
        height=height,
        width=width,
        decoder=cast("Any", decoder),
        guidance_start=guidance_start,
        guidance_end=guidance_end,
        pose_strength=pose_strength,
        expression_strength=strength,
    )
    asked = Asked(
        who=tuple(who),
        sample=sample,
        max_cosine=max_cosine,
        skip_unreadable=skip_unreadable,
        person_column=person_column,
        angles={"yaw": yaw, "pitch": pitch, "roll": roll},
        expressions=tuple(expression or ()),
        schedule=schedule,
        look=tuple(look or ()),
        look_strength=look_strength,
        not_like=not_like,
        not_like_strength=not_like_strength,
        fields={
            "pictures": pictures,
            "drawing": drawing,
            "min_score": min_score,
            "max_tries": tries or (1 if min_score is None else 4),
            "keep_best": keep_best,
            "seed": seed,
            "picture": format_,
            "quality": quality,
            "batch": batch,
            "threads": threads,
        },
        per_shard=per_shard,
    )
    _tell_plan(make(asked, output, models, device, measure), as_json)


@app.command("run", help="Draw what is not drawn yet. Stop it whenever you like: the same command goes on.")
def run(
    folder: options.Folder,
    shard: options.Shard = None,
    devices: options.Devices = None,
    ray: options.OnRay = None,
    workers: options.Workers = None,
    gpus_per_worker: options.WorkerGpus = None,
    judge: options.RunJudge = None,
    judge_order: options.JudgeOrder = "rgb",
    as_json: AsJson = False,
    models: Models = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    vram: Vram = "resident",
    fast_path: FastPath = "auto",
) -> None:
    """In this process, in one per device, or on a Ray cluster."""
    from arc2face import checks
    from arc2face.dataset.parts import device_of_rank, part_of
    from arc2face.dataset.running import EngineChoice
    from arc2face.dataset.running import run as run_here
    from arc2face.settings import SWITCHES, VRAM_POLICIES

    if ray is None and (workers is not None or gpus_per_worker is not None):
        raise SettingsError("--workers and --gpus-per-worker belong to --ray. On this machine use --devices.")
    if ray is not None and devices is not None:
        raise SettingsError("--devices starts processes here, --ray on a cluster; give one of them.")
    part = part_of(shard)
    choice = EngineChoice(
        None if models is None else str(models),
        device_of_rank(device),
        dtype,
        cast("Any", checks.choice("The VRAM policy", vram, VRAM_POLICIES)),
        cast("Any", checks.choice("The fast path", fast_path, SWITCHES)),
        None if judge is None else str(judge),
        judge_order,
    )
    choice.second()  # a file that is not there is said before any work
    with _watched(folder) as on_progress:
        if ray is not None:
            from arc2face.dataset.ray_running import run_on_ray

            with redirect_stdout(sys.stderr):  # Ray tells of dead workers on standard output
                done = run_on_ray(
                    folder,
                    choice,
                    address=ray,
                    workers=workers,
                    gpus_per_worker=gpus_per_worker,
                    part=part,
                    on_progress=on_progress,
                )
        else:
            done = run_here(folder, choice, devices=_devices(devices), part=part, on_progress=on_progress)
    _tell_run(done, folder, as_json)


@app.command("status", help="How far a data set is, from its files alone; works while others draw.")
def status(folder: options.Folder, as_json: AsJson = False) -> None:
    """Reads the footers of the manifests."""
    from arc2face.dataset.planning import gigabytes
    from arc2face.dataset.status import status as read

    found = read(folder)
    if as_json:
        console.answer(found.to_dict())
        return
    shards = f"{found.shards} of {found.shards_total} shards are finished"
    console.say(f"{shards}, {found.rows} of {found.pictures_total} pictures{_without(found)}")
    left = "" if found.seconds_left is None else f", about {_time(found.seconds_left)} left at the last hour's pace"
    console.say(f"{gigabytes(found.bytes)} on the disk, about {gigabytes(found.bytes_left)} to come{left}")
    if found.unfinished:
        console.say(f"{found.unfinished} files are being written, or were left by a writer that died")
    for text in found.unreadable:
        console.warn(text)


@app.command("verify", help="Check every picture against the manifests; --repair has the wrong shards drawn again.")
def verify(
    folder: options.Folder,
    repair: options.Repair = False,
    quick: options.Quick = False,
    as_json: AsJson = False,
) -> None:
    """Ends with 1 where something is wrong."""
    from arc2face.dataset.verify import verify as check

    with console.bars() as shown:
        task = shown.add_task("checking", total=None)
        found = check(
            folder,
            pixels=not quick,
            repair=repair,
            on_shard=lambda done, total: shown.update(task, completed=done, total=total),
        )
    if as_json:
        console.answer(found.to_dict())
    else:
        for fault in found.faults:
            console.say(f"{fault.kind}: {fault.text}")
        for path in found.removed:
            console.say(f"removed {path}")
        for text in found.notes:
            console.warn(text)
        console.say(f"{found.shards} of {found.shards_total} shards are right, {found.pictures} pictures")
        console.say(f"digest {found.digest}")
    if not found.sound:
        raise typer.Exit(1)


app.command("report", help=results.REPORT_HELP)(results.report)
app.command("export", help=results.EXPORT_HELP)(results.export)


@contextmanager
def _watched(folder: Path) -> Generator[Callable[[RunProgress], None]]:
    """Shows progress; whatever ends the run early gets a note that says what is kept."""
    last: list[RunProgress] = []
    told = time.monotonic()
    with ExitStack() as stack:
        shown = stack.enter_context(console.bars())
        task = shown.add_task("opening the models", total=None)

        def hear(progress: RunProgress) -> None:
            nonlocal told
            last[:] = [progress]
            words = f"{progress.pictures} pictures" + (f", {progress.failed} failed" if progress.failed else "")
            shown.update(task, description=words, completed=progress.shards, total=progress.total)
            if progress.note:
                console.warn(progress.note)
            if shown.disable and time.monotonic() - told > LINE_SECONDS:
                told = time.monotonic()
                left = "" if progress.seconds_left is None else f", about {_time(progress.seconds_left)} left"
                console.note(f"{progress.shards} of {progress.total} shards, {words}{left}")

        try:
            yield hear
        except BaseException as error:
            stopped: BaseException = error
            if isinstance(error, KeyboardInterrupt):
                stopped = CancelledError("Stopped as you asked.")
            if last:
                kept = f"{last[0].shards} of {last[0].total} shards are finished"
                console.add_note(stopped, f"{kept} and stay in {folder}; the same command goes on.")
            if stopped is error:
                raise
            raise stopped from None


def _tell_plan(facts: dict[str, Any], as_json: bool) -> None:
    for text in facts["warnings"]:
        console.warn(text)
    if as_json:
        console.answer(facts)
        return
    console.say(f"{facts['folder']}  {facts['people']} people, {facts['pictures']} pictures, {facts['shards']} shards")
    console.say(f"plan {facts['plan']}")
    console.say(f"about {facts['disk']} on the disk")
    if facts["seconds"] is not None:
        console.say(f"about {_time(facts['seconds'])} in one process here")
    console.say(f"next: arc2face dataset run {facts['folder']}")


def _tell_run(done: RunDone, folder: Path, as_json: bool) -> None:
    if as_json:
        console.answer({"folder": str(folder), **asdict(done)})
        return
    drawn = f"{done.drawn} of {done.shards} shards drawn now, in {_time(done.seconds)}"
    console.say(f"{done.pictures} pictures{_without(done)}; {drawn}")
    console.say(f"next: arc2face dataset verify {folder}")


def _without(found: Any) -> str:
    more = [f"{found.left_out} left out"] if found.left_out else []
    more += [f"{found.failed} failed"] if found.failed else []
    return f" ({', '.join(more)})" if more else ""


def _devices(text: str | None) -> Sequence[str]:
    if text is None:
        return ()
    parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        raise SettingsError(f"--devices is a list such as cuda:0,cuda:1 or cpu,cpu, not {text!r}.")
    return [f"cuda:{part}" if part.isdigit() else part for part in parts]


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
