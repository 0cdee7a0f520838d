"""The files of a data set's report: text, JSON, plots and a contact sheet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from arc2face.dataset.report_figures import Rows
from arc2face.evaluation.canvas import AMBER, PINE, STONE, canvas, density, dress, heat, save
from arc2face.evaluation.figure import Figures
from arc2face.evaluation.markdown import cell, rows_of, table
from arc2face.evaluation.scores import Scores
from arc2face.evaluation.writing import write_json, write_text
from arc2face.pictures.loading import as_rgb_u8, resize_square
from arc2face.pictures.saving import save_picture
from arc2face.types import RgbU8

__all__ = ["SHOWN", "write"]

SHOWN = 8
"""Pictures per row of the contact sheet."""
SIDE, CAPTION, MARGIN = 128, 16, 56
Examples = Mapping[str, Sequence[tuple[str, bytes]]]
_TITLES = {"progress": "What was drawn", "likeness": "Asked and got", "separation": "How far people are apart",
           "asked": "What was asked for"}  # fmt: skip


def write(folder: Path, figures: Figures, rows: Rows, examples: Examples) -> None:
    """Everything into `folder`; each file whole or not at all."""
    plots = _plots(folder, figures, rows)
    if any(examples.values()):
        save_picture(contact_sheet(examples), folder / "contact_sheet.png")
        plots.append(("contact_sheet.png", "The most, middling and least similar pictures, with cosine and key."))
    write_text(folder / "report.md", _text(figures, plots))
    write_json(folder / "report.json", figures)


def contact_sheet(examples: Examples) -> RgbU8:
    """A row per kind, with captions; (H, W, 3) uint8."""
    rows = [(title, pictures) for title, pictures in examples.items() if pictures]
    width = MARGIN + max(len(pictures) for _, pictures in rows) * (SIDE + 4)
    sheet = Image.new("RGB", (width, len(rows) * (SIDE + CAPTION + 6)), "white")
    draw = ImageDraw.Draw(sheet)
    for k, (title, pictures) in enumerate(rows):
        top = k * (SIDE + CAPTION + 6)
        draw.text((6, top + SIDE / 2), title, fill=(38, 38, 42), anchor="lm")
        for n, (caption, data) in enumerate(pictures):
            left = MARGIN + n * (SIDE + 4)
            sheet.paste(Image.fromarray(resize_square(as_rgb_u8(data), SIDE)), (left, top))
            draw.text((left + SIDE / 2, top + SIDE + CAPTION / 2), caption, fill=(85, 81, 74), anchor="mm")
    return np.asarray(sheet).copy()


def _text(figures: Figures, plots: Sequence[tuple[str, str]]) -> str:
    lines = [f"# Report of {cell(figures['about']['set'])}"]
    for name, title in _TITLES.items():
        section = {key: value for key, value in figures[name].items() if not key.endswith("_names")}
        lines += ["", f"## {title}", "", *table(rows_of(section))]
        for key in (key for key in figures[name] if key.endswith("_names") and figures[name][key]):
            rows = [(cell(word), f"{count:,}", "") for word, count in figures[name][key].items()]
            lines += ["", *table(rows, (key.removesuffix("_names").capitalize(), "Pictures", ""))]
    reasons = figures["progress"]["reasons"]
    if reasons:
        lines += ["", "## Rows without a picture", ""]
        lines += table([(cell(text), f"{count:,}", "") for text, count in reasons.items()], ("Reason", "Rows", ""))
    if "measured" in figures:
        lines += ["", "Every picture was looked at: [figures of the pictures](pictures/report.md)."]
    lines += [text for name, caption in plots for text in ("", f"![{caption}]({name})", "", caption)]
    return "\n".join([*lines, ""])


def _plots(folder: Path, figures: Figures, rows: Rows) -> list[tuple[str, str]]:
    """File names and captions; none without matplotlib."""
    try:
        import_module("matplotlib")
    except ImportError:
        return []
    drawn = [_likeness(folder / "likeness.png", figures, rows), _coverage(folder / "coverage.png", figures)]
    return [plot for plot in drawn if plot is not None]


def _likeness(path: Path, figures: Figures, rows: Rows) -> tuple[str, str] | None:
    figure, axes = canvas(1, 3, (12.6, 3.1))
    left, middle, right = axes.flat
    for found, colour, label in (
        (rows.similarity, PINE, "recogniser"),
        (rows.second, AMBER, "to one another, independent"),
    ):
        values = found[np.isfinite(found) & rows.there]
        if len(values):
            density(left, Scores.of(values).coarse(), colour, f"{label}: {values.mean():.3f}")
            left.legend(frameon=False, fontsize=7.5)
    dress(left, "Asked and got", "cosine to the asked embedding", "density")
    for name, colour, label in (("all_pairs", STONE, "all pairs"), ("nearest", PINE, "to the nearest")):
        if figures["separation"][name]["value"] is not None:
            density(middle, figures["separation"][f"{name}_histogram"], colour, label)
            middle.legend(frameon=False, fontsize=7.5)
    dress(middle, "People that were asked for", "cosine to one another", "density")
    tries = np.bincount(rows.tries)
    right.bar(range(len(tries)), tries, color=PINE, width=0.7)
    right.set_xticks(range(len(tries)) if len(tries) <= 12 else range(0, len(tries), 8))
    dress(right, "Tries", "times drawn", "pictures")
    save(figure, path)
    return path.name, "Likeness to the asked people, distances between them, and tries per picture."


def _coverage(path: Path, figures: Figures) -> tuple[str, str] | None:
    asked = figures["asked"]
    grid, names = asked["pose"].get("grid"), asked["expression_names"]
    if grid is None and not names:
        return None
    panels = (grid is not None) + bool(names)
    figure, axes = canvas(1, panels, (4.6 * panels, 3.4))
    if grid is not None:
        heat(figure, axes.flat[0], np.asarray(grid, float), "Poses that were asked for")
    if names:
        shown = dict(sorted(names.items(), key=lambda item: -item[1])[:24])
        ax = axes.flat[panels - 1]
        ax.barh(list(shown), list(shown.values()), color=PINE, height=0.55)
        ax.invert_yaxis()
        dress(ax, "Expressions that were asked for", "pictures", "")
    save(figure, path)
    return path.name, "What was asked for."
