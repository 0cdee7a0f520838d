"""`checksums.json` in the models folder: what was fetched, from where, and its hash. Trust on first use.

For a file whose hash nobody has published, the first download that passes every other check is taken as right and
its hash is written down; from then on a different file under the same name is an error until the user says
otherwise. That protects from later changes and damage, not from a wrong first download. Say so to the user.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from arc2face.errors import CorruptWeightsError
from arc2face.weights.jsonfile import read_json
from arc2face.weights.writing import replace_with

__all__ = ["Entry", "Ledger"]

_NAME = "checksums.json"


@dataclass(frozen=True, slots=True)
class Entry:
    """One fetched file. `revision`: the commit the server named. `first_use`: no published hash to compare with."""

    sha256: str
    bytes: int
    source: str = ""
    revision: str = ""
    first_use: bool = False


class Ledger:
    """Reads and writes `checksums.json` under the models folder `root`.

    A damaged file raises CorruptWeightsError: to go on without it would silently trust whatever comes next.
    """

    def __init__(self, root: Path) -> None:
        self.path = root / _NAME

    def get(self, path: str) -> Entry | None:
        """The entry for a path relative to the models folder."""
        return self._read().get(path)

    def put(self, path: str, entry: Entry) -> None:
        """Writes an entry, replacing an older one. Raises StorageError."""
        entries = self._read() | {path: entry}
        text = json.dumps({"files": {k: asdict(v) for k, v in sorted(entries.items())}}, indent=2)
        with replace_with(self.path) as temporary:
            temporary.write_text(text + "\n", "utf-8")

    def _read(self) -> dict[str, Entry]:
        if not self.path.is_file():
            return {}
        files: Any = read_json(self.path).get("files")
        try:
            return {path: _entry(values) for path, values in cast("dict[str, dict[str, Any]]", files).items()}
        except (TypeError, AttributeError) as error:
            raise CorruptWeightsError(
                f"{self.path} is damaged. It holds the hashes of what was fetched; restore it, or delete it to trust "
                "the files as they are now."
            ) from error


def _entry(values: dict[str, Any]) -> Entry:
    entry = Entry(**values)
    fine = isinstance(entry.sha256, str) and isinstance(entry.bytes, int) and isinstance(entry.first_use, bool)  # pyright: ignore[reportUnnecessaryIsInstance]
    if not fine:
        raise TypeError("an entry of another kind")
    return entry
