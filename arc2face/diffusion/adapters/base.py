"""The contract of an adapter: loading changes nothing, applying gives inputs to a run, leaving leaves no trace.

To add one: a new file here with a class like this, its line in `ADAPTERS`, and its files in the weights table.
Its settings reach it through `GenerationRequest.extras[name]`; nothing else has to know it.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, ClassVar, Protocol

import torch
from diffusers import UNet2DConditionModel

from arc2face.diffusion.denoising import Denoiser
from arc2face.types import GenerationRequest
from arc2face.weights.folder import ModelsFolder


class Adapter(Protocol):
    """One way of changing a run. May be subclassed for the defaults of `wanted` and `recipe`, or only looked like.

    `name`: key in `GenerationRequest.extras`, in recipes and in the registry. `title`: for people. `feature`: what
    `arc2face download` calls it. `files`: accepted spellings of the weight file, relative to a models root; empty
    when there is none.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    feature: ClassVar[str]
    files: ClassVar[tuple[str, ...]]

    def wanted(self, request: GenerationRequest) -> bool:
        """Whether `request` switches this adapter on; by default, whether `extras` holds settings under its name.

        Asked before anything loads. Raises SettingsError when the adapter's settings cannot be used.
        """
        return self.name in request.extras

    def recipe(self, request: GenerationRequest) -> Mapping[str, Any]:
        """What the recipe says of this adapter, JSON-ready; empty for nothing. `request` has it switched on.

        It stands in the recipe as `adapters[name]`, and `request_from_recipe` gives it back as `extras[name]`.
        """
        return dict(request.extras.get(self.name) or {})

    def load(self, models: ModelsFolder, unet: UNet2DConditionModel, dtype: torch.dtype) -> Any:
        """Read and check the weights, into host memory; `unet` is only looked at. Raises WeightsError.

        A module is moved to the device around its use; anything else stays where it is.
        """
        ...

    def applied(self, weights: Any, run: Denoiser, request: GenerationRequest) -> AbstractContextManager[None]:
        """Give `run` its inputs for the body, and take them away on leaving, also after an error or a cancel.

        `weights`: what `load` returned. `request` has this adapter switched on. `run` offers `merged` (a LoRA in the
        weights), `expressing` (tokens of a second cross-attention), `record` and `reading` (a picture that the
        self-attentions read), `residuals_from` (added to those of others), `before_step` and `after_step` (ordered
        hooks), and `borrow` (another part on the device). The UNet itself is not changed here: the run brings its
        weights into the wanted state before the first step. Whoever swaps attentions nevertheless
        (`arc2face.diffusion.attention.processors`) does it here and gets diffusers' own forward.
        """
        ...
