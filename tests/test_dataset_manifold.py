"""New people on the embedding manifold: how far apart they are is measured again here, by other means."""

from __future__ import annotations

import hashlib
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from arc2face.dataset import manifold
from arc2face.dataset.identities import Identities
from arc2face.dataset.manifold import measure, sample
from arc2face.dataset.who import new_people
from arc2face.errors import EmbeddingError, SettingsError
from arc2face.types import Float32Array


@pytest.fixture(scope="module")
def given() -> Float32Array:
    """300 people on 60 directions of the space, of lengths 18 to 26."""
    rng = np.random.default_rng(0)
    values = rng.standard_normal((300, 60)) @ rng.standard_normal((60, 512)) + 2.0 * rng.standard_normal(512)
    lengths = rng.uniform(18, 26, (300, 1))
    return (values / np.linalg.norm(values, axis=1, keepdims=True) * lengths).astype(np.float32)


def cosines(a: Float32Array, b: Float32Array) -> np.ndarray:
    a, b = (x.astype(np.float64) / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True) for x in (a, b))
    return a @ b.T


@pytest.mark.parametrize(
    ("method", "most", "near"), [("components", 0.5, 0.45), ("neighbours", 0.6, 0.8), ("components", 0.4, None)]
)
def test_new_people_keep_their_distance(
    given: Float32Array, method: manifold.Method, most: float, near: float | None
) -> None:
    found = sample(given, 60, method=method, max_cosine=most, max_source_cosine=near, seed=2)
    each = cosines(found.vectors, found.vectors)
    np.fill_diagonal(each, -1.0)
    to_sources = cosines(found.vectors, given)
    assert found.vectors.shape == (60, 512) and found.vectors.dtype == np.float32
    assert each.max() <= most + 1e-5 and to_sources.max() <= (most if near is None else near) + 1e-5
    others, sources = found.distances.to_others, found.distances.to_sources
    assert others == pytest.approx((each.max(), each.max(axis=1).mean(), np.quantile(each.max(axis=1), 0.99)), abs=1e-4)
    assert sources is not None and sources[0] == pytest.approx(to_sources.max(), abs=1e-4)
    assert f"largest cosine to another {each.max():.3f}" in found.sentence
    norms = np.linalg.norm(found.vectors, axis=1)
    assert 18 - 1e-3 <= norms.min() < norms.max() <= 26 + 1e-3


def test_they_lie_where_real_people_lie(given: Float32Array) -> None:
    """Not so a Gaussian over all 512 directions: the given people fill 61 of them."""
    found = sample(given, 40, variance=0.999, max_cosine=0.6, seed=1)
    axes = np.linalg.svd(given.astype(np.float64), full_matrices=False)[2][:61]
    units = found.vectors / np.linalg.norm(found.vectors, axis=1, keepdims=True)
    assert np.linalg.norm(units @ axes.T, axis=1).min() > 0.999
    assert found.components <= 60
    assert sample(given, 5, variance=0.5, max_cosine=0.9).components < found.components / 2


def test_the_seed_decides(given: Float32Array) -> None:
    digests = [
        hashlib.sha256(sample(given, 30, seed=seed, max_cosine=0.5).vectors.tobytes()).hexdigest() for seed in (1, 1, 2)
    ]
    assert digests[0] == digests[1] != digests[2]


def test_too_few_is_an_honest_error(given: Float32Array, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifold, "TRIES", 3)
    with pytest.raises(SettingsError, match=r"Only (\d+) of 5,000 new people .* Allow a larger cosine") as caught:
        sample(given, 5000, max_cosine=0.3, max_source_cosine=0.6)
    assert 0 < int(str(caught.value).split()[1]) < 5000
    with pytest.raises(SettingsError, match=r"nearer than -0\.5 to a given person .* cosine of 0"):
        sample(given, 3, max_source_cosine=-0.5)


def test_memory_grows_with_the_people_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """The n x n cosines of 4,000 people would be 64 MB; blocks keep the peak below that, the people included."""
    monkeypatch.setattr(manifold, "CHUNK", 512)
    monkeypatch.setattr(manifold, "BLOCK", 512)
    given = np.random.default_rng(1).standard_normal((600, 512)).astype(np.float32)
    tracemalloc.start()
    found = sample(given, 4000, max_cosine=0.35, seed=1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(found.vectors) == 4000 and peak < 50e6
    assert found.distances.to_others is not None and found.distances.to_others[0] <= 0.35 + 1e-5


def test_measure_knows_people_who_are_there_twice(given: Float32Array) -> None:
    twice = np.concatenate([given[:5], 0.5 * given[2:3]])
    found = measure(twice, given)
    assert found.to_others is not None and found.to_others[0] == pytest.approx(1.0, abs=1e-5)
    assert found.to_sources is not None and found.to_sources[0] == pytest.approx(1.0, abs=1e-5)
    assert measure(given[:1]).to_others is None and measure(given[:1]).to_sources is None


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda x: x[:3], "at least 4"),
        (lambda x: x[:, :500], "shape"),
        (lambda x: np.where(np.arange(len(x))[:, None] == 7, np.nan, x), "Embedding 8 holds NaN"),
        (lambda x: np.where(np.arange(len(x))[:, None] == 7, 0.0, x), "Embedding 8"),
        (lambda x: np.repeat(x[:1], 9, axis=0), "the same person"),
    ],
)
def test_given_people_that_cannot_be_used(given: Float32Array, spoil: object, words: str) -> None:
    with pytest.raises(EmbeddingError, match=words):
        sample(spoil(given), 2)  # type: ignore[operator]


@pytest.mark.parametrize(
    "options",
    [
        {"count": 0},
        {"count": 2.5},
        {"seed": -1},
        {"variance": 0.0},
        {"variance": float("nan")},
        {"max_cosine": 1.0},
        {"max_source_cosine": 2.0},
        {"method": "gaussian"},
    ],
)
def test_settings_out_of_range(given: Float32Array, options: dict[str, object]) -> None:
    with pytest.raises(SettingsError):
        sample(given, **{"count": 3, **options})  # type: ignore[arg-type]


def test_new_people_become_identities_of_a_plan(given: Float32Array, tmp_path: Path) -> None:
    known = Identities(tuple(f"p{k}" for k in range(300)), given, ("photos: 2",) * 300, "ab" * 32)
    found, report = new_people(known, 12, seed=4, max_cosine=0.5)
    assert found.keys[0] == "new-0000001" and found.recogniser_sha256 == "ab" * 32 and len(report.vectors) == 12
    assert set(found.sources) == {"sampled: components of 300 people, seed 4"}
    assert Identities.load(found.save(tmp_path / "new.npz")).sha256 == found.sha256
