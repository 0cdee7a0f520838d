"""All figures of a set, from what was seen. Sections are independent; each says why it lacks what it lacks."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from arc2face.evaluation import control
from arc2face.evaluation.bootstrap import mean_figure
from arc2face.evaluation.breakdown import breakdown
from arc2face.evaluation.distances import frechet, kernel_distance, moments
from arc2face.evaluation.diversity import pixel_diversity
from arc2face.evaluation.duplicates import duplicates
from arc2face.evaluation.features import Features
from arc2face.evaluation.figure import Figures, absent, measured
from arc2face.evaluation.likeness import asked_people, leakage, likeness
from arc2face.evaluation.listed import listed_pairs
from arc2face.evaluation.names import suspects
from arc2face.evaluation.protocol import Protocol
from arc2face.evaluation.samples import FaceSet
from arc2face.evaluation.verification import within_set

NO_JUDGE = "no second recogniser was named (--judge)"
NO_INCEPTION = "no Inception file was named (--inception)"
NOT_BOTH = "it compares drawn pictures with photographs, and this set holds one kind only"
ROLES = (("real", False), ("drawn", True))
RECOGNISERS = ("recogniser", "judge")
MIN_FID = 2048
"""Fewer pictures than features: the covariance is singular, and FID says more about the number than about looks."""


def all_figures(faces: FaceSet, features: Features, protocol: Protocol, reasons: dict[str, str]) -> Figures:
    """Every section but LPIPS. `reasons`: why pose and expression were not read, empty where they were."""
    roles = [(role, drawn) for role, drawn in ROLES if (features.drawn == drawn).any()]
    found: Figures = {
        "set": counts(faces, features),
        "faces": face_rates(features, protocol),
        "verification": {},
        "names": suspects(features),
        "likeness": {},
    }
    for role, drawn in roles:
        found["verification"][role] = {name: _verified(features, drawn, name, protocol) for name in RECOGNISERS}
    if faces.pairs:
        found["published_pairs"] = {name: _listed(faces, features, name, protocol) for name in RECOGNISERS}
    threshold = _threshold(found)
    if features.drawn.any():
        for name in RECOGNISERS:
            there = features.vectors(name) is not None
            found["likeness"][name] = likeness(features, protocol, name) if there else {"to_input": absent(NO_JUDGE)}
        found["leakage"] = _leakage(features, found)
    found["diversity"] = {role: {"pixels": pixel_diversity(features, drawn, protocol)} for role, drawn in roles}
    found["distribution"] = distribution(features, protocol)
    people = features.person
    found["pose"] = {
        "error": control.pose_error(features.asked_pose, features.pose, people, protocol, reasons["pose"]),
        "coverage": {
            role: control.pose_coverage(features.pose[features.drawn == drawn], reasons["pose"])
            for role, drawn in roles
        },
    }
    asked, got, why = features.asked_expression, features.expression, reasons["expression"]
    found["expression"] = {
        "error": control.expression_error(asked, got, people, protocol, why),
        "coverage": {role: control.expression_coverage(got[features.drawn == drawn], why) for role, drawn in roles},
    }
    opened = np.flatnonzero(features.opened)
    found["duplicates"] = duplicates(
        features.raw["hash"][opened], features.raw["pixels"][opened], people[opened], features.drawn[opened],
        [features.keys[place] for place in opened],
    )  # fmt: skip
    if any(features.labels):
        found["groups"] = breakdown(features, protocol, threshold)
    return found


def counts(faces: FaceSet, features: Features) -> Figures:
    """How much there is of what."""
    per_person = np.bincount(features.person[features.person >= 0], minlength=1)
    return {
        "name": faces.name,
        "pictures": len(features),
        "real": int((~features.drawn).sum()),
        "drawn": int(features.drawn.sum()),
        "people": len(features.people),
        "per_person": {"least": int(per_person.min()), "most": int(per_person.max())},
        "without_a_name": int((features.person < 0).sum()),
        "notes": list(faces.notes),
    }


def face_rates(features: Features, protocol: Protocol) -> Figures:
    """No-face rate of pictures that could be opened, pictures that could not, several faces, detector score."""
    opened, reps = features.opened, protocol.replicates
    figures: Figures = {}
    for role, drawn in ROLES:
        mine = opened & (features.drawn == drawn)
        if (features.drawn == drawn).any():
            lost = np.where(features.found[mine], 0.0, 1.0)
            figures[f"no_face_{role}"] = mean_figure(lost, features.person[mine], reps, protocol.seed, "picture")
    closed = ~opened
    figures["no_picture"] = measured(float(closed.mean()), pictures=int(closed.sum()))
    several = features.raw["faces"] > 1
    figures["several_faces"] = measured(float(several[opened].mean()) if opened.any() else 0.0,
                                        pictures=int(several.sum()))  # fmt: skip
    scores = np.where(features.found, features.raw["score"], np.nan)
    figures["detector_score"] = mean_figure(scores, features.person, reps, protocol.seed, "face")
    reasons = Counter(str(text) for text in features.error if text)
    figures["reasons"] = dict(reasons.most_common(20))
    figures["examples"] = [features.keys[k] for k in np.flatnonzero(features.error != "")[:20]]
    return figures


def distribution(features: Features, protocol: Protocol) -> Figures:
    """FID and KID of the drawn pictures against the photographs."""
    if not features.drawn.any() or features.drawn.all():
        return {"fid": absent(NOT_BOTH), "kid": absent(NOT_BOTH)}
    if "inception" not in features.raw:
        return {"fid": absent(NO_INCEPTION), "kid": absent(NO_INCEPTION)}
    rows = features.raw["inception"]
    known = np.isfinite(rows[:, 0])
    real, drawn = rows[known & ~features.drawn], rows[known & features.drawn]
    if min(len(real), len(drawn)) < 2:
        reason = "fewer than two faces on one side"
        return {"fid": absent(reason), "kid": absent(reason)}
    blocks = [[part[k : k + 4096] for k in range(0, len(part), 4096)] for part in (real, drawn)]
    (mean, covariance, _), (other, other_covariance, _) = (moments(part) for part in blocks)
    sizes = len(real), len(drawn)
    fid = frechet(mean, covariance, other, other_covariance)
    kid, error = kernel_distance(real, drawn, protocol.kid_subsets, protocol.kid_subset, protocol.seed)
    figures = {
        "fid": measured(fid, real=sizes[0], drawn=sizes[1]),
        "kid": measured(kid, standard_error=error, subsets=protocol.kid_subsets, real=sizes[0], drawn=sizes[1]),
    }
    if min(sizes) < MIN_FID:
        figures["fid"]["warning"] = f"fewer than {MIN_FID} pictures on a side: comparable with this very size only"
    return figures


def _verified(features: Features, drawn: bool, name: str, protocol: Protocol) -> Figures:
    vectors = features.vectors(name)
    if vectors is None:
        return {"eer": absent(NO_JUDGE)}
    places = features.usable(drawn, name)
    return within_set(vectors[places], features.person[places], protocol)


def _listed(faces: FaceSet, features: Features, name: str, protocol: Protocol) -> Figures:
    vectors = features.vectors(name)
    if vectors is None:
        return {"eer": absent(NO_JUDGE)}
    seen = np.flatnonzero(np.isfinite(vectors[:, 0]))
    rows = {features.keys[place]: row for row, place in enumerate(seen)}
    return listed_pairs(vectors[seen], rows, faces.pairs, protocol)


def _threshold(found: Figures) -> float | None:
    """Where FAR equals 1 - TAR on the photographs, else on the drawn pictures, else None."""
    for role in ("real", "drawn"):
        figure: Any = found["verification"].get(role, {}).get("recogniser", {}).get("eer", {})
        if figure.get("value") is not None:
            return float(figure["threshold"])
    return None


def _leakage(features: Features, found: Figures) -> Figures:
    """Of drawn pictures and, as what chance alone gives, of the photographs themselves."""
    drawn, real = features.usable(True), features.usable(False)
    vectors, person = features.embedding, features.person
    threshold = _strict(found)
    asked, whose = asked_people(features)
    return {
        "asked_of_others": leakage(vectors[drawn], person[drawn], asked, whose, threshold),
        "drawn": leakage(vectors[drawn], person[drawn], vectors[real], person[real], threshold),
        "photographs_themselves": leakage(vectors[real], person[real], vectors[real], person[real], threshold),
    }


def _strict(found: Figures) -> float | None:
    """Threshold of the lowest FAR that the photographs support, None when they support none."""
    table: Any = found["verification"].get("real", {}).get("recogniser", {}).get("tar_at_far", {})
    values = [entry["threshold"] for entry in table.values() if isinstance(entry, dict) and "threshold" in entry]
    return float(values[-1]) if values else None
