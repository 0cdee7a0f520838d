"""What all plots share: the page's colours, thin axes, files that are the same for the same figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from arc2face.evaluation.control import REACH
from arc2face.weights.store import replace_with

PINE, PALE, AMBER, STONE, INK, LINE = "#177763", "#7ed0b8", "#d08a1d", "#a29c90", "#26262a", "#e6e3dc"
CENTRES = (np.arange(100) + 0.5) / 50 - 1


def canvas(rows: int, columns: int, size: tuple[float, float]) -> tuple[Any, Any]:
    """A figure and its axes, (rows, columns)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Sheet

    sheet: Any = Sheet(figsize=size, dpi=150, layout="constrained", facecolor="white")
    FigureCanvasAgg(sheet)
    return sheet, sheet.subplots(rows, columns, squeeze=False)


def dress(ax: Any, title: str, x: str, y: str) -> None:
    """Titles, thin lines, no box."""
    ax.set_title(title, fontsize=9.5, color=INK, loc="left")
    ax.set_xlabel(x, fontsize=8, color=INK)
    ax.set_ylabel(y, fontsize=8, color=INK)
    ax.tick_params(labelsize=7.5, colors=INK, length=2)
    ax.grid(color=LINE, linewidth=0.6, zorder=0)
    ax.set_axisbelow(True)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set_color(STONE)


def save(figure: Any, path: Path) -> None:
    """PNG, whole or not at all, without a date in it: the same figures give the same bytes."""
    with replace_with(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": None})


def density(ax: Any, histogram: Sequence[int], colour: str, label: str) -> None:
    """A histogram of cosines in 100 bins as a filled line; the axis follows what is there."""
    counts = np.asarray(histogram, float)
    density = counts / max(counts.sum(), 1) * (len(counts) / 2)
    taken = np.flatnonzero(counts)
    ax.fill_between(CENTRES, density, step="mid", color=colour, alpha=0.45, linewidth=0, label=label)
    ax.step(CENTRES, density, where="mid", color=colour, linewidth=1)
    if len(taken):
        first, last = CENTRES[taken[0]] - 0.05, CENTRES[taken[-1]] + 0.05
        low, high = ax.get_xlim() if ax.get_gid() == "scores" else (first, last)
        ax.set_xlim(min(low, first), max(high, last))
        ax.set_gid("scores")


def heat(figure: Any, ax: Any, grid: Any, title: str) -> None:
    """Counts of (yaw, pitch) cells."""
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.ticker import MaxNLocator

    colours: Any = LinearSegmentedColormap.from_list("pine", ["#faf9f7", PALE, PINE, "#062420"])
    yaw, pitch = REACH["yaw"], REACH["pitch"]
    shown = np.ma.masked_equal(grid.T, 0)
    image = ax.imshow(shown, origin="lower", extent=(-yaw, yaw, -pitch, pitch), cmap=colours, aspect="auto")
    dress(ax, title, "yaw, degrees", "pitch, degrees (down is positive)")
    bar = figure.colorbar(image, ax=ax, shrink=0.9, ticks=MaxNLocator(integer=True))
    bar.ax.tick_params(labelsize=7.5, colors=INK, length=2)
    bar.set_label("pictures", fontsize=8, color=INK)
    bar.outline.set_visible(False)
