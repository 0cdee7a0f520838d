"""The report's plots, in the colours of the page. Matplotlib draws without a screen; without it there are none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from arc2face.evaluation.canvas import AMBER, INK, LINE, PALE, PINE, STONE, canvas, density, dress, heat, save
from arc2face.evaluation.figure import Figures

WORDS = {"real": "photographs", "drawn": "drawn pictures"}
COLOURS = {"real": STONE, "drawn": PINE}
PER_ROW = 3
Columns = Mapping[str, Sequence[Any]]
Plot = Callable[[Path, Figures, Columns], "str | None"]


def draw_all(folder: Path, figures: Figures, columns: Columns) -> list[tuple[str, str]]:
    """Every plot that has something to show, as (file name, caption); none without matplotlib."""
    try:
        import_module("matplotlib")
    except ImportError:
        return []
    table: dict[str, Plot] = {
        "scores.png": draw_scores,
        "curves.png": draw_curves,
        "likeness.png": draw_likeness,
        "pose.png": draw_pose,
        "expression.png": draw_expression,
        "groups.png": draw_groups,
    }
    found = [(name, draw(folder / name, figures, columns)) for name, draw in table.items()]
    return [(name, caption) for name, caption in found if caption is not None]


def draw_scores(path: Path, figures: Figures, columns: Columns) -> str | None:
    """Mated and non-mated scores, a panel per kind of comparison."""
    panels = list(_comparisons(figures))
    if not panels:
        return None
    rows, wide = -(-len(panels) // PER_ROW), min(len(panels), PER_ROW)
    figure, axes = canvas(rows, wide, (4.4 * wide, 3.1 * rows))
    for ax in axes.flat[len(panels) :]:
        ax.remove()
    for ax, (title, part) in zip(axes.flat, panels, strict=False):
        for name, colour, label in (("nonmated", STONE, "two people"), ("mated", PINE, "one person")):
            density(ax, part[f"{name}_histogram"], colour, f"{label} ({part[f'{name}_pairs']:,} pairs)")
        threshold = (part.get("eer") or {}).get("threshold")
        if threshold is not None:
            ax.axvline(threshold, color=AMBER, linewidth=1.2, linestyle=(0, (4, 3)), label="EER threshold")
        dress(ax, title, "cosine", "density")
        ax.legend(frameon=False, fontsize=7.5)
    save(figure, path)
    return "Scores of pairs of one person and of two people."


def draw_curves(path: Path, figures: Figures, columns: Columns) -> str | None:
    """TAR over FAR, one line per kind of comparison."""
    panels = [(title, part["curve"]) for title, part in _comparisons(figures) if len(part.get("curve", ())) > 1]
    if not panels:
        return None
    figure, axes = canvas(1, 1, (4.6, 3.4))
    ax = axes.flat[0]
    for (title, curve), colour in zip(panels, (PINE, AMBER, STONE, PALE, INK, LINE), strict=False):
        far, tar = zip(*curve, strict=True)
        ax.plot(far, tar, color=colour, linewidth=1.8, label=title)
    ax.set_xscale("log")
    ax.set_ylim(0, 1.02)
    dress(ax, "Accepted pairs of one person", "share of pairs of two people accepted (FAR)", "TAR")
    ax.legend(frameon=False, fontsize=7.5, loc="lower right")
    save(figure, path)
    return "TAR over FAR, as far as the number of pairs supports."


def draw_likeness(path: Path, figures: Figures, columns: Columns) -> str | None:
    """Cosines of drawn pictures to what they were drawn from."""
    words = {"to_asked": "asked embedding", "to_input": "input photo", "to_others": "other photos"}
    parts = {name: values for name, values in figures.get("likeness", {}).items() if "to_input" in values}
    parts = {name: v for name, v in parts.items() if any(v.get(key, {}).get("histogram") for key in words)}
    if not parts:
        return None
    figure, axes = canvas(1, len(parts), (4.6 * len(parts), 3.1))
    titles = {"recogniser": "Recogniser that conditions", "judge": "Independent recogniser"}
    for ax, (name, values) in zip(axes.flat, parts.items(), strict=True):
        for (key, label), colour in zip(words.items(), (PALE, PINE, AMBER), strict=True):
            entry = values.get(key, {})
            shown = entry.get("histogram") and entry.get("value") is not None
            if key == "to_asked" and entry.get("histogram") == values.get("to_input", {}).get("histogram"):
                shown = False  # one photo was the whole identity: both are the same
            if shown:
                density(ax, entry["histogram"], colour, f"{label}: {entry['value']:.3f}")
        dress(ax, titles[name], "cosine of a drawn picture", "density")
        ax.legend(frameon=False, fontsize=7.5)
    save(figure, path)
    return "How like the person the drawn pictures are."


def draw_pose(path: Path, figures: Figures, columns: Columns) -> str | None:
    """Yaw and pitch of all pictures, and asked against got where poses were asked for."""
    parts = figures.get("pose", {}).get("coverage", {})
    grids = [(role, part["grid"]) for role, part in parts.items() if "grid" in part]
    if not grids:
        return None
    asked, got = _pairs(columns, "asked_yaw", "yaw")
    panels = len(grids) + bool(len(asked))
    figure, axes = canvas(1, panels, (4.5 * panels, 3.4))
    for ax, (role, grid) in zip(axes.flat, grids, strict=False):
        heat(figure, ax, np.asarray(grid, float), f"Poses read: {WORDS[role]}")
    if len(asked):
        ax = axes.flat[panels - 1]
        ax.plot([-60, 60], [-60, 60], color=STONE, linewidth=1, zorder=1)
        ax.scatter(asked, got, s=9, color=PINE, alpha=0.5, linewidths=0, zorder=2)
        dress(ax, "Yaw", "asked, degrees", "read, degrees")
    save(figure, path)
    return "Poses that the pictures cover" + (", and yaw asked against yaw read." if len(asked) else ".")


def draw_expression(path: Path, figures: Figures, columns: Columns) -> str | None:
    """Deviation of each of the 55 numbers, and how far mouths are open."""
    coverage = figures.get("expression", {}).get("coverage", {})
    parts = {role: part["deviations"] for role, part in coverage.items() if "deviations" in part}
    if not parts:
        return None
    figure, axes = canvas(1, 2, (8.6, 3.1))
    for k, (role, deviations) in enumerate(parts.items()):
        places = np.arange(55) + (k - (len(parts) - 1) / 2) * 0.42
        colour = COLOURS[role]
        axes.flat[0].bar(places, deviations, color=colour, width=0.8 / len(parts), label=WORDS[role])
        rows = zip(columns.get("jaw_open", ()), columns.get("role", ()), strict=True)
        jaw = np.array([value for value, which in rows if value is not None and which == role], float)
        axes.flat[1].hist(jaw, bins=np.linspace(0, 0.6, 31), color=colour, alpha=0.6, label=WORDS[role])
    dress(axes.flat[0], "Spread of the 55 numbers", "50 components, 2 eyelids, 3 jaw", "standard deviation")
    dress(axes.flat[1], "Opening of the mouth", "jaw, radians", "pictures")
    for ax in axes.flat:
        ax.legend(frameon=False, fontsize=7.5)
    save(figure, path)
    return "Expressions that the pictures cover."


def draw_groups(path: Path, figures: Figures, columns: Columns) -> str | None:
    """Error rates per group at the whole set's threshold, and the rate of pictures without a face."""
    rows = [
        (f"{kind}: {name}", group)
        for kind, groups in figures.get("groups", {}).items()
        for name, group in groups.items()
        if isinstance(group, dict)
    ][:40]
    if not rows:
        return None
    wanted = (("no_face", "no face", STONE), ("false_match", "false match", AMBER), ("false_non_match", "missed", PINE))
    figure, axes = canvas(1, 1, (6.4, 1.4 + 0.3 * len(rows)))
    ax = axes.flat[0]
    for place, (key, label, colour) in enumerate(wanted):
        values = [(k, group.get(key, {}).get("value")) for k, (_, group) in enumerate(rows)]
        points = [(value, k + 0.2 * (place - 1)) for k, value in values if value is not None]
        if points:
            x, y = zip(*points, strict=True)
            ax.scatter(x, y, s=34, color=colour, label=label, zorder=3)
    ax.set_yticks(range(len(rows)), [name for name, _ in rows])
    ax.invert_yaxis()
    dress(ax, "Errors per group", "rate", "")
    ax.legend(frameon=False, fontsize=7.5)
    save(figure, path)
    return "Rates per group at the threshold of the whole set."


def _comparisons(figures: Figures) -> list[tuple[str, Figures]]:
    """Titles and sections that hold histograms of both kinds of pair."""
    roles = {"real": "Photographs", "drawn": "Drawn pictures"}
    names = {"recogniser": "", "judge": " (independent)"}
    found = [
        (roles[role] + names[name], part)
        for role, parts in figures.get("verification", {}).items()
        for name, part in parts.items()
    ]
    found += [
        ("Drawn against photographs" + names[name], part["against_photos"])
        for name, part in figures.get("likeness", {}).items()
        if "against_photos" in part
    ]
    return [(title, part) for title, part in found if part.get("mated_pairs") or part.get("nonmated_pairs")]


def _pairs(columns: Columns, first: str, second: str) -> tuple[Any, Any]:
    rows = zip(columns.get(first, ()), columns.get(second, ()), strict=True)
    kept = [(a, b) for a, b in rows if a is not None and b is not None]
    return (np.array([a for a, _ in kept]), np.array([b for _, b in kept]))
