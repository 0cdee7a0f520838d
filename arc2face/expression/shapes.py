"""What a head model calls its expression numbers, where it names them at all.

FLAME's 50 components are directions found by analysis and have no names. Heads whose components are shapes that
somebody made, one by one, come with `expression_shapes.json` beside the models:

    {"columns": ["mouthSmileLeft", ...], "eyelids": ["eyeBlinkLeft", "eyeBlinkRight"], "jaw": {"jawOpen": 0.36}}

`columns`: at most 50, in the order of the components. `jaw`: a shape that the jaw's opening stands for, and the radians
that it opens at 1. `regions` may say which part of the face a name moves where the name itself does not (see `region`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from arc2face import checks
from arc2face.errors import CorruptWeightsError
from arc2face.expression.values import COMPONENTS, JAW_OPEN_RANGE
from arc2face.weights.jsonfile import read_json

__all__ = ["REGIONS", "SHAPES_FILE", "Region", "Shapes", "load_shapes"]

SHAPES_FILE = "expression_shapes.json"
Region = str
REGIONS: dict[Region, str] = {"brows": "brows", "eyes": "eyes and lids", "mouth": "mouth, cheeks and jaw"}
"""Parts of a face whose numbers can be told apart. Gaze is none: it is not among the 55 numbers."""
_BEGINNINGS = {"brow": "brows", "eye": "eyes", "squint": "eyes"}
MAX_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Shapes:
    """`columns`: names of the first components. `eyelids`: left and right of the person. `jaw`: name and radians at 1.

    `regions`: region by name, for names that do not say it.
    """

    columns: tuple[str, ...]
    eyelids: tuple[str, str] = ("eyeBlinkLeft", "eyeBlinkRight")
    jaw: Mapping[str, float] = field(default_factory=dict[str, float])
    regions: Mapping[str, Region] = field(default_factory=dict[str, Region])

    def region(self, name: str) -> Region:
        """The part of the face that a shape moves; whatever is neither brow nor eye moves the lower face."""
        told = self.regions.get(name)
        return told or next((part for start, part in _BEGINNINGS.items() if name.lower().startswith(start)), "mouth")


def load_shapes(models_root: Path | None) -> Shapes | None:
    """The names that come with a models folder; None when it has none. Raises CorruptWeightsError."""
    path = models_root / SHAPES_FILE if models_root is not None else None
    if path is None or not path.is_file():
        return None
    content = read_json(path, max_bytes=MAX_BYTES)
    try:
        return _shapes(content)
    except (TypeError, ValueError, KeyError) as error:
        raise CorruptWeightsError(f"{path} cannot be used: {error}. Delete it and download it again.") from error


def _shapes(content: dict[str, Any]) -> Shapes:
    columns, lids = _names(content["columns"]), _names(content.get("eyelids", ["eyeBlinkLeft", "eyeBlinkRight"]))
    if len(columns) > COMPONENTS or len(lids) != 2:
        raise ValueError(
            f"it names {len(columns)} columns and {len(lids)} eyelids; 1 to {COMPONENTS} and 2 are possible"
        )
    if len({*columns, *lids}) != len(columns) + 2:
        raise ValueError("it names a shape twice")
    jaw = {name: float(radians) for name, radians in dict(content.get("jaw", {})).items()}
    if not all(0 < radians <= JAW_OPEN_RANGE[1] for radians in jaw.values()):
        raise ValueError(f"the jaw opens to at most {JAW_OPEN_RANGE[1]:g} radians")
    regions = {str(name): str(part) for name, part in dict(content.get("regions", {})).items()}
    if unknown := set(regions.values()) - set(REGIONS):
        raise ValueError(f"there is no region {checks.shown(sorted(unknown)[0])}")
    return Shapes(columns, (lids[0], lids[1]), jaw, regions)


def _names(value: object) -> tuple[str, ...]:
    names = cast("list[Any]", value) if isinstance(value, list) else [None]
    if not all(isinstance(name, str) and 0 < len(name) <= 64 for name in names):
        raise ValueError("names are expected as a list of words")
    return tuple(cast("list[str]", names))
