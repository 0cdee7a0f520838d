"""Commands as they work where the user is: in a checkout, in an environment of pip, pipx or uv, or by uvx alone.

Messages of the library say `arc2face download pose`, `pip install av` or `pip install "arc2face-studio[dataset]"`;
whoever shows them passes them through `spoken`.
"""

from __future__ import annotations

import functools
import re
import shutil
import sys
from pathlib import Path, PurePath
from typing import Literal

from arc2face.weights.folder import checkout

Kind = Literal["checkout", "pip", "pipx", "uv", "uvx"]
"""How it was installed. `checkout`: run in place; `uv`: by uv tool install; `uvx`: in an environment that uv drops."""

DISTRIBUTION = "arc2face-studio"
INSTALLED, IN_PLACE, ONCE = "arc2face", "./run cli", f"uvx {DISTRIBUTION}"
COMMANDS = (
    "app", "generate", "pose", "expression", "drive", "group", "draw-person", "embed", "recipe", "provenance",
    "dataset", "evaluate", "annotate", "train", "download", "doctor",
)  # fmt: skip
"""First words that make a mention of `arc2face` a command line."""
_MENTION = re.compile(rf"(?<![\w./-])arc2face (?=(?:{'|'.join(COMMANDS)})\b)")
_EXTRA = re.compile(rf'(?<![\w-])pip install "{DISTRIBUTION}\[([\w,]+)\]"')
_PACKAGE = re.compile(r'(?<![\w-])pip install ((?:--upgrade )?)("[^"\[]+"|[A-Za-z][\w-]*(?:\.\w+)*(?:\[\w+\])?)')
_PROGRAMS: dict[Kind, str] = {"checkout": IN_PLACE, "uvx": ONCE}
_EXTRAS: dict[Kind, str] = {
    "checkout": "./run install {}",
    "pip": 'pip install "arc2face-studio[{}]"',
    "pipx": 'pipx install --force "arc2face-studio[{}]"',
    "uv": 'uv tool install "arc2face-studio[{}]"',
    "uvx": 'uvx "arc2face-studio[{}]"',
}
_PACKAGES: dict[Kind, str] = {
    "checkout": ".venv/bin/python -m pip install {}",
    "pip": "pip install {}",
    "pipx": "pipx inject arc2face-studio {}",
    "uv": "uv tool install --with {} arc2face-studio",
    "uvx": "uvx --with {} arc2face-studio",
}


@functools.cache
def kind() -> Kind:
    """How this program was installed, by where its Python environment lies."""
    return kind_of(Path(sys.prefix), in_checkout=checkout() is not None and shutil.which(INSTALLED) is None)


def kind_of(prefix: PurePath, *, in_checkout: bool = False) -> Kind:
    """The same for an environment at `prefix`."""
    if in_checkout:
        return "checkout"
    parts = [part.lower() for part in prefix.parts]
    if "uv" in parts:
        return "uv" if "tools" in parts else "uvx"
    return "pipx" if "pipx" in parts else "pip"


def program() -> str:
    """What a command line begins with here: the installed script, `./run cli` or `uvx`."""
    return _PROGRAMS.get(kind(), INSTALLED)


def command(arguments: str) -> str:
    """A whole command line: `command("download identity")`."""
    return f"{program()} {arguments}"


def spoken(text: str, where: Kind | None = None) -> str:
    """A message whose commands are the ones that work here (or `where`)."""
    here = where or kind()
    text = _MENTION.sub(f"{_PROGRAMS.get(here, INSTALLED)} ", text)
    if here == "pip":
        return text
    if here == "checkout":  # MediaPipe is removed by the next start unless this variable is set
        text = text.replace(f'pip install "{DISTRIBUTION}[mediapipe]"', "ARC2FACE_MEDIAPIPE=1 ./run install")
    between = " " if here == "checkout" else ","
    text = _EXTRA.sub(lambda found: _EXTRAS[here].format(found[1].replace(",", between)), text)
    return _PACKAGE.sub(lambda found: _PACKAGES[here].format(found[1] + found[2]), text)
