"""What was seen, as arrays with the set's own facts beside them: what all figures are computed from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arc2face.evaluation.pairs import Float32, unit
from arc2face.evaluation.samples import FaceSet, codes_of
from arc2face.evaluation.scores import Int64
from arc2face.types import EMBEDDING_SIZE, EXPRESSION_SIZE


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """n pictures in the order of the set.

    `person`: (n,) number of the person in `people`, -1 unknown. `drawn`: (n,) whether a model made it. `error`: (n,)
    why there is no face, empty where there is one. `found`: (n,) whether there is an embedding. `embedding`, `judge`:
    (n, 512) unit rows, NaN where there is none; `judge` None without a second recogniser. `pose`: (n, 3) degrees.
    `expression`: (n, 55). `asked_*`: the same kinds, NaN where nothing was asked. `input`: (n,) place of the photo
    that each was drawn from, -1 for none. `raw`: everything else that was kept, by column.
    """

    keys: list[str]
    people: list[str]
    person: Int64
    drawn: NDArray[np.bool_]
    error: NDArray[Any]
    found: NDArray[np.bool_]
    embedding: Float32
    judge: Float32 | None
    pose: Float32
    expression: Float32
    asked: Float32
    asked_pose: Float32
    asked_expression: Float32
    input: Int64
    labels: Sequence[dict[str, str]]
    raw: dict[str, NDArray[Any]]

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def opened(self) -> NDArray[np.bool_]:
        """(n,) whether the picture could be read at all."""
        return self.raw["size"][:, 0] > 0

    def vectors(self, name: str) -> Float32 | None:
        """`embedding` or `judge`."""
        return self.embedding if name == "recogniser" else self.judge

    def usable(self, drawn: bool, name: str = "recogniser") -> Int64:
        """Places of pictures of one role with a known person and an embedding of that recogniser."""
        vectors = self.vectors(name)
        seen = np.zeros(len(self), bool) if vectors is None else np.isfinite(vectors[:, 0])
        return np.flatnonzero((self.drawn == drawn) & (self.person >= 0) & seen)

    @classmethod
    def of(cls, faces: FaceSet, raw: dict[str, NDArray[Any]]) -> Features:
        """A set with what a `State` loaded for it."""
        samples = faces.samples
        person, people = codes_of([sample.person for sample in samples])
        places = {sample.key: place for place, sample in enumerate(samples)}
        asked = np.full((len(samples), EMBEDDING_SIZE), np.nan, np.float32)
        pose = np.full((len(samples), 3), np.nan, np.float32)
        expression = np.full((len(samples), EXPRESSION_SIZE), np.nan, np.float32)
        drawn_from = np.full(len(samples), -1, np.int64)
        for place, sample in enumerate(samples):
            wish = sample.asked
            if wish is None:
                continue
            if wish.vector is not None:
                asked[place] = wish.vector
            if wish.pose is not None:
                pose[place] = wish.pose
            if wish.expression is not None:
                expression[place] = wish.expression
            if wish.input_key is not None:
                drawn_from[place] = places.get(wish.input_key, -1)
        embedding = unit(raw["embedding"])
        return cls(
            keys=[sample.key for sample in samples],
            people=people,
            person=person,
            drawn=np.array([sample.role == "drawn" for sample in samples], bool),
            error=raw["error"],
            found=np.isfinite(embedding[:, 0]),
            embedding=embedding,
            judge=unit(raw["judge"]) if "judge" in raw else None,
            pose=raw["pose"],
            expression=raw["expression"],
            asked=unit(asked),
            asked_pose=pose,
            asked_expression=expression,
            input=drawn_from,
            labels=[dict(sample.labels) for sample in samples],
            raw={name: raw[name] for name in raw if name not in ("embedding", "judge", "pose", "expression", "error")},
        )
