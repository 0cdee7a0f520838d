"""`arc2face provenance`: whether a picture says that a model made it, and whether it was changed since."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from arc2face_app.cli import console
from arc2face_app.cli.options import AsJson

HELP = "Check the Content Credentials (C2PA) of pictures: who signed, changed since or not; or look for the watermark."
WORDS = {
    "none": "no Content Credentials",
    "valid": "unchanged since it was saved",
    "trusted": "unchanged since it was saved; the signer is known to an authority",
    "invalid": "CHANGED since it was saved, or damaged",
}

Pictures = Annotated[list[Path], typer.Argument(help="PNG, JPEG or WebP files.", show_default=False, metavar="PICTURE")]


Watermark = Annotated[
    bool, typer.Option("--watermark", help="Look for the invisible watermark instead (docs/responsible-use.md).")
]
MARKS = {
    "found": "carries the watermark of this program",
    "none": "no watermark was found, which proves nothing",
    "too small": "too small for a watermark",
}


def run(pictures: Pictures, watermark: Watermark = False, as_json: AsJson = False) -> None:
    """One line per picture. The exit code is 1 unless all are unchanged, or all carry the watermark."""
    if watermark:
        _look_for_watermarks(pictures, as_json)
    else:
        _check_credentials(pictures, as_json)


def _look_for_watermarks(pictures: list[Path], as_json: bool) -> None:
    from arc2face.pictures.watermark import find_watermark

    found = {str(picture): find_watermark(picture) for picture in pictures}
    if as_json:
        console.answer({name: asdict(one) for name, one in found.items()})
    else:
        for name, one in found.items():
            console.say(f"{name}: {MARKS[one.state]} ({one.bits} of 64 bits)")
    if any(one.state != "found" for one in found.values()):
        raise typer.Exit(1)


def _check_credentials(pictures: list[Path], as_json: bool) -> None:
    from arc2face.pictures.provenance import read_provenance

    found = {str(picture): read_provenance(picture) for picture in pictures}
    if as_json:
        console.answer({name: asdict(one) for name, one in found.items()})
    else:
        for name, one in found.items():
            made = f"; made by {one.generator}, signed by {one.signer}" if one.signer else ""
            console.say(f"{name}: {WORDS.get(one.state, one.state)}{made}{'; synthetic' if one.synthetic else ''}")
    if any(one.state not in ("valid", "trusted") for one in found.values()):
        raise typer.Exit(1)
