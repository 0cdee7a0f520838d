"""Distances between two sets of features: Frechet (FID) and the polynomial kernel's (KID)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]


def moments(blocks: Iterable[NDArray[Any]]) -> tuple[Float64, Float64, int]:
    """Mean (d,), covariance (d, d) with n - 1 in the denominator, and n, of rows that come in blocks.

    Two passes are not needed: sums of the rows less the first block's mean stay exact enough in float64.
    """
    shift: Float64 = np.zeros(0)
    total: Float64 = np.zeros(0)
    products: Float64 = np.zeros((0, 0))
    count = 0
    for block in blocks:
        rows: Float64 = np.asarray(block, np.float64)
        if not len(rows):
            continue
        if not count:
            shift = rows.mean(0)
            total, products = np.zeros(len(shift)), np.zeros((len(shift), len(shift)))
        rows = rows - shift
        total, products, count = total + rows.sum(0), products + rows.T @ rows, count + len(rows)
    if count < 2:
        raise ValueError("at least two rows are needed")
    mean = total / count
    return mean + shift, (products - count * np.outer(mean, mean)) / (count - 1), count


def frechet(mean: Float64, covariance: Float64, other_mean: Float64, other_covariance: Float64) -> float:
    """Squared 2-Wasserstein distance of two Gaussians (Dowson and Landau, 1982; as FID: Heusel et al., 2017).

    The trace of the root of the product is taken from the eigenvalues of a symmetric matrix with the same ones, so
    that singular covariances (fewer pictures than dimensions) need no correction.
    """
    values, vectors = np.linalg.eigh(covariance)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    between = np.linalg.eigvalsh(root @ other_covariance @ root)
    overlap = float(np.sqrt(np.clip(between, 0, None)).sum())
    difference = mean - other_mean
    return max(float(difference @ difference + np.trace(covariance) + np.trace(other_covariance) - 2 * overlap), 0.0)


def kernel_distance(
    features: NDArray[Any], others: NDArray[Any], subsets: int, size: int, seed: int
) -> tuple[float, float]:
    """KID (Binkowski et al., 2018): unbiased squared MMD with the kernel (x.y / d + 1)^3, and its standard error.

    Mean over `subsets` pairs of subsets of `size` rows (or all, where there are fewer), drawn with `seed`.
    """
    size = min(size, len(features), len(others))
    if size < 2:
        raise ValueError("at least two rows are needed on each side")
    rng = np.random.default_rng([seed, 6])
    found: list[float] = []
    for _ in range(subsets):
        x = np.asarray(features[rng.choice(len(features), size, replace=False)], np.float64)
        y = np.asarray(others[rng.choice(len(others), size, replace=False)], np.float64)
        found.append(_mmd(x, y))
    return float(np.mean(found)), float(np.std(found) / np.sqrt(len(found)))


def _mmd(x: Float64, y: Float64) -> float:
    count, dimension = x.shape
    xx, yy, xy = ((a @ b.T / dimension + 1.0) ** 3 for a, b in ((x, x), (y, y), (x, y)))
    inner = (xx.sum() - np.trace(xx) + yy.sum() - np.trace(yy)) / (count * (count - 1))
    return float(inner - 2 * xy.mean())
