"""What every tab receives besides the engine: the visitor's jobs, files and history, and the widgets they share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from arc2face_app.runs.backend import Backend
from arc2face_app.runs.files import SessionFiles
from arc2face_app.runs.outputs import Outputs
from arc2face_app.runs.pace import Pace
from arc2face_app.runs.photos import PhotoShelf
from arc2face_app.runs.store import RunStore
from arc2face_app.runs.tickets import JobBook
from arc2face_app.runs.visits import Visits

QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
"""Options of every event of the page itself: no spinner over the widgets, not part of the public API."""
INSTANT: dict[str, Any] = {**QUIET, "queue": False}
"""Options of events that only move widgets."""
GPU = "gpu"
"""Concurrency id of every event that uses the models. The engine's one worker decides the order."""
GPU_WAITING = 16
"""How many such events may wait inside the engine, each told its position; more wait in Gradio's own queue."""
FACES = "faces"
"""Concurrency id of face detection on upload, which must not wait behind somebody's generation."""
TELLING: dict[str, Any] = {**QUIET, "concurrency_limit": None}
"""Options of quick events that change a session state which others listen to (`state.change`): the browser hears of
such a change only from events that went through Gradio's queue, never from INSTANT ones."""
HEAVY: dict[str, Any] = {**QUIET, "concurrency_id": GPU, "concurrency_limit": GPU_WAITING}
LIGHT: dict[str, Any] = {**QUIET, "concurrency_id": FACES, "concurrency_limit": 2}


@dataclass(slots=True, kw_only=True)
class Shell:
    """`runs`: what each visitor has made. `history`: session state, the revision of that; its change event tells of
    something new. `outputs`: the folder that `--outputs` names. `visits`: lets a page that is loaded anew go on.
    `here`: the tab being built.
    """

    backend: Backend
    jobs: JobBook = field(default_factory=JobBook)
    files: SessionFiles = field(default_factory=SessionFiles)
    photos: PhotoShelf = field(default_factory=PhotoShelf)
    pace: Pace = field(default_factory=Pace)
    runs: RunStore = field(default_factory=RunStore)
    outputs: Outputs = field(default_factory=Outputs)
    visits: Visits = field(default_factory=Visits)
    history: gr.State
    here: gr.Tab = field(init=False)


def session_of(request: gr.Request | None) -> str:
    """The session a request belongs to; requests without one (direct calls) share an anonymous session."""
    return getattr(request, "session_hash", None) or "anonymous"  # direct calls of MCP clients have none
