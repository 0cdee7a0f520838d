"""Inputs as sets: an event hands its function a mapping from component to value, so that no place has to be counted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import gradio as gr

from arc2face.errors import InputError

Component = Any
Values = Mapping[Component, Any]
"""What an event function receives when its inputs are a set of components."""
Updates = dict[Component, Any]
"""What an event function gives back: components that change, and nothing about the others."""
Rule = Callable[[Values], object]
"""Raises InputError with the sentence that then stands at its component; what it returns does not matter."""
Rules = Mapping[Component, Rule]


def joined(*inputs: Iterable[Component]) -> set[Component]:
    """One set of the inputs of several parts."""
    return {component for part in inputs for component in part}


def validator(inputs: set[Component], rules: Rules) -> Callable[[Values], Updates]:
    """A Gradio validator of an event with these inputs: every rule is asked, everything else passes.

    A refusal says the id of its field in the document, beside which `assets/sayings.js` puts the words.
    """
    for component in rules:
        component.elem_id = component.elem_id or f"field-{component._id}"

    def validate(values: Values) -> Updates:
        return {component: _verdict(component, rules.get(component), values) for component in inputs}

    return validate


def last_counts(page: gr.Blocks) -> None:
    """Let what is given last count: of two choices in quick succession Gradio drops the second while it answers the
    first, so that the page would go on with what is not chosen any more. Buttons stay as they are: once.
    """
    for event in page.fns.values():
        chosen = any(name in ("input", "select") for _, name in event.targets)
        if chosen and event.trigger_mode == "once":
            event.trigger_mode = "always_last"


def _verdict(component: Component, rule: Rule | None, values: Values) -> dict[str, Any]:
    try:
        if rule is not None:
            rule(values)
    except InputError as error:
        return {**gr.validate(False, str(error)), "field": component.elem_id}
    return gr.validate(True, "")
