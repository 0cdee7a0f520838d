"""Files that visitors hand over, taken as they lie on the disk."""

from __future__ import annotations

from abc import ABCMeta
from collections.abc import Callable
from typing import Any, TypeVar

import gradio as gr

FileInput = TypeVar("FileInput", gr.File, gr.UploadButton)


def taken_as_it_lies(component: FileInput) -> FileInput:
    """The component, which now hands over paths and nothing else.

    Gradio's own way makes an empty temporary file for each file handed over and never removes it: a server that runs
    for long would fill a folder with them.
    """

    def paths(self: Any, payload: Any) -> Any:
        if payload is None:
            return None
        files = list(payload) if hasattr(payload, "root") else [payload]
        found = [file.path for file in files]
        return found[0] if self.file_count == "single" else found

    return _reading(component, paths)


def pictures_as_they_lie(gallery: gr.Gallery) -> gr.Gallery:
    """The gallery, which now hands over (path, caption) of whatever is in it.

    Gradio's own way refuses a file by its ending, without saying which one, and with it every event that reads the
    gallery. What is no picture is told of where pictures are read.
    """

    def pairs(self: Any, payload: Any) -> list[tuple[str, str | None]] | None:
        del self
        found = [(getattr(one, "image", None) or one.video, one.caption) for one in payload.root] if payload else []
        return [(str(file.path), caption) for file, caption in found] or None

    return _reading(gallery, pairs)


def _reading(component: Any, preprocess: Callable[[Any, Any], Any]) -> Any:
    """The component with another way to read what the browser sends.

    A class of its own: Gradio makes a component of a session anew, from its class, whenever an event updates it.
    """
    kind: Any = type(component)
    # Gradio names a template after its base. Past its metaclass, which would look for the source of this class.
    attributes = {"preprocess": preprocess, "is_template": True, "__module__": __name__}
    component.__class__ = ABCMeta.__new__(type(kind), kind.__name__, (kind,), attributes)
    return component
