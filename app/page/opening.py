"""What an address that is opened changes on the page: the tab, and the settings of that tab."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import gradio as gr

from app.page.messages import warn, words
from app.page.parts.keyed import Component, Updates
from app.runs.shell import LIGHT

if TYPE_CHECKING:
    from app.page.parts.workbench import Workbench

MORE_TABS = ("history", "models", "driving")
"""Tabs without settings that an address may name."""


def connect(page: gr.Blocks, tabs: gr.Tabs, benches: Sequence[Workbench]) -> Any:
    """Look at the address when the page is opened. Returns the event, for what has to come after it."""
    by_tab = {bench.title.lower(): bench for bench in benches}
    outputs: set[Component] = {component for bench in benches for component in bench.drop.outputs}

    def opened(request: gr.Request) -> Updates:
        asked = {str(key): str(value) for key, value in dict(request.query_params or {}).items()}
        tab = asked.get("tab", "")
        if tab in MORE_TABS:
            return {tabs: gr.update(selected=tab)}
        if tab not in by_tab:
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
