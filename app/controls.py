"""How: the generation settings that every tab shares, and their values as request fields."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from app.shell import INSTANT
from arc2face.types import FAST_STEPS_RANGE, GUIDANCE_RANGE, MAX_IMAGES, MAX_SEED, SCHEDULERS, STEPS_RANGE

ROLLED_SEEDS = 1_000_000
"""Seeds that the page draws itself stay short enough to read out."""
STEPS, GUIDANCE = 25, 3.0
FAST_STEPS, FAST_GUIDANCE = 4, 1.0
MIN_FAST_STEPS = 2
MAX_FAST_GUIDANCE = 2.0
SCHEDULER_NAMES = {
    "dpm++": "DPM-Solver++ (usual choice)",
    "dpm++-karras": "DPM-Solver++ with Karras noise levels",
    "unipc": "UniPC",
    "euler": "Euler",
    "ddim": "DDIM",
}


@dataclass(frozen=True, slots=True)
class Settings:
    """Values of `GenerationControls.inputs`, in their order."""

    num_images: int
    fast: bool
    new_seed: bool
    seed: int
    steps: int
    guidance_scale: float
    scheduler: str
    keep_best: int

    @classmethod
    def of(cls, *values: Any) -> Settings:
        """Take the raw component values; numbers that arrive as floats become whole ones.

        Steps and guidance of the other mode, from a click that overtook the switch, become the mode's usual ones.
        """
        num_images, fast, new_seed, seed, steps, guidance, scheduler, keep = values
        chosen = random.randrange(ROLLED_SEEDS) if new_seed or seed is None else int(seed)
        keep_best = min(int(keep), int(num_images))
        if fast and steps > FAST_STEPS_RANGE[1]:
            steps = FAST_STEPS
        if fast and guidance > MAX_FAST_GUIDANCE:
            guidance = FAST_GUIDANCE
        return cls(
            int(num_images), bool(fast), bool(new_seed), chosen, int(steps), float(guidance), str(scheduler), keep_best
        )

    @property
    def fields(self) -> dict[str, Any]:
        """Keyword arguments for `GenerationRequest`."""
        return {
            "num_images": self.num_images,
            "seed": self.seed,
            "steps": self.steps,
            "guidance_scale": self.guidance_scale,
            "fast": self.fast,
            "scheduler": self.scheduler,
            "keep_best": self.keep_best,
        }


class FollowingSlider(gr.Slider):
    """A slider whose range follows fast mode.

    Gradio refuses values outside the range it knows, also those of a click that overtook the change of range; here
    such a value passes, and `Settings.of` brings it into the mode's range.
    """

    is_template = True

    def preprocess(self, payload: float) -> float:
        """The value as it is."""
        return float(payload)


class GenerationControls:
    """Number of pictures and fast mode in the open; seed, steps, guidance, scheduler and keep-best folded away."""

    def __init__(self) -> None:
        self.num_images = gr.Slider(1, MAX_IMAGES, value=4, step=1, label="Pictures", buttons=[])
        self.fast = gr.Checkbox(
            False, label="Fast mode", info="A few steps instead of 25: quicker, a little less faithful."
        )

    def build_advanced(self) -> None:
        """The folded part, placed by the tab under its primary action."""
        with gr.Accordion("Advanced settings", open=False):
            self.new_seed = gr.Checkbox(
                True, label="A new seed every time", info="Off: the same settings give the same pictures."
            )
            with gr.Row(elem_classes=["seed-row"]):
                self.seed = gr.Number(0, label="Seed", precision=0, minimum=0, maximum=MAX_SEED, scale=3)
                self.dice = gr.Button("Roll", size="sm", scale=1, min_width=72)
            self.steps = FollowingSlider(
                *STEPS_RANGE, value=STEPS, step=1, label="Steps", info="More steps, finer and slower.", buttons=[]
            )
            self.guidance = FollowingSlider(
                *GUIDANCE_RANGE,
                value=GUIDANCE,
                step=0.1,
                label="Guidance",
                info="How closely each picture must follow the face.",
                buttons=[],
            )
            self.scheduler = gr.Dropdown(
                [(SCHEDULER_NAMES.get(name, name), name) for name in SCHEDULERS if name != "lcm"],
                value="dpm++",
                label="Scheduler",
            )
            self.keep_best = gr.Slider(
                0,
                MAX_IMAGES,
                value=0,
                step=1,
                label="Keep only the most similar",
                info="0 keeps every picture.",
                buttons=[],
            )
        self.fast.input(follow_mode, [self.fast], [self.steps, self.guidance, self.scheduler], **INSTANT)
        self.dice.click(lambda: (random.randrange(ROLLED_SEEDS), False), None, [self.seed, self.new_seed], **INSTANT)

    @property
    def inputs(self) -> list[Any]:
        """Components in the order of `Settings`."""
        return [
            self.num_images,
            self.fast,
            self.new_seed,
            self.seed,
            self.steps,
            self.guidance,
            self.scheduler,
            self.keep_best,
        ]

    def restored(self, settings: Mapping[str, Any]) -> dict[Any, Any]:
        """Updates that put the settings of a recipe back; fields a recipe lacks keep their value."""
        fast = bool(settings.get("fast", False))
        steps, guidance, scheduler = follow_mode(fast)
        widgets = {
            "num_images": self.num_images,
            "seed": self.seed,
            "keep_best": self.keep_best,
            "scheduler": self.scheduler,
        }
        updates: dict[Any, Any] = {
            widget: gr.update(value=settings[name])
            for name, widget in widgets.items()
            if name in settings and settings[name] != "lcm"
        }
        updates[self.new_seed] = False
        updates[self.fast] = fast
        updates[self.steps] = {**steps, "value": settings.get("steps", steps["value"])}
        updates[self.guidance] = {**guidance, "value": settings.get("guidance_scale", guidance["value"])}
        updates[self.scheduler] = {**scheduler, **updates.get(self.scheduler, {})}
        return updates


def follow_mode(fast: bool) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Ranges and usual values of steps, guidance and scheduler for fast mode on or off."""
    if fast:
        steps = gr.update(minimum=MIN_FAST_STEPS, maximum=FAST_STEPS_RANGE[1], value=FAST_STEPS)
        guidance = gr.update(minimum=FAST_GUIDANCE, maximum=MAX_FAST_GUIDANCE, value=FAST_GUIDANCE)
        return steps, guidance, gr.update(interactive=False, info="Fast mode brings its own scheduler (LCM).")
    steps = gr.update(minimum=STEPS_RANGE[0], maximum=STEPS_RANGE[1], value=STEPS)
    guidance = gr.update(minimum=GUIDANCE_RANGE[0], maximum=GUIDANCE_RANGE[1], value=GUIDANCE)
    return steps, guidance, gr.update(interactive=True, info=None)
