"""Named expressions of the people's head, for the preset list of the Expression tab.

`python -m arc2face_training.people.presets models/starter/expression_presets.json`
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from arc2face.expression.values import from_parts, to_dict
from arc2face.types import Expression
from arc2face_training.people.state import State


def expression(*, jaw: float = 0.0, left_lid: float = 0.0, right_lid: float = 0.0, **components: float) -> Expression:
    """Numbers from named components (without side: both sides); `jaw` in radians, lids 0 open to 1 closed."""
    return from_parts(State().set(**components).expression, (left_lid, right_lid), (jaw, 0.0, 0.0))


PRESETS: dict[str, Expression] = {
    "Smile": expression(mouthSmile=0.9, cheekSquint=0.5, eyeSquint=0.2),
    "Laugh": expression(mouthSmile=1.0, cheekSquint=0.7, mouthUpperUp=0.4, eyeSquint=0.35, jaw=0.2),
    "Sad": expression(mouthFrown=0.9, mouthShrugLower=0.4, browInnerUp=0.8),
    "Angry": expression(browDown=1.0, noseSneer=0.4, mouthPress=0.6, eyeSquint=0.3),
    "Surprised": expression(browInnerUp=0.8, browOuterUp=0.9, eyeWide=0.8, jaw=0.26),
    "Kiss": expression(mouthPucker=1.0),
    "Disgust": expression(noseSneer=0.9, mouthUpperUp=0.6, browDown=0.5),
    "Doubt": expression(browOuterUpLeft=1.0, browDownRight=0.4, mouthLeft=0.5),
    "Smirk": expression(mouthSmileLeft=0.9, mouthDimpleLeft=0.4),
    "Wink and smile": expression(mouthSmile=0.8, cheekSquintLeft=0.5, left_lid=1.0),
    "Puffed cheeks": expression(cheekPuff=1.0),
    "Asleep": expression(left_lid=1.0, right_lid=1.0),
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
