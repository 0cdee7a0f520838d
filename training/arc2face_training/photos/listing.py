"""What a container of files holds, before it is known which of them are photos."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arc2face_training.photos.names import Int64, Names


@dataclass(frozen=True)
class Listing:
    """Files of one container: their names, where their bytes lie (`offset`; of a table the row), how many (`size`).

    `owners`: a person's key per file as a hash, where the container says more than names do, 0 for none.
    """

    names: Names
    offset: Int64
    size: Int64
    owners: NDArray[np.uint64] | None = None
