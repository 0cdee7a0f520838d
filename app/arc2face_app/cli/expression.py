"""`arc2face expression`: the person with a given expression, as a new picture or kept in the photo's own look."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from arc2face.settings import (
    DEFAULT_IMAGES,
    DEFAULT_LOOK_STRENGTH,
    DEFAULT_NEGATIVE_STRENGTH,
    DEFAULT_SCHEDULER,
    LOOK_STRENGTH_RANGE,
    PASTE_MASKS,
    one_of,
    span,
)
from arc2face_app.cli import console
from arc2face_app.cli import expression_options as face_options
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
    Yaw,
    find_pose,
    pose_source,
)
from arc2face_app.cli.pose_options import Strength as PoseStrength
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
    from arc2face.settings import PasteMask
    from arc2face.sources import LookSource, Person
    from arc2face.types import Expression, GenerationResult

HELP = "The same person with another expression: as in a photo, from numbers, or from a preset."

_LOOK = "The photo's look"

KeepLook = Annotated[
    bool,
    typer.Option(
        "--keep-look", help="Keep look and background of the first photo (reference adapter).", rich_help_panel=_LOOK
    ),
]
LookStrength = Annotated[
    float,
    typer.Option(
        help=f"{span(LOOK_STRENGTH_RANGE)}; near 1 the photo is copied, its expression included.", rich_help_panel=_LOOK
    ),
]
PasteBack = Annotated[
    str | None,
    typer.Option(
        help=f"Blend each result into the full-size photo: {one_of(PASTE_MASKS)}. Needs --keep-look.",
        rich_help_panel=_LOOK,
        show_default=False,
    ),
]
SaveExpression = Annotated[
    Path | None, typer.Option(help="Save the expression (JSON).", rich_help_panel="Answer", show_default=False)
]
ReadOnly = Annotated[bool, typer.Option("--read-only", help="Only read the expression.", rich_help_panel="Answer")]
Strip = Annotated[
    int | None,
    typer.Option(
        help="One picture per amount, n amounts from neutral to --amplitude, with a contact sheet and an animation.",
        rich_help_panel="The expression",
        show_default=False,
    ),
]


def run(
    photos: OptionalPhotos = None,
    identity: IdentityFile = None,
    face: Picks = None,
    target: face_options.Targets = None,
    target_face: face_options.TargetFaces = None,
    blend: face_options.Blend = 0.5,
    expression: face_options.ExpressionFile = None,
    preset: face_options.Preset = None,
    amplitude: face_options.Amplitude = 1.0,
    left_eyelid: face_options.LeftEyelid = None,
    right_eyelid: face_options.RightEyelid = None,
    jaw_open: face_options.JawOpen = None,
    jaw_side: face_options.JawSide = None,
    jaw_roll: face_options.JawRoll = None,
    eyes_from: face_options.EyesFrom = None,
    brows_from: face_options.BrowsFrom = None,
    mouth_from: face_options.MouthFrom = None,
    strength: face_options.Strength = 1.0,
    strip: Strip = None,
    keep_look: KeepLook = False,
    look_strength: LookStrength = DEFAULT_LOOK_STRENGTH,
    paste_back: PasteBack = None,
    pose_photo: PosePhoto = None,
    pose_face: PoseFace = None,
    yaw: Yaw = None,
    pitch: Pitch = None,
    roll: Roll = None,
    normal_map: MapIn = None,
    pose_strength: PoseStrength = 1.0,
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
    save_expression: SaveExpression = None,
    read_only: ReadOnly = False,
    as_json: AsJson = False,
    models: Models = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    vram: Vram = "resident",
    fast_path: FastPath = "auto",
) -> None:
    """Reads or builds the expression, generates, saves and reports."""
    from arc2face.series import expression_strip
    from arc2face.sources import LookSource, find_expression, find_look, mix_expressions
    from arc2face.types import ExpressionCondition, GenerationRequest

    if preset == "list":
        _list_presets(models, as_json)
        return
    source = face_options.expression_source(
        target or (),
        target_face or (),
        blend,
        expression,
        preset,
        amplitude,
        (left_eyelid, right_eyelid),
        (jaw_open, jaw_side, jaw_roll),
    )
    shortcuts = (decoder, guidance_start, guidance_end)
    chosen = Settings(count, seed, steps, guidance, fast, scheduler, size, keep_best, not no_score, *shortcuts)
    settings = chosen.fields()
    look = LookSource(keep=keep_look, strength=look_strength, paste=cast("PasteMask | None", paste_back)).check()
    pose = pose_source(pose_photo, pose_face, yaw, pitch, roll, normal_map, pose_strength, pose_start, pose_end)
    output, save_expression = check_folder(output), check_file(save_expression, (".json",))
    enlarge = check_enlarge(enlarge)
    with open_engine(ModelChoice(models, device, dtype, vram, fast_path)) as engine:
        found = find_expression(engine, source)
        regions = {"eyes": eyes_from, "brows": brows_from, "mouth": mouth_from}
        mixed = {region: text for region, text in regions.items() if text}
        if mixed:
            parts = {name: face_options.source_named(text) for name, text in mixed.items()}
            found = mix_expressions(engine, found, parts).expression
        facts: dict[str, Any] = {"source": face_options.source_words(source), "amplitude": amplitude, "mixed": mixed}
        facts |= {"values": [float(value) for value in found.values], "saved": _save(save_expression, found)}
        if read_only:
            _tell({"images": [], "expression": facts}, as_json)
            return
        person = find_person(engine, photos, identity, face)
        settings["negative"] = find_negative(engine, not_like, not_like_strength)
        posed = find_pose(engine, pose, person)
        request = GenerationRequest(
            identity=person.identity,
            expression=ExpressionCondition(found, strength),
            reference=find_look(engine, look, person),
            pose=posed.condition if posed is not None else None,
            **settings,
        )
        if strip is not None:
            frames = expression_strip(request, found, strip, strength=strength)
            made = generate_series(engine, frames, output, "strip", "strip", enlarge)
            _tell({**made, "expression": facts}, as_json)
            return
        result = generate(engine, request)
        rows = save(result, output, "expression", enlarge=enlarge)
        pasted = _paste(engine, person, result, look, output)
        answer = {"images": rows, "pasted": pasted, "expression": facts, "person": person.facts}
        _tell({**answer, "recipe": result.recipe, "seconds": result.seconds}, as_json)


def _paste(engine: Engine, person: Person, result: GenerationResult, look: LookSource, output: Path) -> list[str]:
    """The results blended into the original photo, one file each, with their recipes."""
    from arc2face.pictures.recipes import save_png
    from arc2face.sources import paste_all

    if look.paste is None:
        return []
    whole = paste_all(engine, person, [image.rgb_u8 for image in result.images], look.paste)
    return [
        str(save_png(replace(image, rgb_u8=pasted), result, unused(output / f"pasted-{image.seed}.png")))
        for image, pasted in zip(result.images, whole, strict=True)
    ]


def _save(path: Path | None, expression: Expression) -> str | None:
    if path is None:
        return None
    from arc2face.expression.values import save_expression

    return str(save_expression(path, expression))


def _list_presets(models: Path | None, as_json: bool) -> None:
    names = face_options.preset_names(models)
    if as_json:
        console.answer({"presets": names})
    else:
        console.say("\n".join(names))


def _tell(facts: dict[str, Any], as_json: bool) -> None:
    tell(facts, as_json)
    if as_json:
        return
    if facts["expression"]["saved"]:
        console.say(f"{facts['expression']['saved']}  expression")
    if not facts["images"]:
        values = facts["expression"]["values"]
        console.say(
            f"eyelids {values[50]:.2f} {values[51]:.2f}  jaw {values[52]:.2f} {values[53]:.2f} {values[54]:.2f}"
        )
