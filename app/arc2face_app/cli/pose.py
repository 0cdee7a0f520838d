"""`arc2face pose`: the person in a given head pose, or turning."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from arc2face.errors import SettingsError
from arc2face.settings import DEFAULT_IMAGES, DEFAULT_NEGATIVE_STRENGTH, DEFAULT_SCHEDULER, TURNTABLE_WIDEST
from arc2face_app.cli.options import (
    AsJson,
    Count,
    Decode,
    Device,
    Dtype,
    Enlarge,
    Fast,
    FastPath,
    Guidance,
    GuidanceEnd,
    GuidanceStart,
    IdentityFile,
    KeepBest,
    Models,
    NoScore,
    NotLike,
    NotLikeStrength,
    OptionalPhotos,
    Output,
    Picks,
    Scheduler,
    Seed,
    Size,
    Steps,
    Vram,
)
from arc2face_app.cli.output import check_file, check_folder, save, tell, unused
from arc2face_app.cli.pose_options import (
    End,
    MapIn,
    Pitch,
    PoseFace,
    PosePhoto,
    Roll,
    Start,
    Strength,
    Yaw,
    find_pose,
    pose_source,
)
from arc2face_app.cli.session import (
    ModelChoice,
    Settings,
    check_enlarge,
    find_negative,
    find_person,
    generate,
    generate_series,
    open_engine,
)

if TYPE_CHECKING:
    from arc2face.engine import Engine
    from arc2face.sources import PoseSource
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
        help=f"One picture per angle, n angles from left to right (--yaw: how far, {TURNTABLE_WIDEST:g}), with a "
        "contact sheet and an animation.",
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
    count: Count = DEFAULT_IMAGES,
    seed: Seed = None,
    steps: Steps = None,
    guidance: Guidance = None,
    fast: Fast = False,
    scheduler: Scheduler = DEFAULT_SCHEDULER,
    size: Size = None,
    decoder: Decode = "auto",
    guidance_start: GuidanceStart = 0.0,
    guidance_end: GuidanceEnd = 1.0,
    keep_best: KeepBest = 0,
    not_like: NotLike = None,
    not_like_strength: NotLikeStrength = DEFAULT_NEGATIVE_STRENGTH,
    no_score: NoScore = False,
    output: Output = Path("outputs"),
    enlarge: Enlarge = None,
    save_normal_map: MapOut = None,
    map_only: MapOnly = False,
    as_json: AsJson = False,
    models: Models = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    vram: Vram = "resident",
    fast_path: FastPath = "auto",
) -> None:
    """Reads the pose, generates, saves and reports."""
    from arc2face.pictures.saving import save_picture
    from arc2face.types import GenerationRequest

    if turntable is not None and (pose_photo is not None or normal_map is not None or roll):
        raise SettingsError("A turntable makes its own poses; leave out --pose-photo, --normal-map and --roll.")
    source = pose_source(pose_photo, pose_face, yaw, pitch, roll, normal_map, pose_strength, pose_start, pose_end)
    shortcuts = (decoder, guidance_start, guidance_end)
    chosen = Settings(count, seed, steps, guidance, fast, scheduler, size, keep_best, not no_score, *shortcuts)
    settings = chosen.fields()
    if not source.given and turntable is None:
        raise SettingsError("Say which pose: --pose-photo, --yaw/--pitch/--roll, --normal-map or --turntable.")
    output, save_normal_map = check_folder(output), check_file(save_normal_map, (".png",))
    enlarge = check_enlarge(enlarge)
    with open_engine(ModelChoice(models, device, dtype, vram, fast_path)) as engine:
        anyone = map_only and source.photo is None and turntable is None
        person = None if anyone else find_person(engine, photos, identity, face)
        settings["negative"] = find_negative(engine, not_like, not_like_strength)
        if turntable is not None and person is not None:
            tell(_turn(engine, person.identity, source, turntable, settings, output, enlarge), as_json)
            return
        posed = find_pose(engine, source, person)
        assert posed is not None
        target = save_normal_map or (unused(output / "normal-map.png") if map_only else None)
        saved = str(save_picture(posed.condition.normal_map, target)) if target is not None else None
        facts: dict[str, Any] = {"images": [], "normal_map": saved, "pose": posed.facts}
        if not map_only and person is not None:
            request = GenerationRequest(identity=person.identity, pose=posed.condition, **settings)
            result = generate(engine, request)
            facts |= {"images": save(result, output, "pose", enlarge=enlarge), "person": person.facts}
            facts |= {"recipe": result.recipe, "seconds": result.seconds}
        tell(facts, as_json)


def _turn(
    engine: Engine,
    identity: IdentityEmbedding,
    source: PoseSource,
    angles: int,
    settings: dict[str, Any],
    output: Path,
    enlarge: int | None,
) -> dict[str, Any]:
    """One seed, n angles; the sheet and the animation lie beside the pictures."""
    from arc2face.series import turntable
    from arc2face.types import GenerationRequest

    frames = turntable(
        engine,
        GenerationRequest(identity=identity, **settings),
        angles,
        TURNTABLE_WIDEST if source.yaw is None else abs(source.yaw),
        source.pitch or 0.0,
        strength=source.strength,
        start=source.start,
        end=source.end,
    )
    return generate_series(engine, frames, output, "turntable", "turn", enlarge)
