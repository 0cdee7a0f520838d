"""Whom a visitor's pictures should not look like, from the file that they handed over."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from arc2face.sources.negative import IDENTITY_SUFFIXES, find_negative

if TYPE_CHECKING:
    from arc2face.engine import Engine
    from arc2face.types import NegativeIdentity
    from arc2face_app.runs.shell import Shell


def handed_over(
    shell: Shell, session: str, engine: Engine, path: str | None, strength: float
) -> NegativeIdentity | None:
    """The person to be avoided, None without a file. What was found in a photo before is used.

    Raises InputError or SettingsError.
    """
    if not path:
        return None
    stored = Path(path).suffix.lower() in IDENTITY_SUFFIXES
    return find_negative(engine, path if stored else shell.photos.get(session, path), strength)
