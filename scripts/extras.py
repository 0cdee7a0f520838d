"""Prints what extras of pyproject.toml ask for, one requirement per line: `python scripts/extras.py dataset ray`.

`./run install EXTRA` uses it: pip can install an extra of a package, but not of a checkout that is run in place.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

PYPROJECT = Path(__file__).resolve().parent.parent / "pyproject.toml"


def extras() -> dict[str, list[str]]:
    """Name of every extra, and what it asks for."""
    # Python 3.10 has no tomllib; the pip of every environment carries one.
    toml: Any = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "pip._vendor.tomli")
    return dict(toml.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]["optional-dependencies"])


def main(names: list[str]) -> int:
    """Returns the exit code."""
    known = extras()
    for name in names:
        if name not in known:
            print(f"There is no extra {name!r}; there are: {', '.join(sorted(known))}.", file=sys.stderr)
            return 1
        print("\n".join(known[name]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
