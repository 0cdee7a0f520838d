"""Files that visitors hand over, taken as they lie on the disk."""

from __future__ import annotations

from typing import Any, TypeVar

import gradio as gr

FileInput = TypeVar("FileInput", gr.File, gr.UploadButton)


def taken_as_it_lies(component: FileInput) -> FileInput:
    """The component, which now hands over paths and nothing else.

    Gradio's own way makes an empty temporary file for each file handed over and never removes it: a server that runs
    for long would fill a folder with them.
    """

    def paths(payload: Any) -> Any:
        if payload is None:
            return None
        files = list(payload) if hasattr(payload, "root") else [payload]
        found = [file.path for file in files]
        return found[0] if component.file_count == "single" else found

    component.preprocess = paths
    return component
