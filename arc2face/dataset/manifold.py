"""People who do not exist, drawn where real embeddings lie.

Most directions of the 512-dimensional space belong to nobody: a recogniser's embeddings fill a thin, curved part of it,
and pictures drawn for a random direction look alike. Two ways stay on that part. `components`: a Gaussian over the
principal components of given embeddings (as Vec2Face, arXiv 2409.02979, samples its identities).
`neighbours`: a random mixture of a person with some of the nearest others.

Every candidate is measured against everybody given and everybody taken before, and is dropped when it comes too near.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from arc2face import checks
from arc2face.errors import EmbeddingError, SettingsError
from arc2face.types import EMBEDDING_SIZE, Float32Array

__all__ = ["METHODS", "Distances", "Method", "Sampled", "measure", "sample"]

Method = Literal["components", "neighbours"]
METHODS: dict[Method, str] = {
    "components": "a Gaussian over the principal components of the given people",
    "neighbours": "mixtures of a person with the nearest others",
}
MAX_COUNT = 1_000_000
LEAST_GIVEN = 4
"""Fewer given people span nothing worth sampling."""
BLOCK = 2048
"""Candidates measured at once; 64 MB of cosines at most."""
CHUNK = 8192
TRIES = 50
"""Candidates per wanted person before giving up."""
BARREN = 8
"""Blocks in a row without a single new person after which no more are tried."""
MIXED_FROM = (3, 6)
"""How many neighbours, the person included, go into a mixture."""


@dataclass(frozen=True, slots=True)
class Distances:
    """Cosine of each new person to the nearest other one: the largest, the mean, and the 99th percentile.

    `to_others`: among the new people. `to_sources`: to the people given. -1 to 1; None where there is nobody.
    """

    to_others: tuple[float, float, float] | None
    to_sources: tuple[float, float, float] | None


@dataclass(frozen=True, slots=True, eq=False)
class Sampled:
    """New people and how they came out.

    `vectors`: (n, 512) float32, as long as embeddings of real people. `tries`: candidates looked at. `components`: how
    many principal components were used, 0 for neighbours. `distances`: measured on the vectors, not assumed.
    """

    vectors: Float32Array
    tries: int
    components: int
    distances: Distances

    @property
    def sentence(self) -> str:
        """The report as one line for a person."""
        parts = [f"{len(self.vectors):,} new people in {self.tries:,} tries"]
        if self.components:
            parts.append(f"{self.components} principal components")
        for name, found in (("another", self.distances.to_others), ("a given person", self.distances.to_sources)):
            if found is not None:
                parts.append(f"largest cosine to {name} {found[0]:.3f} (mean of the nearest {found[1]:.3f})")
        return "; ".join(parts) + "."


def sample(
    given: Float32Array,
    count: int,
    *,
    seed: int = 0,
    method: Method = "components",
    variance: float = 0.95,
    max_cosine: float = 0.3,
    max_source_cosine: float | None = None,
) -> Sampled:
    """Draw `count` new people.

    The same arguments give the same people on one machine; another machine's arithmetic may differ in the last bit and
    so, rarely, in whom it drops. A plan therefore stores the vectors.

    Args:
        given: (n, 512) embeddings of real people, at least LEAST_GIVEN, of any length.
        count: how many new people, 1 to MAX_COUNT.
        seed: 0 or more.
        method: see METHODS.
        variance: share of the variance that the principal components keep, above 0 to 1.
        max_cosine: no two new people are nearer to one another than this, above -1 to below 1.
        max_source_cosine: the same to the people given. None: `max_cosine` for components; 0.75 for neighbours,
            since a mixture is always near those it is made of.

    Raises:
        EmbeddingError: `given` has another shape, holds NaN or zeros, or too few people.
        SettingsError: a value is out of range, or fewer than `count` were found; the message says how many.
    """
    units, norms = _checked(given)
    count = checks.whole("The number of new people", count, (1, MAX_COUNT))
    seed = checks.whole("The seed", seed, (0, 2**63))
    variance = checks.number("The share of the variance", variance, (0.01, 1.0))
    limit = checks.number("The largest cosine between new people", max_cosine, (-1.0, 0.999))
    usual = 0.75 if method == "neighbours" else limit
    near = checks.number(
        "The largest cosine to a given person", usual if max_source_cosine is None else max_source_cosine, (-1.0, 0.999)
    )
    checks.choice("The way to draw new people", method, METHODS)
    rng = np.random.default_rng(seed)
    space = _Components(units, variance) if method == "components" else _Neighbours(units)
    taken = np.empty((count, EMBEDDING_SIZE), np.float32)
    found = tries = barren = 0
    closest = np.inf  # of the candidates that failed, how near the best one was to a given person
    while found < count and tries < TRIES * max(count, BLOCK // TRIES) and barren < BARREN:
        candidates = space.draw(rng, BLOCK)
        to_sources = _nearest(candidates, units)
        closest = min(closest, float(to_sources.min()))
        far = candidates[to_sources <= near]
        new = _apart(far, taken[:found], limit)[: count - found]
        taken[found : found + len(new)] = new
        found, tries, barren = found + len(new), tries + BLOCK, 0 if len(new) else barren + 1
    if found < count:
        raise SettingsError(_too_few(found, count, tries, limit, near, closest))
    lengths = rng.choice(norms, count)
    vectors = np.ascontiguousarray(taken * lengths[:, None], np.float32)
    return Sampled(vectors, tries, space.size, measure(vectors, given))


def measure(vectors: Float32Array, given: Float32Array | None = None) -> Distances:
    """How near each of (n, 512) embeddings comes to the others and to (m, 512) given ones; n x n in blocks."""
    units = _units(vectors)
    others = _nearest(units, units, itself=True) if len(units) > 1 else None
    sources = _nearest(units, _units(given)) if given is not None and len(given) and len(units) else None
    return Distances(_figures(others), _figures(sources))


class _Components:
    """mean + sum of component x standard normal x that component's deviation, on the sphere."""

    def __init__(self, units: Float32Array, variance: float) -> None:
        self._mean = units.mean(axis=0, dtype=np.float64).astype(np.float32)
        centred = units - self._mean
        # the 512 x 512 covariance, not an SVD of all people: a million of them fit
        covariance = centred.T.astype(np.float64) @ centred.astype(np.float64) / (len(units) - 1)
        values, vectors = np.linalg.eigh(covariance)
        values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1]
        vectors = vectors * np.sign(vectors[np.abs(vectors).argmax(axis=0), np.arange(vectors.shape[1])])
        share = np.cumsum(values) / max(values.sum(), 1e-12)
        self.size = min(int(np.searchsorted(share, variance - 1e-9) + 1), int((values > 1e-9).sum()))
        self._axes = (vectors[:, : self.size] * np.sqrt(values[: self.size])).T.astype(np.float32)

    def draw(self, rng: np.random.Generator, count: int) -> Float32Array:
        return _units(self._mean + rng.standard_normal((count, self.size), np.float32) @ self._axes)


