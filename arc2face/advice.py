"""Commands as they work where the user is: `arc2face ...` once installed, `./run cli ...` in a checkout.

Messages of the library say `arc2face download pose`; whoever shows them passes them through `spoken`.
"""

from __future__ import annotations

import functools
import re
import shutil
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
INSTALLED, IN_PLACE = "arc2face", "./run cli"
_COMMANDS = "app|generate|pose|expression|embed|recipe|provenance|download|doctor|train|evaluate"
_MENTION = re.compile(rf"(?<![\w./-])arc2face (?=(?:{_COMMANDS})\b)")


@functools.cache
def program() -> str:
    """What a command line begins with here: the installed script, else the checkout's own `./run cli`."""
    if shutil.which(INSTALLED) is None and (CHECKOUT / "run").is_file():
        return IN_PLACE
    return INSTALLED


def command(arguments: str) -> str:
    """A whole command line: `command("download identity")`."""
    return f"{program()} {arguments}"


def spoken(text: str) -> str:
    """A message whose commands (`arc2face download ...`) are the ones that work here."""
    return text if program() == INSTALLED else _MENTION.sub(f"{program()} ", text)
