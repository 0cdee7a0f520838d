"""`arc2face recipe`: how a picture was made."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from arc2face_app.cli import console
from arc2face_app.cli.options import AsJson

HELP = "Print the recipe that a PNG made here carries: settings, seed, model hashes, version."

Picture = Annotated[Path, typer.Argument(help="A PNG saved by this program.", show_default=False)]


def run(picture: Picture, as_json: AsJson = False) -> None:
    """Prints the recipe as JSON; `--json` is accepted because every command has it."""
    from arc2face.pictures.recipes import read_recipe

    console.answer(read_recipe(picture))
