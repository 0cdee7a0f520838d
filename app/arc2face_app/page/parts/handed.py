"""Files made on demand: handed to the browser as a download at once, without a box to press on."""

from __future__ import annotations

from typing import Any

import gradio as gr

from arc2face_app.runs.shell import LIGHT, QUIET

_FETCH = """(file) => {
  if (!file?.url) return;
  const link = Object.assign(document.createElement("a"), {href: file.url, download: file.orig_name || "pictures.zip"});
  document.body.append(link);
  link.click();
  link.remove();
}"""
"""Fetches a file that was made on demand."""


def hand_over(trigger: Any, make: Any, inputs: Any) -> None:
    """Let an event download the file that `make` (from values to a path) makes of the inputs."""
    packed = gr.DownloadButton(visible=False)
    fetch_after(trigger(make, inputs, packed, **LIGHT), packed)


def fetch_after(event: Any, packed: gr.DownloadButton) -> None:
    """Let the browser download the file that `event` has put into the unseen button."""
    event.success(None, [packed], None, js=_FETCH, **QUIET)
