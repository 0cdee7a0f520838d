"""Did the pictures get the pose and the expression that were asked for, and what do they cover?"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from arc2face.evaluation.bootstrap import mean_figure
from arc2face.evaluation.figure import Figure, Figures, absent, measured
from arc2face.evaluation.protocol import Protocol
from arc2face.evaluation.scores import Float64, Int64

ANGLES = ("yaw", "pitch", "roll")
CELL = 10.0
"""Side of a cell of the coverage grid, degrees."""
REACH = {"yaw": 60.0, "pitch": 40.0}
PARTS = {"components": slice(0, 50), "eyelids": slice(50, 52), "jaw": slice(52, 55)}


def wrapped(degrees: NDArray[Any]) -> Float64:
    """Differences of angles, brought to -180 to 180."""
    return (np.asarray(degrees, np.float64) + 180.0) % 360.0 - 180.0


def pose_error(asked: NDArray[Any], got: NDArray[Any], people: Int64, protocol: Protocol, reason: str) -> Figures:
    """Mean absolute difference per angle, and of the whole rotation, in degrees.

    `asked`, `got`: (n, 3) yaw, pitch, roll in degrees, NaN where not asked or not read. `reason`: why no pose was
    read, empty when it was.
    """
    if reason:
        return {"rotation": absent(reason)}
    if not np.isfinite(asked).all(1).any():
        return {"rotation": absent("no picture was asked for a pose")}
    error = np.abs(wrapped(got - asked))
    figures: Figures = {
        name: mean_figure(error[:, k], people, protocol.replicates, protocol.seed, "pose") | {"unit": "degrees"}
        for k, name in enumerate(ANGLES)
    }
    turn = rotation_angle(asked, got)
    figures["rotation"] = mean_figure(turn, people, protocol.replicates, protocol.seed, "pose") | {"unit": "degrees"}
    both = np.isfinite(asked[:, 0]) & np.isfinite(got[:, 0])
    figures["yaw_correlation"] = correlation(asked[both, 0], got[both, 0])
    return figures


def rotation_angle(asked: NDArray[Any], got: NDArray[Any]) -> Float64:
    """(n,) angle in degrees of the rotation between two poses, each Rz(roll) Ry(yaw) Rx(pitch)."""
    relative = np.einsum("nji,njk->nik", _matrices(asked), _matrices(got))
    return np.degrees(np.arccos(np.clip((np.einsum("nii->n", relative) - 1) / 2, -1.0, 1.0)))


def expression_error(asked: NDArray[Any], got: NDArray[Any], people: Int64, protocol: Protocol, reason: str) -> Figures:
    """Mean absolute difference per part of the 55 numbers. `asked`, `got`: (n, 55), NaN where there is none."""
    if reason:
        return {"all": absent(reason)}
    if not np.isfinite(asked).all(1).any():
        return {"all": absent("no picture was asked for an expression")}
    error = np.abs(np.asarray(got, np.float64) - asked)
    parts = {name: error[:, where].mean(1) for name, where in PARTS.items()} | {"all": error.mean(1)}
    figures: Figures = {
        name: mean_figure(values, people, protocol.replicates, protocol.seed, "expression")
        for name, values in parts.items()
    }
    both = np.isfinite(asked).all(1) & np.isfinite(got).all(1)
    figures["jaw_correlation"] = correlation(asked[both, 52], got[both, 52])
    return figures


def correlation(a: NDArray[Any], b: NDArray[Any]) -> Figure:
    """Pearson's; absent for fewer than three pairs or when one side is constant."""
    if len(a) < 3:
        return absent("fewer than three pictures")
    if np.std(a) < 1e-9 or np.std(b) < 1e-9:
        return absent("one side is the same in all pictures")
    return measured(float(np.corrcoef(a, b)[0, 1]), pictures=len(a))


def pose_coverage(pose: NDArray[Any], reason: str) -> Figures:
    """Quantiles per angle, and which cells of ten degrees of yaw and pitch are taken. `pose`: (n, 3), NaN allowed."""
    known = np.asarray(pose, np.float64)[np.isfinite(pose).all(1)] if not reason else np.zeros((0, 3))
    if not len(known):
        return {"cells": absent(reason or "no pose could be read")}
    figures: Figures = {name: quantiles(known[:, k]) | {"unit": "degrees"} for k, name in enumerate(ANGLES)}
    grid, _, _ = np.histogram2d(known[:, 0], known[:, 1], bins=[_edges("yaw"), _edges("pitch")])
    taken = int((grid > 0).sum())
    figures["cells"] = measured(taken / grid.size, taken=taken, of=grid.size, degrees=CELL, reach=dict(REACH))
    outside = len(known) - int(grid.sum())
    figures["outside"] = measured(outside / len(known), pictures=outside)
    figures["spread"] = _evenness(grid)
    figures["grid"] = grid.astype(int).tolist()
    return figures


def expression_coverage(expression: NDArray[Any], reason: str) -> Figures:
    """How far eyelids, jaw and components move over the set. `expression`: (n, 55), NaN allowed."""
    known = np.asarray(expression, np.float64)[np.isfinite(expression).all(1)] if not reason else np.zeros((0, 55))
    if not len(known):
        return {"spread": absent(reason or "no expression could be read")}
    return {
        "jaw_open": quantiles(known[:, 52]) | {"unit": "radians"},
        "left_eyelid": quantiles(known[:, 50]),
        "right_eyelid": quantiles(known[:, 51]),
        "spread": measured(float(known[:, :50].std(0).mean()), pictures=len(known)),
        "deviations": [float(value) for value in known.std(0)],
    }


def quantiles(values: NDArray[Any]) -> Figure:
    """Median as the value, with the 5th and 95th percentile, least and most."""
    low, middle, high = np.quantile(values, [0.05, 0.5, 0.95])
    return measured(
        float(middle), p5=float(low), p95=float(high), least=float(values.min()), most=float(values.max()),
        pictures=len(values),
    )  # fmt: skip


def _evenness(grid: NDArray[Any]) -> Figure:
    """Entropy of the cells over that of an even spread: 1 when all are taken alike, 0 for one cell."""
    share = grid[grid > 0] / max(grid.sum(), 1)
    if not len(share):
        return absent("all poses lie outside the grid")
    return measured(float(-(share * np.log(share)).sum() / np.log(grid.size)))


def _edges(axis: str) -> Float64:
    reach = REACH[axis]
    return np.arange(-reach, reach + CELL / 2, CELL)


def _matrices(angles: NDArray[Any]) -> Float64:
    yaw, pitch, roll = np.radians(np.asarray(angles, np.float64)).T
    one, zero = np.ones_like(yaw), np.zeros_like(yaw)
    x = _rows(one, zero, zero, zero, np.cos(pitch), -np.sin(pitch), zero, np.sin(pitch), np.cos(pitch))
    y = _rows(np.cos(yaw), zero, np.sin(yaw), zero, one, zero, -np.sin(yaw), zero, np.cos(yaw))
    z = _rows(np.cos(roll), -np.sin(roll), zero, np.sin(roll), np.cos(roll), zero, zero, zero, one)
    return z @ y @ x


def _rows(*values: Float64) -> Float64:
    return np.stack(values, -1).reshape(-1, 3, 3)
