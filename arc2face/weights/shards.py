"""The parts of a sharded checkpoint, as its index file names them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from arc2face.errors import CorruptWeightsError, MissingWeightsError
from arc2face.weights.jsonfile import read_json

__all__ = ["parts_of"]

_MAX_PARTS = 200
_LONGEST_NAME = 200


def parts_of(index: Path) -> tuple[Path, ...]:
    """The files that hold a sharded checkpoint's tensors, in order of their names; they lie beside the index.

    Raises CorruptWeightsError for an index that is none or that names anything but files beside it, and
    MissingWeightsError naming the first part that is not there.
    """
    names: Any = read_json(index).get("weight_map")
    found = cast("dict[str, Any]", names) if isinstance(names, dict) else {}
    parts = sorted({name for name in found.values() if isinstance(name, str)})
    if not parts or len(parts) > _MAX_PARTS or any(not isinstance(name, str) for name in found.values()):
        raise CorruptWeightsError(f"{index} does not list the parts of a checkpoint. Fetch it again.")
    for name in parts:
        if (
            len(name) > _LONGEST_NAME
            or Path(name).name != name
            or "\\" in name
            or not name.endswith((".safetensors", ".bin"))
        ):
            raise CorruptWeightsError(f"{index} names a part that is no file beside it ({name[:80]!r}).")
        if not (index.parent / name).is_file():
            raise MissingWeightsError(
                f"{index.parent / name} is missing: it is one of the {len(parts)} parts that {index.name} lists. "
                "Fetch all of them again."
            )
    return tuple(index.parent / name for name in parts)
