"""Pictures decoded once and kept on the device, for a GPU that would otherwise wait for them."""

from __future__ import annotations

import logging
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from arc2face_training.people.pictures import Pictures

log = logging.getLogger(__name__)
PART = 64
"""Pictures that one thread decodes at a time."""


class ResidentPictures:
    """Chosen pictures of a dataset as one uint8 tensor on a device; S x S pixels need 3 S S bytes each."""

    def __init__(self, pictures: Pictures, numbers: NDArray[np.int64], device: torch.device) -> None:
        """Decode the pictures of these `numbers`, on all cores. Others cannot be taken later."""
        store = torch.empty((len(numbers), *pictures.shape[1:]), dtype=torch.uint8)
        view = store.numpy()

        def read(first: int) -> None:
            view[first : first + PART] = pictures[numbers[first : first + PART]]

        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            list(pool.map(read, range(0, len(numbers), PART)))
        self._store = store.to(device)
        self._place = np.full(len(pictures), -1, np.int64)
        self._place[numbers] = np.arange(len(numbers))
        log.info("%d pictures of %d pixels are on %s", len(numbers), pictures.size, device)

    def take(self, numbers: NDArray[np.int64]) -> Tensor:
        """(n, 3, S, S) float32, values 0 to 255, on the device. Raises IndexError for a picture that is not here."""
        places = self._place[numbers]
        if len(places) and places.min() < 0:
            raise IndexError(f"Picture {int(numbers[places.argmin()])} was not chosen to be kept on the device.")
        chosen = torch.from_numpy(places).to(self._store.device)
        return self._store[chosen].permute(0, 3, 1, 2).float()