class _Neighbours:
    """A person and the nearest others of a random sample, with random weights that add up to 1."""

    size = 0

    def __init__(self, units: Float32Array) -> None:
        self._units = units

    def draw(self, rng: np.random.Generator, count: int) -> Float32Array:
        first = rng.integers(0, len(self._units), count)
        pool = self._units[rng.permutation(len(self._units))[:CHUNK]]
        many = int(rng.integers(MIXED_FROM[0], MIXED_FROM[1] + 1))
        many = min(many, len(pool))
        near = self._units[first] @ pool.T
        # not always the same nearest ones: some of twice as many
        wide = min(2 * many, len(pool))
        nearest = np.argpartition(-near, wide - 1, axis=1)[:, :wide]
        nearest = np.sort(nearest, axis=1)
        order = np.argsort(rng.random(nearest.shape), axis=1)[:, : many - 1]
        members = np.concatenate([self._units[first][:, None], pool[np.take_along_axis(nearest, order, 1)]], axis=1)
        weights = rng.dirichlet(np.full(many, 2.0), count).astype(np.float32)
        return _units(np.einsum("ck,ckd->cd", weights, members))


def _checked(given: Float32Array) -> tuple[Float32Array, NDArray[np.float64]]:
    array = np.asarray(given)
    if array.ndim != 2 or array.shape[1] != EMBEDDING_SIZE or array.dtype.kind not in "fiu":
        raise EmbeddingError(f"Embeddings of people have the shape (n, {EMBEDDING_SIZE}), not {array.shape}.")
    if len(array) < LEAST_GIVEN:
        raise EmbeddingError(
            f"New people are drawn between given ones: at least {LEAST_GIVEN} are needed, better hundreds, "
            f"not {len(array)}."
        )
    norms = np.linalg.norm(array.astype(np.float64), axis=1)
    bad = np.flatnonzero(~np.isfinite(norms) | (norms < 1e-6))
    if len(bad):
        raise EmbeddingError(f"Embedding {bad[0] + 1} holds NaN or zeros ({len(bad)} in all). Leave such people out.")
    units = _units(array)
    if float(np.ptp(units, axis=0).max()) < 1e-6:
        raise EmbeddingError("All given embeddings are the same person; new people are drawn between different ones.")
    return units, norms


