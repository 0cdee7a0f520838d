"""One tab's pieces and how they are wired, so that every tab runs, stops, fails and remembers in the same way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from app.page.parts.examples import ExampleStrip
from app.page.parts.person import PersonPicker
from app.page.parts.recipe import RecipeDrop
from app.page.parts.results import ResultsPanel, RunButtons, Updates
from app.page.parts.settings import GenerationControls, Settings
from app.runs import runner
from app.runs.errors import as_gradio_error
from app.runs.pictures import Picture, Run, remember, save_pictures
from app.runs.shell import HEAVY, Shell, session_of
from arc2face.errors import CancelledError
from arc2face.types import Progress

Verdicts = Sequence[dict[str, Any]]


def _nothing(results: runner.Results, pictures: Sequence[Picture]) -> Updates:
    del results, pictures
    return {}


@dataclass(slots=True, kw_only=True)
class Plan:
    """What one run does. `names`: captions of the pictures; `extras`: more updates once the pictures are there."""

    prepare: runner.Prepare
    names: Sequence[str] = ()
    extras: Callable[[runner.Results, Sequence[Picture]], Updates] = _nothing


Planner = Callable[[Sequence[Any], Settings, Sequence[Any]], Plan]
"""(values of the person picker, settings, values of `Workbench.more`) -> Plan."""


@dataclass(slots=True, kw_only=True)
class Workbench:
    """`more`: components of this tab alone that its plans need; `outputs`: components that its extras update."""

    shell: Shell
    title: str
    person: PersonPicker
    controls: GenerationControls
    panel: ResultsPanel
    buttons: RunButtons
    strip: ExampleStrip
    drop: RecipeDrop
    more: Sequence[Any] = ()
    outputs: Sequence[Any] = field(default_factory=tuple)

    def connect(self, plan: Planner, verdicts: Callable[..., Verdicts] | None = None) -> None:
        """Wire the primary action, the examples, Stop and the recipe drop zone."""
        self.add_action(self.buttons.run, plan, verdicts)
        self.strip.connect(self.person, self._generator(plan), self._event())
        self.buttons.connect_cancel(self.shell)
        self.drop.connect()

    def add_action(self, button: gr.Button, plan: Planner, verdicts: Callable[..., Verdicts] | None = None) -> None:
        """Let another button start a run with a plan of its own. `verdicts` judges the values of `more`."""

        def validate(*values: Any) -> list[dict[str, Any]]:
            who = self.person.verdicts(values[0], values[2])
            own = list(verdicts(*self._split(values)[2])) if verdicts else [gr.validate(True, "") for _ in self.more]
            rest = len(values) - len(who) - len(own)
            return [*who, *(gr.validate(True, "") for _ in range(rest - 1)), *own, gr.validate(True, "")]

        button.click(self._generator(plan), validator=validate, **self._event())

    def _event(self) -> dict[str, Any]:
        inputs = [*self.person.inputs, *self.controls.inputs, *self.more, self.shell.history]
        own = [self.buttons.run, self.buttons.cancel, self.controls.seed, self.shell.history, *self.outputs]
        return {"inputs": inputs, "outputs": [*self.panel.outputs, *own], **HEAVY}

    def _split(self, values: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any], Sequence[Any], Any]:
        who, settings = len(self.person.inputs), len(self.controls.inputs)
        *fields, history = values
        return fields[:who], fields[who : who + settings], fields[who + settings :], history

    def _generator(self, plan: Planner) -> Callable[..., Iterator[Updates]]:
        def generate(request: gr.Request, *values: Any) -> Iterator[Updates]:
            who, raw, more, history = self._split(values)
            settings = Settings.of(*raw)
            yield {**self.panel.started(), **self.buttons.busy(), self.controls.seed: settings.seed}
            try:
                yield from self._run(plan(who, settings, more), history, session_of(request))
            except CancelledError:
                yield {**self.panel.stopped(), **self.buttons.free()}
                gr.Info("Stopped. Your inputs are untouched.", duration=4)
            except Exception as error:
                shown = as_gradio_error(error)
                yield {**self.panel.failed(str(shown.message)), **self.buttons.free()}
                raise shown from None

        return generate

    def _run(self, plan: Plan, history: Sequence[Run], session: str) -> Iterator[Updates]:
        for event in runner.follow(self.shell, session, plan.prepare):
            if isinstance(event, Progress):
                yield self.panel.progress(event)
                continue
            pictures = save_pictures(self.shell, session, event, self.title.lower(), plan.names)
            kept = remember(history, Run.now(self.title, pictures))
            done = {**self.panel.finished(pictures, event), **self.buttons.free(), self.shell.history: kept}
            yield {**done, **plan.extras(event, pictures)}
