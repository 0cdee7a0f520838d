"""What happens when the page is opened: the tab and settings of its address; after a reload, what it had made."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import gradio as gr

from arc2face import checks
from arc2face_app.page import links
from arc2face_app.page.messages import warn, words
from arc2face_app.page.parts.keyed import Component, Updates, Values
from arc2face_app.runs.shell import LIGHT, QUIET, TELLING, session_of

if TYPE_CHECKING:
    from arc2face_app.page.parts.follow import PageShell
    from arc2face_app.page.parts.workbench import Workbench

NO_TAB = "This page has no tab {}; what else stands in its address was left out."
MORE_TABS = ("history", "models", "driving", "studio")
"""Tabs without settings that an address may name."""


def connect(page: gr.Blocks, tabs: gr.Tabs, benches: Sequence[Workbench]) -> Any:
    """Look at the address when the page is opened. Returns the event, for what has to come after it."""
    by_tab = {bench.title.lower(): bench for bench in benches}
    outputs: set[Component] = {component for bench in benches for component in bench.drop.outputs}

    def opened(request: gr.Request) -> Updates:
        asked = {str(key): str(value) for key, value in dict(request.query_params or {}).items()}
        tab = asked.get("tab") or links.tab_of(asked)
        for sentence in links.left_out(asked, tab):
            warn(sentence)
        if tab in MORE_TABS:
            return {tabs: gr.update(selected=tab)}
        if tab not in by_tab:
            if tab:
                warn(NO_TAB.format(checks.shown(tab)))
            return {tabs: gr.skip()}
        updates: Updates = {tabs: gr.update(selected=tab)}
        try:
            return {**updates, **by_tab[tab].drop.linked(asked)}
        except Exception as error:
            warn(words(error))
            return updates

    loaded = page.load(opened, None, [tabs, *outputs], **LIGHT)
    for bench in benches:
        bench.controls.follow_after(loaded)
    return loaded


def resume(page: gr.Blocks, shell: PageShell) -> None:
    """A page that was loaded anew goes on with person and pictures of the one before it in the same browser tab.

    A run that was under way has ended with that page; its tab says so.
    """
    secret = gr.Textbox(visible=False)
    again: gr.State = gr.State("")

    def resumed(before: str, request: gr.Request) -> tuple[str, int]:
        session = session_of(request)
        return shell.visits.enter(before, session), shell.runs.revision(session)

    loaded = page.load(resumed, secret, [secret, shell.history], js="() => window.studio.visit.before()", **TELLING)
    loaded.success(None, [secret], None, js="(secret) => window.studio.visit.keep(secret)", **QUIET)

    def returned(values: Values, request: gr.Request) -> Updates:
        session = session_of(request)
        running = shell.visits.page(session).running
        updates: Updates = {again: gr.skip()}
        if not any(values[one] for one in shell.person.filled):  # nobody was quicker
            person = shell.person.again(session)
            updates |= {**person, again: uuid.uuid4().hex} if person else {}
        for bench in shell.benches:
            if not values[bench.panel.made].run:
                updates |= bench.again(session, stopped=bench.title in running)
        running.clear()
        return updates

    shown: set[Component] = {component for bench in shell.benches for component in bench.panel.outputs}
    asked = {*shell.person.filled, *(bench.panel.made for bench in shell.benches)}
    loaded.success(returned, asked, [again, *shell.person.fillable, shell.person.picks, *shown], **TELLING)
    # Only where somebody came back: a look at nobody might end after that at a photo that is given meanwhile.
    shell.person.inspect_after(again.change(lambda: None, None, None, **TELLING))
