"""The person follows: what the tabs share of the page, and the way of a picture to another tab."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from arc2face.errors import InputError
from arc2face.weights.writing import copy_to
from arc2face_app.page.messages import shows_errors
from arc2face_app.page.parts.keyed import Component, Updates, Values
from arc2face_app.page.parts.person import PersonPicker
from arc2face_app.runs.shell import LIGHT, QUIET, Shell, session_of

if TYPE_CHECKING:
    from arc2face_app.page.parts.workbench import Workbench

GONE = "That picture is not there any more. Make it again, or choose another."
TO_TOP = "() => scrollTo({top: 0, behavior: 'smooth'})"


@dataclass(slots=True, kw_only=True)
class PageShell(Shell):
    """What a tab of the page gets besides the engine.

    `person`: the one person of the page, chosen above the tabs. `follow`: takes pictures to other tabs. `benches`: the
    workbenches of the tabs built so far. `drawers`: draw what a tab shows of its form when a given event fires.
    `opened`: session state that changes when a tab is opened from outside, of which Gradio tells nobody.
    """

    person: PersonPicker = field(init=False)
    follow: Follow = field(init=False)
    benches: list[Workbench] = field(default_factory=list["Workbench"])
    drawers: list[Callable[[Any], None]] = field(default_factory=list[Callable[[Any], None]])
    opened: gr.State = field(default_factory=lambda: gr.State(""))


class Follow:
    """Takes a picture that was made to another tab, where it is the photo of the person from then on."""

    def __init__(self, shell: PageShell, person: PersonPicker, tabs: gr.Tabs) -> None:
        self._shell = shell
        self._person = person
        self._tabs = tabs

    @property
    def outputs(self) -> set[Component]:
        """Components that `use` updates."""
        return {*self._person.fillable, self._tabs, self._shell.opened}

    def use(self, picture: str, session: str, tab: str = "") -> Updates:
        """Updates that make a picture the person's photo; a copy, so that deleting the picture takes nothing away.

        Args:
            picture: path of a picture file.
            session: the visitor, as `session_of` names them.
            tab: id of the tab to open (`identity`, `pose`, `expression`), empty to stay.

        Raises:
            InputError: the file is gone. StorageError: the disk is full or not writable.
        """
        source = Path(picture)
        if not picture or not source.is_file():
            raise InputError(GONE)
        copy = copy_to(source, self._shell.files.new_run(session) / source.name)
        return {**self._person.filled_with(str(copy)), **self.opened(tab)}

    def opened(self, tab: str) -> Updates:
        """Updates that open a tab by its id; none for an empty one."""
        return {self._tabs: gr.update(selected=tab), self._shell.opened: uuid.uuid4().hex} if tab else {}

    def connect(self, trigger: Any, inputs: set[Component], picture: Callable[[Values], str], tab: str = "") -> None:
        """Let an event carry a picture over.

        Args:
            trigger: an event such as `button.click`.
            inputs: what `picture` reads.
            picture: the path of the picture that is meant; may raise InputError.
            tab: as in `use`.
        """

        @shows_errors
        def carried(values: Values, request: gr.Request) -> Updates:
            return self.use(picture(values), session_of(request), tab)

        carrying = trigger(carried, inputs, [*self.outputs], **LIGHT)
        self._person.inspect_after(carrying)
        carrying.success(None, None, None, js=TO_TOP, **QUIET)