def _units(vectors: NDArray[np.floating]) -> Float32Array:
    values = np.asarray(vectors, np.float32)
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    return np.asarray(values / np.maximum(lengths, 1e-12), np.float32)


def _nearest(units: Float32Array, others: Float32Array, itself: bool = False) -> Float32Array:
    """(n,) largest cosine to any of `others`. `itself`: both are the same people; nobody counts for themselves."""
    best = np.full(len(units), -1.0, np.float32)
    for start in range(0, len(units), BLOCK):
        part = units[start : start + BLOCK]
        for place in range(0, len(others), CHUNK):
            cosines = part @ others[place : place + CHUNK].T
            if itself:
                rows = np.arange(len(part))
                columns = rows + start - place
                inside = (columns >= 0) & (columns < cosines.shape[1])
                cosines[rows[inside], columns[inside]] = -1.0
            np.maximum(best[start : start + len(part)], cosines.max(axis=1), out=best[start : start + len(part)])
    return best


def _apart(candidates: Float32Array, taken: Float32Array, limit: float) -> Float32Array:
    """Those candidates, in their order, that are near neither to anybody taken nor to an earlier candidate."""
    if len(taken) and len(candidates):
        candidates = candidates[_nearest(candidates, taken) <= limit]
    near = candidates @ candidates.T > limit
    alive = np.ones(len(candidates), bool)
    for place in range(len(candidates)):
        if alive[place]:
            alive[place + 1 :] &= ~near[place, place + 1 :]
    return candidates[alive]


def _figures(nearest: Float32Array | None) -> tuple[float, float, float] | None:
    if nearest is None:
        return None
    return float(nearest.max()), float(nearest.mean()), float(np.quantile(nearest, 0.99))


def _too_few(found: int, count: int, tries: int, limit: float, near: float, closest: float) -> str:
    text = f"Only {found:,} of {count:,} new people were found in {tries:,} tries"
    if not found and closest > near:
        return (
            f"{text}: all came nearer than {near:g} to a given person (the farthest had a cosine of {closest:.2f}). "
            "Allow a larger cosine to the given people, or give more of them."
        )
    return (
        f"{text} with cosines of at most {limit:g} to one another and {near:g} to those given. "
        "Allow a larger cosine, ask for fewer, or give more people."
    )
