"""The figures of what people give: grey photos, covered faces; and whether every group of people is served alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from arc2face_training.common.sharpness import LUMA
from arc2face_training.evaluate.figures import Bench, Figures
from arc2face_training.evaluate.judges import embedding
from arc2face_training.people.columns import GROUPS

U8 = NDArray[np.uint8]
EYES, MOUTH = slice(0, 2), slice(3, 5)
"""Of a face's five points."""
REACH = {"eyes": 0.3, "mouth": 0.4}
"""Half the height of a bar, in distances of the points that it covers."""


def grey(bench: Bench) -> Figures:
    """Input pictures without colour: the person is found among the coloured ones, and drawn all the same."""
    pictures = [_greyed(bench, k) for k in range(len(bench.subjects))]
    rows = {k: row for k, picture in enumerate(pictures) if (row := embedding(bench.engine, picture)) is not None}
    kept = list(rows)
    cosines = np.stack(list(rows.values())) @ bench.gallery.T
    drawn = [bench.picture(k, fast=True, identity=bench.engine.perception.embed(pictures[k])) for k in kept[:20]]
    found = [embedding(bench.engine, picture) for picture in drawn]
    hits = [row is not None and int((row @ bench.gallery.T).argmax()) == k for row, k in zip(found, kept, strict=False)]
    return {
        "rank1": float((cosines.argmax(1) == np.array(kept)).mean()),
        "face_found": len(kept) / len(bench.subjects),
        "drawn_rank1": float(np.mean(hits)),
    }


def _greyed(bench: Bench, number: int) -> U8:
    return np.repeat((bench.subjects[number].rgb_u8 @ LUMA)[..., None], 3, 2).round().astype(np.uint8)


def covered(bench: Bench) -> Figures:
    """Bars over the eyes or the mouth of the input pictures: how many are warned about, and how many whole faces."""
    said = {"eyes": 0, "mouth": 0, "whole": 0}
    faces = bench.engine.perception.faces
    for number, subject in enumerate(bench.subjects):
        face = bench.engine.perception.face(subject.rgb_u8)
        said["whole"] += bool(faces.covered(subject.rgb_u8, face))
        colour = np.random.default_rng(number).integers(0, 256, 3)
        for part, points in (("eyes", face.points[EYES]), ("mouth", face.points[MOUTH])):
            bar = with_bar(subject.rgb_u8, points, REACH[part], colour)
            said[part] += part in faces.covered(bar, face)
    return {f"{name}_warned": count / len(bench.subjects) for name, count in said.items()}


def with_bar(picture: U8, points: NDArray[np.float32], reach: float, colour: NDArray[np.int64]) -> U8:
    """The picture with a bar of one colour over `points` (n, 2), `reach` of their width up and down."""
    middle, width = points.mean(0), float(np.ptp(points[:, 0]))
    top, bottom = int(middle[1] - reach * width), int(middle[1] + reach * width)
    left, right = int(points[:, 0].min() - width / 2), int(points[:, 0].max() + width / 2)
    changed = picture.copy()
    changed[max(top, 0) : bottom, max(left, 0) : right] = colour
    return changed


def fairness(bench: Bench) -> Figures:
    """Rank-1 of plain pictures by main ancestry and by sex, among all people."""
    rows = [embedding(bench.engine, picture) for picture in bench.plain()]
    hits = np.array([row is not None and int((row @ bench.gallery.T).argmax()) == k for k, row in enumerate(rows)])
    people = [subject.person.genes for subject in bench.subjects[: len(hits)]]
    groups = {group: np.array([genes.group == group for genes in people]) for group in GROUPS}
    groups |= {"female": np.array([genes.male < 0.5 for genes in people])}
    groups |= {"male": ~groups["female"]}
    figures: Figures = {f"rank1_{name}": float(hits[chosen].mean()) for name, chosen in groups.items() if chosen.any()}
    figures |= {f"people_{name}": int(chosen.sum()) for name, chosen in groups.items()}
    gaps = [abs(float(hits[chosen].mean() - hits.mean())) for chosen in groups.values() if chosen.any()]
    return {**figures, "largest_gap": max(gaps)}
