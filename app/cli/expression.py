"""`arc2face expression`: the person with a given expression, as a new picture or kept in the photo's own look."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli import console
from app.cli import expression_options as face_options
from app.cli.expression_options import ExpressionChoice, find_expression, preset_names
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
    Steps,
    Vram,
)
from app.cli.pose_options import Pitch, PoseChoice, PosePhoto, Roll, Yaw, find_pose
from app.cli.session import (
    ModelChoice,
    Person,
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
    from arc2face.types import Expression, GenerationRequest, GenerationResult, ReferenceCondition

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
    typer.Option(help="0 to 1; near 1 the photo is copied, its expression included.", rich_help_panel=_LOOK),
]
PasteBack = Annotated[
    str | None,
    typer.Option(
        help="Blend each result into the full-size photo: face or head. Needs --keep-look.",
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
    strength: face_options.Strength = 1.0,
    strip: Strip = None,
    keep_look: KeepLook = False,
    look_strength: LookStrength = 0.8,
    paste_back: PasteBack = None,
    pose_photo: PosePhoto = None,
    yaw: Yaw = None,
    pitch: Pitch = None,
    roll: Roll = None,
    count: Count = 4,
    seed: Seed = None,
    steps: Steps = None,
    guidance: Guidance = None,
    fast: Fast = False,
    scheduler: Scheduler = "dpm++",
    keep_best: KeepBest = 0,
    no_score: NoScore = False,
    output: Output = Path("outputs"),
    save_expression: SaveExpression = None,
    read_only: ReadOnly = False,
    as_json: AsJson = False,
    models: Models = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    vram: Vram = "resident",
) -> None:
    """Reads or builds the expression, generates, saves and reports."""
    if preset == "list":
        _list_presets(models, as_json)
        return
    jaw, lids = (jaw_open, jaw_side, jaw_roll), (left_eyelid, right_eyelid)
    wanted = ExpressionChoice(target or (), target_face or (), blend, expression, preset, amplitude, lids, jaw)
    settings = Settings(count, seed, steps, guidance, fast, scheduler, None, keep_best, not no_score).check()
    pose = PoseChoice(pose_photo, None, yaw, pitch, roll)
    look = _Look(keep_look, look_strength, _mask(paste_back, keep_look))
    with open_engine(ModelChoice(models, device, dtype, vram)) as engine:
        found, facts = find_expression(engine, wanted)
        saved = _save_expression(save_expression, found)
        facts |= {"values": [float(value) for value in found.values], "saved": saved}
        if read_only:
            _tell({"images": [], "expression": facts}, as_json)
            return
        person = find_person(engine, photos, identity, face)
        if strip is not None:
            request = _request(engine, person, settings, found, strength, look, pose)
            _tell({**_strip(engine, request, strip, output), "expression": facts}, as_json)
            return
        result = generate(engine, _request(engine, person, settings, found, strength, look, pose))
        rows = save(result, output, "expression")
        pasted = _paste(engine, person, result, look, output)
        answer = {"images": rows, "pasted": pasted, "expression": facts, "person": person.summary()}
        _tell({**answer, "recipe": result.recipe, "seconds": result.seconds}, as_json)


class _Look:
    """Whether and how the photo's own look is kept. `mask`: face or head for pasting back, or None."""

    def __init__(self, keep: bool, strength: float, mask: Any) -> None:
        self.keep = keep
        self.strength = strength
        self.mask = mask

    def condition(self, engine: Engine, person: Person) -> ReferenceCondition | None:
        """The reference condition of the first photo, aligned."""
        from arc2face.types import ReferenceCondition

        if not self.keep:
            return None
        if not person.photos:
            raise SettingsError("--keep-look needs a photo of the person; a saved identity has no look.")
        return ReferenceCondition(engine.align(person.photos[0], person.pick), self.strength)


def _mask(text: str | None, keep_look: bool) -> str | None:
    if text is None:
        return None
    if text not in ("face", "head"):
        raise SettingsError(f"--paste-back takes face or head, not {text!r}.")
    if not keep_look:
        raise SettingsError("--paste-back needs --keep-look: only then does the result fit into the photo.")
    return text


def _request(
    engine: Engine,
    person: Person,
    settings: Settings,
    expression: Expression,
    strength: float,
    look: _Look,
    pose: PoseChoice,
) -> GenerationRequest:
    from arc2face.types import ExpressionCondition, GenerationRequest

    return GenerationRequest(
        identity=person.identity,
        expression=ExpressionCondition(expression, strength),
        reference=look.condition(engine, person),
        pose=find_pose(engine, pose, person).condition if pose.given else None,
        **settings.fields(),
    )


def _strip(engine: Engine, request: GenerationRequest, amounts: int, output: Path) -> dict[str, Any]:
    """One seed, n amounts from 0 to 1 of the expression; the sheet and the animation lie beside the pictures."""
    from arc2face.expression.values import amplify
    from arc2face.pictures.sheets import contact_sheet, save_animation
    from arc2face.types import ExpressionCondition

    if not 2 <= amounts <= 64:
        raise SettingsError(f"A strip has 2 to 64 pictures, not {amounts}.")
    assert request.expression is not None
    rows: list[dict[str, Any]] = []
    pictures: list[Any] = []
    for index in range(amounts):
        amount = index / (amounts - 1)
        part = ExpressionCondition(amplify(request.expression.expression, amount), request.expression.strength)
        result = generate(
            engine,
            request.with_(num_images=1, keep_best=0, expression=part),
            f"amount {index + 1} of {amounts}",
        )
        rows += [row | {"amount": amount} for row in save(result, output, f"strip-{index + 1:02d}")]
        pictures.append(result.images[0].rgb_u8)
    sheet = save_picture(contact_sheet(pictures), unused(output / "strip.png"))
    movie = save_animation(pictures, unused(output / "strip.webp"))
    return {"images": rows, "sheet": str(sheet), "animation": str(movie)}


def _paste(engine: Engine, person: Person, result: GenerationResult, look: _Look, output: Path) -> list[str]:
    """The results blended into the original photo, one file each."""
    if look.mask is None:
        return []
    from arc2face.faces.pasteback import paste_back

    photo = person.photos[0]
    points = engine.perception.landmarks(photo, person.pick)
    paths: list[str] = []
    for image in result.images:
        blended = paste_back(photo, image.rgb_u8, points, look.mask)
        paths.append(str(save_picture(blended, unused(output / f"pasted-{image.seed}.png"))))
    return paths


def _save_expression(path: Path | None, expression: Expression) -> str | None:
    if path is None:
        return None
    from arc2face.expression.values import save_expression

    return str(save_expression(path, expression))


def _list_presets(models: Path | None, as_json: bool) -> None:
    names = preset_names(models)
    if as_json:
        console.answer({"presets": names})
    else:
        console.say("\n".join(names))


def _tell(facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        console.answer(facts)
        return
    say_rows(facts["images"])
    for path in facts.get("pasted", ()):
        console.say(f"{path}  pasted back")
    for name in ("sheet", "animation"):
        if facts.get(name):
            console.say(f"{facts[name]}  {name}")
    if facts["expression"]["saved"]:
        console.say(f"{facts['expression']['saved']}  expression")
    if not facts["images"]:
        values = facts["expression"]["values"]
        console.say(
            f"eyelids {values[50]:.2f} {values[51]:.2f}  jaw {values[52]:.2f} {values[53]:.2f} {values[54]:.2f}"
        )
