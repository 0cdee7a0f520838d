"""Named expressions of the avatar head, for the preset list of the Expression tab.

`python -m arc2face_training.avatars.presets models/starter/expression_presets.json`
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from arc2face.expression.values import from_parts, to_dict
from arc2face.types import Expression
from arc2face_training.avatars.columns import EXPRESSION_COLUMNS


def expression(*, jaw: float = 0.0, left_lid: float = 0.0, right_lid: float = 0.0, **components: float) -> Expression:
    """Numbers from named components; `jaw` in radians, lids 0 open to 1 closed."""
    numbers = np.zeros(50, np.float32)
    for name, value in components.items():
        numbers[EXPRESSION_COLUMNS.index(name)] = value
    return from_parts(numbers, (left_lid, right_lid), (jaw, 0.0, 0.0))


PRESETS: dict[str, Expression] = {
    "Smile": expression(smile=0.9),
    "Laugh": expression(smile=1.0, jaw=0.22, squint=0.4),
    "Sad": expression(frown=0.9, brow_raise=0.3),
    "Angry": expression(brow_furrow=1.0, lip_press=0.6),
    "Surprised": expression(brow_raise=1.0, eye_widen=0.8, jaw=0.28),
    "Kiss": expression(pucker=1.0),
    "Disgust": expression(nose_wrinkle=0.9, upper_lip_raise=0.6, brow_furrow=0.4),
    "Doubt": expression(brow_raise_left=1.0, mouth_shift=0.6),
    "Smirk": expression(smirk_left=1.0),
    "Wink and smile": expression(smile=0.8, left_lid=1.0),
}


def lines() -> str:
    """The file's text, one preset per line; zeros at the end of the components are left out."""
    rows = []
    for name, numbers in PRESETS.items():
        fields = {key: value for key, value in to_dict(numbers).items() if key in ("components", "eyelids", "jaw")}
        components = [round(value, 3) for value in fields["components"]]
        while components and components[-1] == 0:
            components.pop()
        jaw = {key: round(value, 3) for key, value in fields["jaw"].items()}
        rows.append(f"{json.dumps(name)}: {json.dumps({**fields, 'components': components, 'jaw': jaw})}")
    return "{\n " + ",\n ".join(rows) + "\n}\n"


def main() -> None:
    """Write the file a models folder may hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    options.out.write_text(lines(), encoding="utf-8")


if __name__ == "__main__":
    main()
