"""Figures against values that can be computed by hand or in closed form."""

from __future__ import annotations

import numpy as np
import pytest

from arc2face.errors import SettingsError
from arc2face.evaluation import control, curves, pairs
from arc2face.evaluation.bootstrap import mean_figure, percentiles, resamples
from arc2face.evaluation.distances import frechet, kernel_distance, moments
from arc2face.evaluation.duplicates import duplicates
from arc2face.evaluation.figure import measured
from arc2face.evaluation.fingerprint import difference_hash
from arc2face.evaluation.likeness import leakage
from arc2face.evaluation.listed import listed_pairs
from arc2face.evaluation.markdown import cell, described, published
from arc2face.evaluation.protocol import Protocol
from arc2face.evaluation.samples import Pair
from arc2face.evaluation.scores import Scores
from arc2face.evaluation.verification import across_sets, within_set

QUICK = Protocol(replicates=40)


def counts(*scores: float) -> np.ndarray:
    return Scores.of(np.array(scores)).counts


def people_vectors(people: int, each: int, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((people, 64))
    person = np.repeat(np.arange(people), each)
    return pairs.unit(centres[person] + noise * rng.standard_normal((len(person), 64))), person


def test_error_rates_of_four_and_four_scores() -> None:
    mated, nonmated = counts(0.2, 0.6, 0.7, 0.8), counts(-0.1, 0.0, 0.1, 0.3)
    # one of sixteen comparisons is in the wrong order: 0.2 lies below 0.3
    assert curves.auc(mated, nonmated) == pytest.approx(15 / 16)
    rate, threshold = curves.eer(mated, nonmated)
    assert rate == pytest.approx(0.25)
    assert 0.2 <= threshold <= 0.3001  # a bin is 0.0001 wide
    assert curves.tar_at_far(mated, nonmated, 0.0)[0] == pytest.approx(0.75)
    assert curves.tar_at_far(mated, nonmated, 0.25)[0] == pytest.approx(1.0)
    assert curves.rates_at(mated, nonmated, 0.25) == (pytest.approx(0.25), pytest.approx(0.25))


def test_perfect_and_useless_scores() -> None:
    rate, threshold = curves.eer(counts(0.5, 0.9), counts(-0.5, 0.1))
    assert rate == 0.0 and threshold == pytest.approx(0.3, abs=2e-4)  # in the middle of the gap
    assert curves.auc(counts(0.5, 0.9), counts(-0.5, 0.1)) == 1.0
    same = counts(0.1, 0.2, 0.3, 0.4)
    assert curves.auc(same, same) == pytest.approx(0.5)
    assert curves.eer(same, same)[0] == pytest.approx(0.5, abs=0.13)
    assert np.isnan(curves.eer(same, np.zeros_like(same))[0])


def test_means_and_deviations_are_exact_not_binned() -> None:
    values = np.array([0.12345678, -0.9, 1.0])
    found = Scores.of(values)
    assert found.mean == pytest.approx(values.mean(), abs=1e-12)
    assert found.deviation == pytest.approx(values.std(), abs=1e-9)
    assert sum(found.coarse()) == 3
    with pytest.raises(ValueError, match="finite"):
        found.add(np.array([np.nan]))


def test_blocks_give_what_the_whole_matrix_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, person = people_vectors(9, 4, 0.5)
    full = vectors @ vectors.T
    first, second = np.triu_indices(len(person), 1)
    same = person[first] == person[second]
    monkeypatch.setattr(pairs, "BLOCK", 7)
    found = pairs.within(vectors, person)
    assert found.mated.total == same.sum() == 9 * 6
    assert found.nonmated.total == (~same).sum()
    assert found.mated.mean == pytest.approx(full[first, second][same].mean(), abs=1e-6)
    best, place = pairs.nearest(vectors, vectors, person, person)
    hidden = np.where(person[:, None] == person[None], -np.inf, full)
    assert np.allclose(best, hidden.max(1), atol=1e-6)
    assert (place == hidden.argmax(1)).all()
    left_out = np.full(len(person), -1)
    left_out[3] = 0
    assert pairs.across(vectors, person, vectors, person, left_out).mated.total == 9 * 16 - 1


def test_pairs_by_lot_are_of_the_right_kind_and_repeat() -> None:
    person = np.repeat(np.arange(50), 6)[np.random.default_rng(1).permutation(300)]
    a, b = pairs.mated_pairs(person, 200, seed=3)
    assert len(a) == 200 and (person[a] == person[b]).all() and (a != b).all()
    c, d = pairs.drawn_pairs(person, 5000, seed=3)
    assert 4000 < len(c) <= 5000 and (person[c] != person[d]).all()
    assert np.array_equal(pairs.drawn_pairs(person, 5000, seed=3)[0], c)
    everything = pairs.mated_pairs(person, 10_000, seed=3)
    assert len(set(zip(*map(tuple, everything), strict=True))) == 50 * 15


def test_a_figure_of_verification_has_intervals_or_the_reason_why_not() -> None:
    vectors, person = people_vectors(20, 3, 1.0)
    found = within_set(vectors, person, QUICK)
    assert found["mated_pairs"] == 60 and found["nonmated_pairs"] == 20 * 19 // 2 * 9
    assert found["eer"]["low"] <= found["eer"]["value"] <= found["eer"]["high"]
    assert found["tar_at_far"]["0.01"]["value"] is not None
    # 1,710 pairs of two people cannot speak about one in a thousand
    assert found["tar_at_far"]["0.001"]["value"] is None
    assert "10000 pairs" in found["tar_at_far"]["0.001"]["absent"]
    alone = within_set(vectors[:3], person[:3], QUICK)
    assert alone["eer"]["value"] is None and "one person" in alone["eer"]["absent"]
    assert alone["mated_mean"]["value"] is not None
    single = within_set(vectors[::3], person[::3], QUICK)
    assert "two pictures" in single["auc"]["absent"]


def test_drawn_against_photos_leaves_the_input_photo_out() -> None:
    vectors, person = people_vectors(6, 3, 0.4)
    photos, owner = vectors[::3], person[::3]
    left_out = owner.argsort()[person]
    assert across_sets(vectors, person, photos, owner, None, QUICK)["mated_pairs"] == 18
    assert across_sets(vectors, person, photos, owner, left_out, QUICK)["mated_pairs"] == 0


def test_the_interval_over_people_covers_the_truth_as_often_as_it_says() -> None:
    """People differ more than their pictures: an interval over pictures would cover far too seldom."""
    rng = np.random.default_rng(5)
    person = np.repeat(np.arange(30), 8)
    covered = 0
    for k in range(150):
        values = 0.5 + 0.2 * rng.standard_normal(30)[person] + 0.02 * rng.standard_normal(240)
        figure = mean_figure(values, person, 120, k)
        covered += figure["low"] <= 0.5 <= figure["high"]
    assert 0.87 <= covered / 150 <= 0.99


def test_intervals_repeat_and_need_two_people() -> None:
    values, person = np.array([0.1, 0.2, 0.3, np.nan]), np.array([0, 0, 1, 1])
    assert mean_figure(values, person, 50, 1) == mean_figure(values, person, 50, 1)
    assert mean_figure(values, person, 50, 1)["pictures"] == 3
    assert "low" not in mean_figure(values[:2], person[:2], 50, 1)
    assert mean_figure(values[3:], person[3:], 50, 1, "cosine")["value"] is None
    assert all(draw.sum() == 4 for draw in resamples(4, 10, 0))
    assert percentiles([1.0, float("nan"), float("nan")]) is None


def test_frechet_distance_in_closed_form() -> None:
    """Diagonal Gaussians: |difference of means|^2 + sum of (s - t)^2."""
    mean, other = np.array([1.0, 2.0, 0.0]), np.array([0.0, 2.0, 3.0])
    s, t = np.array([1.0, 2.0, 0.0]), np.array([3.0, 0.5, 0.0])
    assert frechet(mean, np.diag(s**2), other, np.diag(t**2)) == pytest.approx(1 + 9 + 4 + 2.25)
    assert frechet(mean, np.diag(s), mean, np.diag(s)) == pytest.approx(0.0, abs=1e-9)


def test_moments_of_blocks_are_those_of_the_whole() -> None:
    rows = np.random.default_rng(0).standard_normal((101, 5)) + 1000.0
    mean, covariance, count = moments([rows[:3], rows[3:3], rows[3:]])
    assert count == 101
    assert np.allclose(mean, rows.mean(0)) and np.allclose(covariance, np.cov(rows.T), atol=1e-9)
    with pytest.raises(ValueError, match="two rows"):
        moments([rows[:1]])


def test_kernel_distance_is_unbiased_and_grows() -> None:
    rng = np.random.default_rng(0)
    near, error = kernel_distance(rng.standard_normal((300, 8)), rng.standard_normal((300, 8)), 30, 100, 0)
    far, _ = kernel_distance(rng.standard_normal((300, 8)), rng.standard_normal((300, 8)) + 1.0, 30, 100, 0)
    assert abs(near) < 0.1 < far
    assert error > 0
    # two rows a side: the kernel's values by hand, d = 1
    x, y = np.array([[0.0], [1.0]]), np.array([[0.0], [2.0]])
    k = lambda a, b: (a * b + 1.0) ** 3  # noqa: E731
    by_hand = k(0, 1) + k(0, 2) - 2 * np.mean([k(0, 0), k(0, 2), k(1, 0), k(1, 2)])
    assert kernel_distance(x, y, 3, 10, 0)[0] == pytest.approx(by_hand)


def test_angles_between_poses() -> None:
    asked = np.array([[0.0, 0.0, 0.0], [170.0, 0.0, 0.0], [30.0, 20.0, 10.0]])
    got = np.array([[0.0, 30.0, 0.0], [-170.0, 0.0, 0.0], [30.0, 20.0, 10.0]])
    assert np.allclose(control.rotation_angle(asked, got), [30.0, 20.0, 0.0], atol=1e-5)
    found = control.pose_error(asked, got, np.array([0, 1, 2]), QUICK, "")
    assert found["yaw"]["value"] == pytest.approx(20 / 3)
    off = control.pose_error(asked, got, np.arange(3), QUICK, "it was switched off")
    assert "switched off" in off["rotation"]["absent"]
    nothing = np.full((3, 3), np.nan)
    assert "asked" in control.pose_error(nothing, got, np.arange(3), QUICK, "")["rotation"]["absent"]


def test_coverage_counts_cells() -> None:
    pose = np.array([[0.0, 0.0, 0.0], [1.0, 2.0, 0.0], [-35.0, 5.0, 0.0], [90.0, 0.0, 0.0], [np.nan] * 3])
    found = control.pose_coverage(pose, "")
    assert found["cells"]["taken"] == 2 and found["cells"]["of"] == 12 * 8
    assert found["outside"]["pictures"] == 1
    assert control.pose_coverage(pose[4:], "")["cells"]["value"] is None


def test_expression_error_per_part() -> None:
    asked = np.zeros((4, 55))
    got = asked.copy()
    got[:, 52] = [0.3, 0.3, 0.0, 0.0]
    asked[:, 52] = [0.3, 0.0, 0.0, 0.3]
    found = control.expression_error(asked, got, np.arange(4), QUICK, "")
    assert found["jaw"]["value"] == pytest.approx(0.05) and found["eyelids"]["value"] == 0.0
    assert found["jaw_correlation"]["value"] == pytest.approx(0.0, abs=1e-12)


def test_copies_are_found_and_told_apart() -> None:
    rng = np.random.default_rng(0)
    noise = [np.kron(rng.integers(0, 255, (16, 16, 3)), np.ones((8, 8, 1))).astype(np.uint8) for _ in range(3)]
    again = np.clip(noise[0].astype(int) + rng.integers(-1, 2, noise[0].shape), 0, 255).astype(np.uint8)
    pictures = [*noise, noise[1], again]
    hashes = np.stack([difference_hash(picture) for picture in pictures])
    found = duplicates(
        hashes, np.array([1, 2, 3, 2, 5], np.uint64), np.array([0, 1, 2, 1, 7]),
        np.array([False, False, False, True, True]), list("abcde"),
    )  # fmt: skip
    assert found["exact"]["pictures"] == 2
    assert found["near"]["pictures"] == 4
    assert found["near_of_another_person"]["pictures"] == 2
    assert found["drawn_near_a_photo"] == measured(1.0, pictures=2, of=2)
    assert {(one["first"], one["second"]) for one in found["examples"]} == {("b", "d"), ("a", "e")}


def test_leakage_looks_at_others_only() -> None:
    sources = np.eye(4, dtype=np.float32)
    drawn = pairs.unit(np.array([[1.0, 0.5, 0, 0], [0, 1, 0, 0]]))
    found = leakage(drawn, np.array([0, 1]), sources, np.arange(4), 0.4)
    assert found["nearest"]["most"] == pytest.approx(0.5 / np.sqrt(1.25))
    assert found["taken_for_another"]["pictures"] == 1
    assert leakage(drawn, np.array([0, 1]), sources[:0], np.arange(0), None)["nearest"]["value"] is None


def test_published_pairs_take_the_threshold_of_the_other_folds() -> None:
    """LFW's protocol on six pictures: a fold that would choose its own threshold would be all right."""
    angle = np.radians([0.0, 10.0, 90.0, 180.0, 200.0, 300.0])
    vectors = pairs.unit(np.stack([np.cos(angle), np.sin(angle)], 1))
    places = {name: k for k, name in enumerate("abcdef")}
    listed = (Pair("a", "b", True, 0), Pair("a", "c", False, 0), Pair("d", "e", True, 1), Pair("c", "d", False, 1))
    found = listed_pairs(vectors, places, listed, QUICK)
    assert found["accuracy"]["value"] == 1.0 and found["pairs"] == 4
    lost = listed_pairs(vectors, places, (*listed, Pair("a", "gone", True, 1)), QUICK)
    assert lost["pairs_without_a_face"] == 1
    assert lost["accuracy"]["value"] == pytest.approx((1.0 + 2 / 3) / 2)
    assert listed_pairs(vectors, places, listed[:2], QUICK)["accuracy"]["value"] is None


def test_absent_figures_are_words_in_the_report() -> None:
    assert described(measured(float("nan")))[0] == "absent"
    assert described(measured(0.5, (0.4, 0.6), people=3)) == ("0.5000 [0.4000, 0.6000]", "people 3")
    assert cell("a|b\n<i>") == "a\\|b \\<i\\>"
    rows = published()
    assert all("https://" in row for row in rows[4:]) and len(rows) > 5


def test_protocol_refuses_nonsense() -> None:
    with pytest.raises(SettingsError):
        Protocol(replicates=-1)
    with pytest.raises(SettingsError):
        Protocol(pictures_per_person=1.5)  # type: ignore[arg-type]
