"""The figures of pose, expression and reference: is what was asked for there, and does nothing else change?"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, binary_erosion

from arc2face.faces.alignment import align_rgb_u8
from arc2face.faces.pasteback import paste_back
from arc2face.types import Expression, ExpressionCondition, PoseCondition, ReferenceCondition
from arc2face_training.common.world import EXPRESSION_COLUMNS
from arc2face_training.evaluate.figures import Bench, Figures
from arc2face_training.evaluate.judges import ANGLES, TRAITS, Judge, pearson, traits_of
from arc2face_training.evaluate.subjects import with_expression

U8 = NDArray[np.uint8]
YAWS = (-45.0, -30.0, -15.0, 0.0, 15.0, 30.0, 45.0)
"""Degrees of the slider."""


def pose(bench: Bench, judge: Judge, count: int) -> Figures:
    """ControlNet with normal maps rendered for each subject in a random pose."""
    wanted, got, pictures = [], [], []
    for k in range(count):
        drawn = bench.cast.render(bench.subjects[k].person, bench.cast.turned(k), bench.engine.native_size)
        assert drawn.normal_map_u8 is not None
        pictures.append(bench.picture(k, pose=PoseCondition(drawn.normal_map_u8)))
        traits = judge.traits(pictures[-1])
        if traits is not None:
            wanted.append(traits_of(drawn.pose, drawn.expression55)[:ANGLES])
            got.append(traits[:ANGLES])
    bench.shown["pose"] = pictures
    figures: Figures = {"face_found": len(got) / count, "identity_cosine": bench.identity_score(pictures)["cosine_own"]}
    if got:
        difference = np.abs(np.array(got) - np.array(wanted))
        figures["mean_error_degrees"] = float(difference.mean())
        for k, name in enumerate(TRAITS[:ANGLES]):
            figures[f"{name}_correlation"] = pearson(np.array(got)[:, k], np.array(wanted)[:, k])
    figures["judge_error_degrees"] = float(np.mean([judge.error[name] for name in TRAITS[:ANGLES]]))
    return figures


def yaw_slider(bench: Bench, judge: Judge, count: int) -> Figures:
    """Normal maps as the page's yaw slider makes them, from one end to the other, for `count` people."""
    errors: dict[float, list[float]] = {angle: [] for angle in YAWS}
    pictures: list[U8] = []
    for k in range(count):
        for angle in YAWS:
            pictures.append(bench.picture(k, pose=PoseCondition(bench.engine.normal_map(angle, 0, 0))))
            traits = judge.traits(pictures[-1])
            if traits is not None:
                errors[angle].append(float(traits[0]) - angle)
    bench.shown["yaw"] = pictures[: 2 * len(YAWS)]
    measured = {angle: found for angle, found in errors.items() if found}
    figures: Figures = {"face_found": sum(map(len, measured.values())) / (count * len(YAWS))}
    for angle, found in measured.items():
        figures[f"off_at_{angle:+.0f}"] = float(np.mean(found))
    every = np.concatenate([np.array(found) for found in measured.values()]) if measured else np.zeros(1)
    return {**figures, "mean_error_degrees": float(np.abs(every).mean()), "judge_error_degrees": judge.error["yaw"]}


def calm(bench: Bench, judge: Judge, count: int) -> Figures:
    """Plain pictures, whose faces nobody asked to show anything, beside renders of the same people's calm faces."""
    found = [judge.traits(picture) for picture in bench.plain(count)]
    real = [judge.traits(subject.rgb_u8) for subject in bench.subjects[:count]]
    figures: Figures = {}
    for name, rows in (("plain", found), ("real", real)):
        table = np.array([row for row in rows if row is not None])[:, ANGLES:]
        for k, trait in enumerate(TRAITS[ANGLES:]):
            figures[f"{name}_{trait}"] = float(np.abs(table[:, k]).mean())
    return figures


