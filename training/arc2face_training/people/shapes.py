"""What the people's head calls its expression numbers, for `expression_shapes.json` of a models folder.

`python -m arc2face_training.people.shapes models/starter/expression_shapes.json`
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from arc2face_training.people.columns import EXPRESSION_COLUMNS, EYELID_NAMES
from arc2face_training.people.head import JAW_OPEN


def text() -> str:
    """The file's text; see `arc2face.expression.shapes`."""
    names = {"columns": list(EXPRESSION_COLUMNS), "eyelids": list(EYELID_NAMES), "jaw": {"jawOpen": JAW_OPEN}}
    return json.dumps(names, indent=1) + "\n"


def main() -> None:
    """Write the file a models folder may hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.parse_args().out.write_text(text(), encoding="utf-8")


if __name__ == "__main__":
    main()
