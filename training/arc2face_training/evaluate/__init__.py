"""Measuring a models folder with a written protocol: `arc2face evaluate --suite starter`.

Everything runs through the product's Engine on rendered people of odd seeds, which no training sees.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from arc2face_training.evaluate.suite import SUITES, Suite, evaluate_suite

__all__ = ["SUITES", "Suite", "evaluate_suite", "run"]


def run(
    suite: str = "quick",
    models: Path | None = None,
    output: Path | None = None,
    device: str = "auto",
    as_json: bool = False,
    only: Sequence[str] = (),
) -> int:
    """What `arc2face evaluate` calls: prints the figures, writes figures.json and contact_sheet.png to `output`."""
    figures = evaluate_suite(suite, models, output or Path("runs") / "evaluation", device=device, only=only)
    if as_json:
        print(json.dumps(figures, indent=2))
    else:
        print("\n".join(_lines(figures)))
    return 0


def _lines(figures: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    for group, values in figures.items():
        if not isinstance(values, dict):
            lines.append(f"{group}: {values}")
            continue
        lines.append(group)
        for name, value in values.items():
            lines.append(f"  {name}: {value:.3f}" if isinstance(value, float) else f"  {name}: {value}")
    return lines