def turning(bench: Bench, judge: Judge, count: int) -> Figures:
    """How far each expression slider, at its end, turns the head against the same picture without it, in degrees."""
    turns: dict[str, list[float]] = {}
    sliders = {**dict(zip(EXPRESSION_COLUMNS, range(50), strict=False)), "left lid": 50, "right lid": 51, "jaw": 52}
    for k in range(count):
        before = judge.traits(bench.picture(k, fast=True))
        for name, place in sliders.items() if before is not None else ():
            numbers = np.zeros(55, np.float32)
            numbers[place] = 0.3 if name == "jaw" else 1.0
            after = judge.traits(bench.picture(k, fast=True, expression=ExpressionCondition(Expression(numbers))))
            if after is not None and before is not None:
                turns.setdefault(name, []).append(float(np.abs(after[:ANGLES] - before[:ANGLES]).max()))
    means = {name: float(np.mean(found)) for name, found in turns.items()}
    worst = max(means, key=lambda name: means[name], default="")
    return {
        "mean_degrees": float(np.mean(list(means.values()))) if means else 0.0,
        "worst_degrees": means.get(worst, 0.0),
        "worst": worst,
        "within_2_degrees": float(np.mean([value <= 2 for value in means.values()])) if means else 0.0,
        "judge_error_degrees": float(np.mean([judge.error[name] for name in TRAITS[:ANGLES]])),
    }


def expression(bench: Bench, judge: Judge, count: int) -> Figures:
    """Expression adapter with the expression of a random moment."""
    pictures, wanted, got = [], [], []
    for k in range(count):
        moment = bench.cast.moment(7000 + k)
        condition = ExpressionCondition(Expression(moment.expression55))
        pictures.append(bench.picture(k, expression=condition))
        _note(judge, pictures[-1], moment.expression55, wanted, got)
    bench.shown["expression"] = pictures
    figures = _expression_correlations(judge, wanted, got)
    score = bench.identity_score(pictures)["cosine_own"]
    figures["identity_share_of_plain"] = bench.share_of_plain(score)
    return figures


def reference(bench: Bench, judge: Judge, count: int) -> Figures:
    """Reference adapter with an aligned picture and another expression; background against plain generation."""
    pictures, gains, seams, wanted, got = [], [], list[float](), [], []
    size = bench.engine.native_size
    for k in range(count):
        subject, moment = bench.subjects[k], bench.cast.moment(9000 + k)
        landmarks = bench.engine.perception.landmarks(subject.rgb_u8)
        aligned = align_rgb_u8(subject.rgb_u8, landmarks, size)
        assert subject.photo.alpha_u8 is not None
        cover = np.repeat(subject.photo.alpha_u8[..., None], 3, 2)
        background = align_rgb_u8(cover, landmarks, size)[..., 0] < 8
        condition = ExpressionCondition(Expression(with_expression(subject.state, moment).expression55))
        picture = bench.picture(k, reference=ReferenceCondition(aligned), expression=condition)
        pictures.append(picture)
        if background.mean() > 0.05:
            plain = bench.plain(k + 1)[k]
            gains.append(_psnr(picture, aligned, background) - _psnr(plain, aligned, background))
        _note(judge, picture, moment.expression55, wanted, got)
        seams.append(seam(subject.rgb_u8, paste_back(subject.rgb_u8, picture, landmarks)))
    bench.shown["reference"] = pictures
    figures: Figures = {"background_gain_db": float(np.mean(gains)) if gains else 0.0}
    figures["seam_ratio"] = float(np.mean(seams))
    return {**figures, **_expression_correlations(judge, wanted, got)}


def seam(photo: U8, pasted: U8) -> float:
    """Gradient along the border of what was pasted, over the photo's own in the same place; 1 is no seam."""
    changed = (photo != pasted).any(2)
    ring = binary_dilation(changed, iterations=3) & ~binary_erosion(changed, iterations=3)
    if not ring.any():
        return 1.0
    steps = [np.abs(np.gradient(picture.astype(np.float64).mean(2))).sum(0)[ring].mean() for picture in (pasted, photo)]
    return float(steps[0] / max(steps[1], 1e-6))


def _note(judge: Judge, picture: U8, expression55: Any, wanted: list[Any], got: list[Any]) -> None:
    traits = judge.traits(picture)
    if traits is not None:
        wanted.append(traits_of(np.zeros(ANGLES), expression55)[ANGLES:])
        got.append(traits[ANGLES:])


def _expression_correlations(judge: Judge, wanted: list[Any], got: list[Any]) -> Figures:
    figures: Figures = {"measured": len(got)}
    for k, name in enumerate(TRAITS[ANGLES:]):
        if got:
            figures[f"{name}_correlation"] = pearson(np.array(got)[:, k], np.array(wanted)[:, k])
        figures[f"{name}_judge_correlation"] = judge.correlation[name]
    return figures


def _psnr(a: U8, b: U8, where: NDArray[np.bool_]) -> float:
    error = ((a[where].astype(np.float64) - b[where]) ** 2).mean()
    return float(10 * np.log10(255**2 / max(error, 1e-3)))
