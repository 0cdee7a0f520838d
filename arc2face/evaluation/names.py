"""Do the names fit the photographs? Two people may share a folder."""

from __future__ import annotations

import numpy as np

from arc2face.evaluation.features import Features
from arc2face.evaluation.figure import Figures, absent, measured
from arc2face.faces.identities import OUTLIER_COSINE


def suspects(features: Features) -> Figures:
    """Photographs that agree badly with the other photographs under their name, of three or more."""
    places = features.usable(False)
    vectors, person = features.embedding[places].astype(np.float64), features.person[places]
    sums, sizes = np.zeros((len(features.people), vectors.shape[1])), np.bincount(person, minlength=1)
    np.add.at(sums, person, vectors)
    enough = sizes[person] > 2 if len(places) else np.zeros(0, bool)
    if not enough.any():
        return {"suspicious": absent("nobody has three photographs with a face")}
    others = sums[person] - vectors
    cosine = np.einsum("nd,nd->n", vectors, others) / np.maximum(np.linalg.norm(others, axis=1), 1e-12)
    odd = enough & (cosine < OUTLIER_COSINE)
    share = measured(odd.sum() / enough.sum(), pictures=int(odd.sum()), of=int(enough.sum()), below=OUTLIER_COSINE)
    worst = np.flatnonzero(odd)[np.argsort(cosine[odd])][:20]
    return {"suspicious": share, "examples": [features.keys[place] for place in places[worst]]}
