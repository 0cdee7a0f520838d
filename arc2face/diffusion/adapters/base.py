"""The contract of an adapter: loading changes nothing, applying changes the run, leaving leaves no trace.

To add one: a new file here with a class like this, its entry in `ADAPTERS`, and its files in the weights table.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, ClassVar, Protocol

import torch
from diffusers import UNet2DConditionModel

from arc2face.diffusion.denoising import Denoiser
from arc2face.types import GenerationRequest
from arc2face.weights.folder import ModelsFolder


class Adapter(Protocol):
    """One way of changing a run.

    `name`: key in requests and in the registry. `title`: for people. `feature`: what `arc2face download` calls it.
    `files`: accepted spellings of the weight file, relative to a models root.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    feature: ClassVar[str]
    files: ClassVar[tuple[str, ...]]

    def load(self, models: ModelsFolder, unet: UNet2DConditionModel, dtype: torch.dtype) -> Any:
        """Read and check the weights; `unet` is only looked at. Raises WeightsError."""
        ...

    def applied(self, weights: Any, run: Denoiser, request: GenerationRequest) -> AbstractContextManager[None]:
        """Change `run` (and its UNet) for the body; undo all of it on leaving, also after an error or a cancel.

        `weights`: what `load` returned. `request` has this adapter switched on.
        """
        ...
