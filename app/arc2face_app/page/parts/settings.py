"""How: the generation settings that every tab shares, and their values as request fields."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gradio as gr

from arc2face import checks
from arc2face.settings import (
    CHOOSABLE_SCHEDULERS,
    DEFAULT_IMAGES,
    DEFAULT_SCHEDULER,
    FAST,
    FAST_SCHEDULER,
    FULL,
    GUIDANCE_SHARE,
    MAX_IMAGES,
    MAX_SEED,
    MIDDLE,
    SCHEDULERS,
    Mode,
)
from arc2face.sources import check_settings
from arc2face_app.page.parts.keyed import Component, Rules, Updates, Values
from arc2face_app.page.parts.negative import NotLike
from arc2face_app.runs.shell import INSTANT, QUIET

ROLLED_SEEDS = 1_000_000
"""Seeds that the page draws itself stay short enough to read out."""
MIN_FAST_STEPS = 2
FAST_INFO = "A few steps instead of 25: quicker, a little less faithful."
FAST_ON_CPU = "On, as there is no graphics card: much quicker, a little less faithful."
FAST_ON_SHARE = "On, so that your share of GPU time lasts longer; a little less faithful."
SMALL, IN_THE_MIDDLE = "small", "middle"
SHORTCUTS = [("Small decoder", SMALL), ("Guidance only in the middle of the run", IN_THE_MIDDLE)]
"""Declared approximations, and the values that stand for them."""


class GenerationControls:
    """Number of pictures and fast mode in the open; seed, steps, guidance, scheduler and keep-best folded away."""

    def __init__(self) -> None:
        with gr.Row(equal_height=False, elem_classes=["how-many"]):
            self.num_images = gr.Slider(
                1, MAX_IMAGES, value=DEFAULT_IMAGES, step=1, label="Pictures", buttons=[], scale=1, min_width=150
            )
            self.fast = gr.Checkbox(False, label="Fast mode", info=FAST_INFO, scale=1, min_width=150)

    def build_advanced(self, more: Callable[[], None] | None = None) -> None:
        """The folded part, placed by the tab under its primary action. `more`: builds what the tab adds to it."""
        with gr.Accordion("Advanced settings", open=False):
            if more is not None:
                more()
            self.new_seed = gr.Checkbox(
                True, label="A new seed every time", info="Off: the same settings give the same pictures."
            )
            with gr.Row(elem_classes=["seed-row"]):
                # No limits here: Gradio's own message would not say which field it means.
                self.seed = gr.Number(0, label="Seed", scale=3)
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
            self.shortcuts = gr.CheckboxGroup(
                SHORTCUTS,
                value=[],
                label="Shortcuts",
                info="Quicker, but not exact: how good the pictures are has not been checked. Fewer steps are another.",
            )
            self.not_like = NotLike()
        self.fast.input(None, [self.fast, *self._following], self._following, js=_follow(usual=True), **QUIET)
        self.dice.click(self._roll, None, [self.seed, self.new_seed], **INSTANT)

    def _roll(self) -> Updates:
        return {self.seed: random.randrange(ROLLED_SEEDS), self.new_seed: False}

    @property
    def inputs(self) -> set[Component]:
        """All of them."""
        fields = set(self._fields.values())
        return {*fields, self.new_seed, self.shortcuts, *self.not_like.inputs}

    @property
    def _fields(self) -> dict[str, Component]:
        """Component by field of GenerationRequest."""
        return {
            "num_images": self.num_images,
            "seed": self.seed,
            "steps": self.steps,
            "guidance_scale": self.guidance,
            "fast": self.fast,
            "scheduler": self.scheduler,
            "keep_best": self.keep_best,
        }

    @property
    def rules(self) -> Rules:
        """Rules for a validator. The sliders keep their own ranges."""
        return {self.seed: self._check_seed}

    def _check_seed(self, values: Values) -> None:
        if not values[self.new_seed]:
            checks.whole("The seed", values[self.seed], (0, MAX_SEED))

    def fields(self, values: Values) -> dict[str, Any]:
        """Keyword arguments for GenerationRequest; a new seed is drawn where one is wanted. Raises SettingsError.

        Steps and guidance of the other mode, from a click that overtook the switch, become the mode's usual ones.
        """
        found = {name: values[component] for name, component in self._fields.items()}
        if values[self.new_seed]:
            found["seed"] = random.randrange(ROLLED_SEEDS)
        found["keep_best"] = min(found["keep_best"], found["num_images"])
        if found["fast"] and found["steps"] > FAST.steps_range[1]:
            found["steps"] = None
        if found["fast"] and found["guidance_scale"] > FAST.usual_guidance[1]:
            found["guidance_scale"] = None
        found = self.not_like.guided(found, values)
        return check_settings(**found, **_shortcuts(values[self.shortcuts] or ()))

    @property
    def restorable(self) -> set[Component]:
        """Components that `restored` updates."""
        return self.inputs

    def restored(self, settings: Mapping[str, Any], run: Mapping[str, Any]) -> Updates:
        """Updates that put the settings of a recipe back; what a recipe lacks keeps its value. Raises SettingsError.

        Args:
            settings: what makes the one picture again.
            run: number of pictures, first seed and keep-best of the run that it came from; empty when unknown.
        """
        known = {name: settings[name] for name in self._fields if settings.get(name) not in (None, FAST_SCHEDULER)}
        known |= {name: run[name] for name in ("num_images", "seed", "keep_best") if name in run}
        checked = check_settings(**{**known, "fast": settings.get("fast", False)})
        back = {self._fields[name]: value for name, value in checked.items()}
        return {**back, self.new_seed: False, self.shortcuts: _taken(settings)}

    def seeded(self, seed: object) -> Updates:
        """Updates that set this seed for the runs to come. Raises SettingsError."""
        return {self.seed: checks.whole("The seed", seed, (0, MAX_SEED)), self.new_seed: False}

    def described(self, values: Values) -> dict[str, dict[str, Any]]:
        """The settings as part of a recipe; the seed only where it is a chosen one."""
        fields = {name: values[component] for name, component in self._fields.items()}
        if values[self.new_seed]:
            del fields["seed"]
        return {"settings": fields}

    @property
    def _following(self) -> list[Any]:
        return [self.steps, self.guidance, self.scheduler]

    def follow_after(self, event: Any) -> None:
        """Fit the ranges to the mode once `event` has set values, which stay where the mode takes them."""
        event.success(None, [self.fast, *self._following], self._following, js=_follow(usual=False), **QUIET)

    def sparing(self, values: Values, why: str) -> Updates:
        """Fast mode, unless a visitor was there first. `why`: said beside it. `follow_after` belongs."""
        untouched = {self.fast: False, self.steps: FULL.steps, self.guidance: FULL.guidance_scale}
        if any(values[component] != usual for component, usual in untouched.items()):
            return {}
        return {self.fast: gr.update(value=True, info=why)}


def _shortcuts(chosen: Sequence[str]) -> dict[str, Any]:
    """Request fields for the shortcuts chosen."""
    start, end = MIDDLE if IN_THE_MIDDLE in chosen else GUIDANCE_SHARE
    return {"decoder": "small" if SMALL in chosen else "auto", "guidance_start": start, "guidance_end": end}


def _taken(settings: Mapping[str, Any]) -> list[str]:
    """The shortcuts that a recipe's settings stand for. Another interval than the page's is the page's, too."""
    whole = settings.get("guidance_start", 0.0) <= 0.0 and settings.get("guidance_end", 1.0) >= 1.0
    small = settings.get("decoder") == "small"
    return [*([SMALL] if small else []), *([] if whole else [IN_THE_MIDDLE])]


def _follow(*, usual: bool) -> str:
    """A script that fits ranges to the mode. `usual`: with the mode's usual values, else only where they do not fit.

    It runs in the browser, so that the ranges Gradio checks on the server stay the wide ones: a click that overtakes a
    change of range would be refused otherwise.
    """

    def row(mode: Mode, fewest: int) -> tuple[Any, ...]:
        return (fewest, mode.steps_range[1]), mode.steps, mode.usual_guidance, mode.guidance_scale

    modes = json.dumps({"true": row(FAST, MIN_FAST_STEPS), "false": row(FULL, FULL.steps_range[0])})
    return f"""(fast, steps, guidance, scheduler) => {{
      const [stepsRange, usualSteps, guidanceRange, usualGuidance] = {modes}[String(Boolean(fast))];
      const slider = ([minimum, maximum], value, usual) => ({{
        __type__: "update", minimum, maximum, value: {json.dumps(usual)} || value > maximum ? usual : value,
      }});
      return [
        slider(stepsRange, steps, usualSteps),
        slider(guidanceRange, guidance, usualGuidance),
        {{__type__: "update", interactive: !fast, value: scheduler,
          info: fast ? "Fast mode brings its own scheduler (LCM)." : null}},
      ];
    }}"""
