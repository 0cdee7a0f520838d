"""`arc2face pose`: the person in a given head pose, or turning."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli import console
from app.cli.options import (
    AsJson,
    Count,
    Device,
    Dtype,
    Fast,
    Guidance,
    IdentityFile,
    KeepBest,
    Models,
    NoScore,
    OptionalPhotos,
    Output,
    Picks,
    Scheduler,
    Seed,
    Size,
    Steps,
    Vram,
)
from app.cli.pose_options import (
    End,
    MapIn,
    Pitch,
    PoseChoice,
    PoseFace,
    PosePhoto,
    Roll,
    Start,
    Strength,
    Yaw,
    condition_of,
    find_pose,
)
from app.cli.session import (
    ModelChoice,
    Settings,
    find_person,
    generate,
    open_engine,
    save,
    save_picture,
    say_rows,
    unused,
)
from arc2face.errors import SettingsError

if TYPE_CHECKING:
    from arc2face.engine import Engine
    from arc2face.types import IdentityEmbedding

HELP = "The same person with another head pose: as in a photo, by angles, from a normal map, or as a turntable."

MapOut = Annotated[
    Path | None,
    typer.Option("--save-normal-map", help="Save the normal map (PNG).", rich_help_panel="Answer", show_default=False),
]
MapOnly = Annotated[bool, typer.Option("--map-only", help="Make the normal map and stop.", rich_help_panel="Answer")]
Turntable = Annotated[
    int | None,
    typer.Option(
        help="One picture per angle, n angles from left to right (--yaw: how far, 60), with a contact sheet and an "
        "animation.",
        rich_help_panel="The pose",
        show_default=False,
    ),
]


def run(
    photos: OptionalPhotos = None,
    identity: IdentityFile = None,
    face: Picks = None,
    pose_photo: PosePhoto = None,
    pose_face: PoseFace = None,
    yaw: Yaw = None,
    pitch: Pitch = None,
    roll: Roll = None,
    normal_map: MapIn = None,
    turntable: Turntable = None,
    pose_strength: Strength = 1.0,
    pose_start: Start = 0.0,
    pose_end: End = 1.0,
    count: Count = 4,
    seed: Seed = None,
    steps: Steps = None,
    guidance: Guidance = None,
    fast: Fast = False,
    scheduler: Scheduler = "dpm++",
    size: Size = None,
    keep_best: KeepBest = 0,
    no_score: NoScore = False,
    output: Output = Path("outputs"),
    save_normal_map: MapOut = None,
    map_only: MapOnly = False,
    as_json: AsJson = False,
    models: Models = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    vram: Vram = "resident",
) -> None:
    """Reads the pose, generates, saves and reports."""
    choice = PoseChoice(pose_photo, pose_face, yaw, pitch, roll, normal_map, pose_strength, pose_start, pose_end)
    settings = Settings(count, seed, steps, guidance, fast, scheduler, size, keep_best, not no_score).check()
    if not choice.given and turntable is None:
        raise SettingsError("Say which pose: --pose-photo, --yaw/--pitch/--roll, --normal-map or --turntable.")
    with open_engine(ModelChoice(models, device, dtype, vram)) as engine:
        anyone = map_only and choice.photo is None and turntable is None
        person = None if anyone else find_person(engine, photos, identity, face)
        if turntable is not None and person is not None:
            _tell(_turn(engine, person.identity, choice, turntable, settings, output), as_json)
            return
        pose = find_pose(engine, choice, person)
        target = save_normal_map or (unused(output / "normal-map.png") if map_only else None)
        saved = str(save_picture(pose.condition.normal_map, target)) if target is not None else None
        if map_only or person is None:
            _tell({"images": [], "normal_map": saved, "pose": pose.facts}, as_json)
            return
        from arc2face.types import GenerationRequest

        request = GenerationRequest(identity=person.identity, pose=pose.condition, **settings.fields())
        result = generate(engine, request)
        rows = save(result, output, "pose")
        facts = {"images": rows, "normal_map": saved, "pose": pose.facts, "person": person.summary()}
        _tell({**facts, "recipe": result.recipe, "seconds": result.seconds}, as_json)


def _turn(
    engine: Engine, identity: IdentityEmbedding, choice: PoseChoice, angles: int, settings: Settings, output: Path
) -> dict[str, Any]:
    """One seed, n angles; the sheet and the animation lie beside the pictures."""
    from arc2face.pictures.sheets import contact_sheet, save_animation
    from arc2face.pose.values import turntable_angles
    from arc2face.types import GenerationRequest

    if choice.photo is not None or choice.normal_map is not None:
        raise SettingsError("A turntable makes its own poses; leave out --pose-photo and --normal-map.")
    fields: dict[str, Any] = {**settings.fields(), "num_images": 1, "keep_best": 0}
    rows: list[dict[str, Any]] = []
    pictures: list[Any] = []
    turns = turntable_angles(angles, 60.0 if choice.yaw is None else abs(choice.yaw), choice.pitch or 0.0)
    for index, (yaw, pitch, roll) in enumerate(turns):
        pose = condition_of(choice, engine.normal_map(yaw, pitch, roll), {})
        request = GenerationRequest(identity=identity, pose=pose.condition, **fields)
        result = generate(engine, request, f"angle {index + 1} of {len(turns)}")
        rows += [row | {"yaw": yaw} for row in save(result, output, f"turn-{index + 1:02d}")]
        pictures.append(result.images[0].rgb_u8)
    sheet = save_picture(contact_sheet(pictures), unused(output / "turntable.png"))
    movie = save_animation(pictures, unused(output / "turntable.webp"))
    return {"images": rows, "sheet": str(sheet), "animation": str(movie)}


def _tell(facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        console.answer(facts)
        return
    say_rows(facts["images"])
    for name in ("normal_map", "sheet", "animation"):
        if facts.get(name):
            console.say(f"{facts[name]}  {name.replace('_', ' ')}")
