"""How: the generation settings that every tab shares, and their values as request fields."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from app.runs.shell import INSTANT, QUIET
from arc2face.settings import (
    CHOOSABLE_SCHEDULERS,
    DEFAULT_SCHEDULER,
    FAST,
    FULL,
    MAX_IMAGES,
    MAX_SEED,
    SCHEDULERS,
    Mode,
)

ROLLED_SEEDS = 1_000_000
"""Seeds that the page draws itself stay short enough to read out."""
MIN_FAST_STEPS = 2


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
        if fast and steps > FAST.steps_range[1]:
            steps = FAST.steps
        if fast and guidance > FAST.usual_guidance[1]:
            guidance = FAST.guidance_scale
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
            self.steps = gr.Slider(
                *FULL.steps_range,
                value=FULL.steps,
                step=1,
                label="Steps",
                info="More steps, finer and slower.",
                buttons=[],
            )
            self.guidance = gr.Slider(
                *FULL.guidance_range,
                value=FULL.guidance_scale,
                step=0.1,
                label="Guidance",
                info="How closely each picture must follow the face.",
                buttons=[],
            )
            self.scheduler = gr.Dropdown(
                [(SCHEDULERS[name], name) for name in CHOOSABLE_SCHEDULERS],
                value=DEFAULT_SCHEDULER,
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
        self.fast.input(None, [self.fast, *self._following], self._following, js=_follow(usual=True), **QUIET)
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

    @property
    def _following(self) -> list[Any]:
        return [self.steps, self.guidance, self.scheduler]

    def follow_after(self, event: Any) -> None:
        """Fit the ranges to the mode once `event` has set values, which stay."""
        event.success(None, [self.fast, *self._following], self._following, js=_follow(usual=False), **QUIET)

    def restored(self, settings: Mapping[str, Any]) -> dict[Any, Any]:
        """Updates that put the settings of a recipe back; fields a recipe lacks keep their value."""
        fast = bool(settings.get("fast", False))
        widgets = {
            "num_images": self.num_images,
            "seed": self.seed,
            "steps": self.steps,
            "guidance_scale": self.guidance,
            "scheduler": self.scheduler,
        }
        updates = {
            widget: settings[name] for name, widget in widgets.items() if settings.get(name) not in (None, "lcm")
        }
        updates |= {self.fast: fast, self.new_seed: False}
        return updates


def _follow(*, usual: bool) -> str:
    """A script that fits ranges to the mode. `usual`: with the mode's usual values, else the present ones stay.

    It runs in the browser, so that the ranges Gradio checks on the server stay the wide ones: a click that overtakes a
    change of range would be refused otherwise.
    """

    def row(mode: Mode, fewest: int) -> tuple[Any, ...]:
        return (fewest, mode.steps_range[1]), mode.steps, mode.usual_guidance, mode.guidance_scale

    modes = json.dumps({"true": row(FAST, MIN_FAST_STEPS), "false": row(FULL, FULL.steps_range[0])})
    return f"""(fast, steps, guidance, scheduler) => {{
      const [stepsRange, usualSteps, guidanceRange, usualGuidance] = {modes}[String(Boolean(fast))];
      const slider = ([minimum, maximum], value) => ({{__type__: "update", minimum, maximum, value}});
      return [
        slider(stepsRange, {"usualSteps" if usual else "steps"}),
        slider(guidanceRange, {"usualGuidance" if usual else "guidance"}),
        {{__type__: "update", interactive: !fast, value: scheduler,
          info: fast ? "Fast mode brings its own scheduler (LCM)." : null}},
      ];
    }}"""
