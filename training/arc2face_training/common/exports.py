"""Writing what a run leaves behind: whole files only, in the run's folder and in a models folder."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from arc2face.weights.store import replace_with


def write_text(path: Path, text: str) -> None:
    """A text file."""
    with replace_with(path) as part:
        part.write_text(text, encoding="utf-8")


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Figures, for people and programs."""
    write_text(path, json.dumps(values, indent=2) + "\n")


def deflate(path: Path) -> None:
    """Compress the zip that torch.save wrote; torch.load reads both. Worth it where most of a tensor is zero."""
    with (
        replace_with(path) as part,
        zipfile.ZipFile(path) as plain,
        zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as small,
    ):
        for entry in plain.infolist():
            small.writestr(entry.filename, plain.read(entry.filename))


def put_into_bundle(file: Path, bundle: Path | None, place: str) -> None:
    """Copy an exported model to its place in a models folder; nothing where none is named."""
    if bundle is not None and bundle != Path():
        with replace_with(bundle / place) as part:
            part.write_bytes(file.read_bytes())
