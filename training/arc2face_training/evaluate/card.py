"""Write MODEL_CARD.md of a starter bundle: fixed text, the measured figures, and the hash of every file.

`python -m arc2face_training.evaluate.card models/starter runs/evaluation/figures.json`
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any

from arc2face_training.common.exports import write_text
from arc2face_training.evaluate.judges import ANGLES, TRAITS

GOALS = {
    ("identity", "rank1"): ">= 0.95 of 100",
    ("identity", "margin"): ">= 0.45",
    ("sharpness", "gradient_ratio"): "0.75 to 1.25",
    ("sharpness", "high_frequency_ratio"): "0.75 to 1.25",
    ("decoder", "psnr_db"): ">= 31",
    ("fast", "share_of_plain"): ">= 0.95",
    ("pose", "mean_error_degrees"): "<= 6",
    ("yaw", "mean_error_degrees"): "<= 8",
    **{("expression", f"{name}_correlation"): ">= 0.85" for name in TRAITS[ANGLES:]},
    ("expression", "identity_share_of_plain"): ">= 0.92",
    ("turning", "worst_degrees"): "<= 2",
    ("reference", "background_gain_db"): ">= 10",
    ("reference", "jaw_correlation"): ">= 0.8",
    ("fairness", "largest_gap"): "<= 0.05",
    ("grey", "rank1"): ">= 0.9",
    ("detector", "recall"): ">= 0.99",
    ("speed", "fast_4_steps_seconds"): "<= 6",
    ("speed", "plain_25_steps_seconds"): "<= 25",
    ("speed", "resident_memory_mb"): "< 2048",
}
SUFFIXES = (".safetensors", ".bin", ".onnx", ".pt", ".ckpt", ".pkl")
NOTES = "NOTES.md"


def card(root: Path, figures: dict[str, Any]) -> str:
    """The text of the card. A NOTES.md beside the models is placed in front of the figures."""
    notes = (root / NOTES).read_text(encoding="utf-8").strip() if (root / NOTES).exists() else ""
    files = sorted(p for p in root.rglob("*") if p.suffix in SUFFIXES)
    total = sum(p.stat().st_size for p in files) / 1e6
    parts = [notes, "## Figures", _introduction(figures), _table(figures), "## Files", f"{total:.1f} MB together."]
    return "\n\n".join([part for part in parts if part] + [_hashes(root, files)]) + "\n"


def _introduction(figures: dict[str, Any]) -> str:
    suite, people = figures.get("suite"), figures.get("people")
    return (
        f"Suite `{suite}`, {people} rendered people of odd seeds, which no training saw. Repeat with\n"
        f"`arc2face evaluate --suite {suite} --models models/starter`. Pose is judged by a regression from\n"
        "found landmarks, expression by the expression encoder; the judge's own error or correlation on real renders\n"
        "stands beside each figure and bounds what can be measured."
    )


def _table(figures: dict[str, Any]) -> str:
    lines = ["| figure | measured | goal |", "|---|---|---|"]
    for group, values in figures.items():
        if not isinstance(values, dict):
            continue
        for name, value in values.items():
            shown = f"{value:.3f}" if isinstance(value, float) else str(value)
            lines.append(f"| {group}: {name.replace('_', ' ')} | {shown} | {GOALS.get((group, name), '')} |")
    return "\n".join(lines)


def _hashes(root: Path, files: list[Path]) -> str:
    lines = ["| file | bytes | sha256 |", "|---|---|---|"]
    for path in files:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        lines.append(f"| {path.relative_to(root).as_posix()} | {path.stat().st_size} | `{digest}` |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("figures", type=Path)
    options = parser.parse_args(arguments)
    text = card(options.root, json.loads(options.figures.read_text()))
    write_text(options.root / "MODEL_CARD.md", text)


if __name__ == "__main__":
    main()
