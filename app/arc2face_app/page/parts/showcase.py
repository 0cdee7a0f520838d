"""What comes out, shown before the first click: rows of pictures that the starter models have drawn.

`scripts/make_showcase.py` draws them: one WebP per row, its cells side by side, the photo first.
"""

from __future__ import annotations

import base64
import html
from pathlib import Path

from arc2face_app.page.theme import EXAMPLES

FOLDER = EXAMPLES / "showcase"
CELLS: dict[str, tuple[str, ...]] = {
    "identity": ("photo", "new", "new", "new", "new"),
    "pose": ("photo", "left", "right", "up", "down"),
    "expression": ("photo", "smile", "laugh", "surprised", "wink"),
}
"""What the cells of a tab's rows are called."""
NOTE = "Examples, drawn by the starter models"


def showcase(tab: str) -> str:
    """The rows of a tab as markup with the pictures inside; empty where there are none."""
    rows = "".join(_row(path, CELLS[tab]) for path in sorted(FOLDER.glob(f"{tab}-*.webp")))
    if not rows:
        return ""
    names = "".join(f"<span>{html.escape(name)}</span>" for name in CELLS[tab])
    captions = f'<div class="names" aria-hidden="true">{names}</div><figcaption>{NOTE}</figcaption>'
    return f'<figure class="showcase">{rows}{captions}</figure>'


def _row(path: Path, names: tuple[str, ...]) -> str:
    uri = "data:image/webp;base64," + base64.b64encode(path.read_bytes()).decode()
    last = len(names) - 1
    cells = "".join(f'<i style="background-position:{100 * k / last:g}% 0"></i>' for k in range(last + 1))
    label = "A photo of somebody, then: " + ", ".join(names[1:])
    return f'<div class="row" role="img" aria-label="{html.escape(label)}" style="--strip:url({uri})">{cells}</div>'
