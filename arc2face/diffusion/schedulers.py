"""The tested samplers, each built from the base model's scheduler config.

A scheduler object holds the state of one run, so every request gets a new one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    LCMScheduler,
    UniPCMultistepScheduler,
)

from arc2face.errors import SettingsError

_CLASSES: dict[str, tuple[Any, dict[str, Any]]] = {
    "dpm++": (DPMSolverMultistepScheduler, {}),
    "dpm++-karras": (DPMSolverMultistepScheduler, {"use_karras_sigmas": True}),
    "unipc": (UniPCMultistepScheduler, {}),
    "euler": (EulerDiscreteScheduler, {}),
    "ddim": (DDIMScheduler, {}),
    "lcm": (LCMScheduler, {}),
}


def make_scheduler(name: str, config: Mapping[str, Any], steps: int, device: str) -> Any:
    """A scheduler with its `steps` timesteps set. `config`: raw scheduler_config.json (see load_scheduler_config).

    Raises SettingsError when the sampler cannot do that number of steps.
    """
    cls, extra = _CLASSES[name]
    settings = {key: value for key, value in config.items() if not key.startswith("_")}
    # PNDM's own switches mean nothing to the others, and diffusers would warn about them.
    settings.pop("skip_prk_steps", None)
    settings["clip_sample"] = False
    known = set(cls._get_init_keys(cls))
    scheduler = cls(**{key: value for key, value in {**settings, **extra}.items() if key in known})
    try:
        scheduler.set_timesteps(steps, device=device)
    except ValueError as error:
        raise SettingsError(f"The {name} sampler cannot run {steps} steps: {error}") from error
    return scheduler
