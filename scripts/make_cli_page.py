"""Writes docs/cli.md from the commands themselves: `python -m scripts.make_cli_page`. A test compares the two."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
PAGE = PROJECT / "docs" / "cli.md"
HEAD = """# Every command and option

Written by `python -m scripts.make_cli_page` from the commands themselves; edits here are lost. The same is shown by
`--help` of each command. In a checkout say `./run cli` for `arc2face`. Exit codes: 0 done, 1 refused with a reason, 2 a
wrong option, 130 stopped, 70 a fault of ours. With `--json` standard output holds one JSON object, errors too.
"""
VARIABLES = {
    "ARC2FACE_MODELS": "models folder, instead of the best one found",
    "ARC2FACE_CACHE": "where converted checkpoints and other things that can be made again are kept",
    "EMOCA_CACHE": "the same for the converted EMOCA checkpoint and head",
    "ARC2FACE_C2PA": "`off`: pictures carry no Content Credentials ([responsible-use.md](responsible-use.md))",
    "ARC2FACE_C2PA_CERTIFICATE": "certificate chain to sign pictures with (PEM), instead of a self-made one",
    "ARC2FACE_C2PA_KEY": "its private key (PEM)",
    "ARC2FACE_WATERMARK": "`on`: saved pictures get an invisible watermark ([responsible-use.md](responsible-use.md))",
    "ARC2FACE_PYTHON": "`./run`: the Python to use",
    "ARC2FACE_TORCH_INDEX": "`./run`: package index to take torch from",
    "ARC2FACE_MEDIAPIPE": "`./run`: `1` installs MediaPipe, too",
    "ARC2FACE_CHROMIUM": "`./run test`: the browser of the browser tests",
    "ARC2FACE_SKIP_BROWSER": "`./run test`: `1` leaves the browser tests out",
    "ARC2FACE_SPACE_FEATURES": "`space.py`: what a Space downloads at its start ([deploy.md](deploy.md))",
    "ARC2FACE_IMAGE": "set in the images: for which device they are built ([docker.md](docker.md))",
    "ARC2FACE_FETCH": "the Cog runner: what it downloads at set-up ([replicate.md](replicate.md))",
    "PEOPLE_RASTER": "rendering of people: `numpy` does without a compiler",
    "PEOPLE_SAMPLES": "rendering of people: how many heads the shape basis is made from",
}
"""Environment variables that belong to no option."""


def commands(group: Any, name: str = "arc2face") -> Iterator[tuple[str, Any]]:
    """Every command that does something, with its full name."""
    inner = getattr(group, "commands", {})
    if not inner or (group.invoke_without_command and " " in name):
        yield name, group
    for word, command in inner.items():
        yield from commands(command, f"{name} {word}")


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|").strip()


def _option(option: Any) -> str:
    words = ", ".join(f"`{word}`" for word in (*option.opts, *option.secondary_opts))
    help_text = _cell(getattr(option, "help", None) or "")
    default = option.default
    plain = isinstance(default, str | int | float) and not isinstance(default, bool) and default != ""
    if plain and not re.search(r"default|usual", help_text) and option.param_type_name == "option":
        help_text += f" Usual: {default}."
    if option.envvar:
        help_text += f" (`{option.envvar}`)"
    if option.param_type_name == "argument":
        words = f"`{str(option.metavar or option.name).upper()}`"
    return f"| {words} | {help_text} |"


def _section(name: str, command: Any) -> str:
    rows = [_option(option) for option in command.params if not getattr(option, "hidden", False)]
    table = ["| option | what it does |", "| --- | --- |", *rows] if rows else []
    return "\n".join([f"## {name}", "", _cell(command.help or ""), "", *table])


def page() -> str:
    """The text of the page."""
    from typer.main import get_command

    from arc2face_app.cli.root import app

    sections = [_section(name, command) for name, command in commands(get_command(app))]
    rows = [f"| `{name}` | {text} |" for name, text in VARIABLES.items()]
    last = ["## Variables", "", "Those of options stand beside them, in brackets. The others:", ""]
    variables = "\n".join([*last, "| variable | what it does |", "| --- | --- |", *rows])
    return "\n\n".join([HEAD.strip(), *sections, variables]) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
