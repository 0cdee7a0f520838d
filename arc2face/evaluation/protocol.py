"""The written protocol of a run: every choice that changes a figure. It is in the report, and its hash in the state."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from arc2face import checks
from arc2face.faces.search import DETECTION_LADDER
from arc2face.settings import MAX_SEED

FARS = (1e-1, 1e-2, 1e-3, 1e-4)
FORMAT = 1
"""Raised when a picture is looked at in another way, so that old state is not mixed with new."""


@dataclass(frozen=True, slots=True)
class Protocol:
    """What is measured, and how.

    `pictures_per_person`, `people`: at most so many, drawn with `seed`; 0 takes all.
    `replicates`: draws of people for each interval. `bootstrap_pairs`: most pairs per kind that these draws weigh;
    more are drawn evenly with `seed` (the figures themselves always use all pairs).
    `least_impostors`: pairs of two people that must lie above the threshold of a FAR; else that TAR is absent.
    `pose`, `expression`: whether the readers look. `lpips_pairs`: most pairs per person. `kid_subsets` of
    `kid_subset` pictures each.
    """

    pictures_per_person: int = 0
    people: int = 0
    seed: int = 0
    replicates: int = 300
    bootstrap_pairs: int = 1_000_000
    least_impostors: int = 10
    pose: bool = True
    expression: bool = True
    lpips_pairs: int = 10
    kid_subsets: int = 100
    kid_subset: int = 1000

    def __post_init__(self) -> None:
        most = 10_000_000
        checks.whole("The pictures per person", self.pictures_per_person, (0, most))
        checks.whole("The number of people", self.people, (0, most))
        checks.whole("The seed", self.seed, (0, MAX_SEED))
        checks.whole("The number of bootstrap draws", self.replicates, (0, 10_000))
        checks.whole("The pairs of the bootstrap", self.bootstrap_pairs, (1000, 100_000_000))
        checks.whole("The least number of impostors", self.least_impostors, (1, 1000))
        checks.flag("pose", self.pose)
        checks.flag("expression", self.expression)
        checks.whole("The LPIPS pairs per person", self.lpips_pairs, (1, 10_000))
        checks.whole("The number of KID subsets", self.kid_subsets, (1, 1000))
        checks.whole("The size of a KID subset", self.kid_subset, (2, 10_000))

    @property
    def fars(self) -> tuple[float, ...]:
        """False accept rates of the report."""
        return FARS

    def written(self) -> dict[str, Any]:
        """JSON-ready, with the fixed choices in words."""
        return {
            **asdict(self),
            "detector": {
                "network": "SCRFD",
                "sizes": [{"canvas": factor, "input": size} for factor, size in DETECTION_LADDER],
                "chosen_face": "the largest squared score times area; a lying photo is turned upright first",
            },
            "alignment_identity": "ArcFace's five points to its 112 x 112 template (similarity transform, insightface)",
            "alignment_looks": "FFHQ, from 68 landmarks, 512 x 512, before LPIPS, FID and KID",
            "embedding": "one view, no flip; cosine of the vectors at length 1",
            "intervals": "95 %, percentile bootstrap over people",
            "histogram_bin": 0.0001,
            "no_face": "counted, never dropped: a picture without a face has no score and is in the no-face rate",
        }

    def looking(self, models: Mapping[str, str]) -> str:
        """Hash of what decides how one picture is looked at; `models`: SHA-256 by name."""
        facts = {"format": FORMAT, "ladder": DETECTION_LADDER, "pose": self.pose, "expression": self.expression}
        text = json.dumps({**facts, "models": dict(models)}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()
