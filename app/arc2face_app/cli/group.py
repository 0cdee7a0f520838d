"""`arc2face group`: several people in one photo, each with an expression of their own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from arc2face.errors import SettingsError
from arc2face.settings import DEFAULT_LOOK_STRENGTH, DEFAULT_SCHEDULER, PASTE_MASKS, one_of
from arc2face_app.cli import console
from arc2face_app.cli.expression import LookStrength
from arc2face_app.cli.expression_options import Strength, source_named
from arc2face_app.cli.options import (
    AsJson,
    Device,
    Dtype,
    Fast,
    Guidance,
    Models,
    NoScore,
    Output,
    Scheduler,
    Seed,
    Steps,
    Vram,
)
from arc2face_app.cli.output import check_folder, tell, unused
from arc2face_app.cli.session import ModelChoice, Settings, generate, open_engine

if TYPE_CHECKING:
    from arc2face.sources import Wish

HELP = "A photo of several people: each keeps who they are and gets an expression of their own, in one picture."

Photo = Annotated[Path, typer.Argument(help="A photo of several people.", show_default=False, metavar="PHOTO")]
Give = Annotated[
    list[str] | None,
    typer.Option(
        "--give",
        help="FACE=EXPRESSION, once per person. FACE: 1 is the best face; --list names them. EXPRESSION: a preset, a "
        "saved expression (.json) or a photo.",
        show_default=False,
    ),
]
Listing = Annotated[bool, typer.Option("--list", help="Only say where the faces are.")]
Mask = Annotated[str, typer.Option("--paste", help=f"What is blended back: {one_of(PASTE_MASKS)}.")]


def run(
    photo: Photo,
    give: Give = None,
    listing: Listing = False,
    strength: Strength = 1.0,
    look_strength: LookStrength = DEFAULT_LOOK_STRENGTH,
    paste: Mask = "face",
    seed: Seed = None,
    steps: Steps = None,
    guidance: Guidance = None,
    fast: Fast = False,
    scheduler: Scheduler = DEFAULT_SCHEDULER,
    no_score: NoScore = False,
    output: Output = Path("outputs"),
    as_json: AsJson = False,
    models: Models = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    vram: Vram = "resident",
) -> None:
    """Changes the faces one by one, pastes them back and saves one picture."""
    from arc2face import checks
    from arc2face.faces.photo import Photo as Opened
    from arc2face.pictures.recipes import save_png
    from arc2face.sources import group_requests, paste_group

    wishes = [_wish(text, strength) for text in give or ()]
    settings = Settings(1, seed, steps, guidance, fast, scheduler, None, 0, not no_score).fields()
    checks.choice("The paste-back mask", paste, PASTE_MASKS)
    if not listing:
        output = check_folder(output)
    with open_engine(ModelChoice(models, device, dtype, vram)) as engine:
        opened = Opened(photo, "the photo of several people")
        faces = [_facts(number, face) for number, face in enumerate(opened.faces(engine.faces), 1)]
        if listing:
            _list(faces, as_json)
            return
        requests = group_requests(engine, opened, wishes, settings, look=look_strength)
        results = [
            generate(engine, request, f"face {wish.face + 1}") for wish, request in zip(wishes, requests, strict=True)
        ]
        pictures = [result.images[0].rgb_u8 for result in results]
        whole = paste_group(engine, opened, [wish.face for wish in wishes], pictures, paste)
        target = unused(output / f"group-{results[0].images[0].seed}.png")
        save_png(replace(results[0].images[0], rgb_u8=whole), results[0], target)
        rows = [
            {
                "path": str(target),
                "face": wish.face + 1,
                "seed": result.images[0].seed,
                "similarity": result.images[0].similarity,
                "face_found": result.images[0].face_found,
            }
            for wish, result in zip(wishes, results, strict=True)
        ]
        tell({"images": rows, "faces": faces}, as_json)


def _wish(text: str, strength: float) -> Wish:
    """FACE=EXPRESSION. Raises SettingsError."""
    from arc2face.sources import Wish

    face, found, source = text.partition("=")
    if not found or not face.strip().isdigit() or int(face) < 1 or not source.strip():
        raise SettingsError(f"--give is written FACE=EXPRESSION, for example 1=Smile, not {text!r}.")
    return Wish(int(face) - 1, source_named(source.strip()), strength)


def _facts(number: int, face: Any) -> dict[str, Any]:
    return {"face": number, "box": [round(float(value), 1) for value in face.box], "score": round(float(face.score), 3)}


def _list(faces: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        console.answer({"faces": faces})
        return
    for face in faces:
        left, top, right, bottom = face["box"]
        console.say(f"face {face['face']}  from {left:.0f},{top:.0f} to {right:.0f},{bottom:.0f}")
