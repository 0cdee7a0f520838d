"""The tested samplers, each built from the base model's scheduler config.

A scheduler object holds the state of one run, so every request gets a new one.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    LCMScheduler,
    UniPCMultistepScheduler,
)

from arc2face.diffusion.float32 import float32_defaults
from arc2face.errors import IncompatibleWeightsError, SettingsError

_CLASSES: dict[str, tuple[Any, dict[str, Any]]] = {
    "dpm++": (DPMSolverMultistepScheduler, {}),
    "dpm++-karras": (DPMSolverMultistepScheduler, {"use_karras_sigmas": True}),
    "unipc": (UniPCMultistepScheduler, {}),
    "euler": (EulerDiscreteScheduler, {}),
    "ddim": (DDIMScheduler, {}),
    "lcm": (LCMScheduler, {}),
}

_MISFITS = (NotImplementedError, TypeError, AttributeError, LookupError, ArithmeticError, AssertionError)
"""What samplers raise for configs that were not written for them; not what a failing device raises."""
USUAL_LEAST_STEPS = {"euler": 2, "ddim": 6}
"""Fewer steps than this run, but what comes out is noise."""


def too_few_steps(name: str, steps: int) -> str | None:
    """A sentence when the sampler gives noise at this number of steps, else None."""
    least = USUAL_LEAST_STEPS.get(name, 1)
    if steps >= least:
        return None
    return f"The {name} sampler gives noise at {steps} steps; use at least {least}, or another sampler."


def takes_generator(scheduler: Any) -> bool:
    """Whether the sampler draws its noise from generators given to `step`."""
    return "generator" in inspect.signature(scheduler.step).parameters


def make_scheduler(name: str, config: Mapping[str, Any], steps: int, device: str = "cpu") -> Any:
    """A scheduler with its `steps` timesteps set. `config`: raw scheduler_config.json (see load_scheduler_config).

    Keep it in host memory: with its timesteps on the device, every step of every sampler would wait for the device.

    Raises:
        SettingsError: the sampler cannot do that number of steps.
        IncompatibleWeightsError: the config's values do not go together.
    """
    cls, extra = _CLASSES[name]
    settings = {key: value for key, value in config.items() if not key.startswith("_")}
    # PNDM's own switches mean nothing to the others, and diffusers would warn about them.
    settings.pop("skip_prk_steps", None)
    settings["clip_sample"] = False
    settings["steps_offset"] = 1  # as diffusers' pipelines correct it whatever the file says
    known = set(cls._get_init_keys(cls))
    try:
        with float32_defaults():
            scheduler = cls(**{key: value for key, value in {**settings, **extra}.items() if key in known})
            scheduler.set_timesteps(steps, device=device)
    except ValueError as error:
        raise SettingsError(f"The {name} sampler cannot run {steps} steps: {str(error)[:200]}") from error
    except _MISFITS as error:
        raise IncompatibleWeightsError(
            f"scheduler_config.json does not go with the {name} sampler ({str(error)[:120] or type(error).__name__}). "
            "Delete it and run: arc2face download identity"
        ) from error
    return scheduler
