"""`arc2face draw-person`: a photo of somebody who does not exist, for those without one at hand."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Annotated

import typer

from arc2face_app.cli import console
from arc2face_app.cli.options import AsJson
from arc2face_app.cli.output import check_file

HELP = "Save a photo of somebody who does not exist, to start with."

Target = Annotated[Path, typer.Argument(help="Where to save it: a .png file.", show_default=False)]
Seed = Annotated[
    int | None, typer.Option(min=0, help="Which person; another one each time when left out.", show_default=False)
]


def run(target: Target, seed: Seed = None, as_json: AsJson = False) -> None:
    """Saves one of the pictures that come with the starter models."""
    from arc2face.faces.made_up import made_up_person
    from arc2face.pictures.saving import save_picture

    path = check_file(target, (".png",))
    assert path is not None  # given
    chosen = random.randrange(2**31) if seed is None else seed
    saved = save_picture(made_up_person(chosen), path)
    if as_json:
        console.answer({"path": str(saved), "seed": chosen})
    else:
        console.say(f"{saved} (seed {chosen})")
