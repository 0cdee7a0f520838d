"""Endpoints of the Identity tab, and what every client needs: a saved identity, status, stop."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from arc2face.doctor.component import ComponentStatus
from arc2face.types import GenerationRequest
from arc2face_app.api import common
from arc2face_app.api.common import PICTURES, negative_of, person_of, settings_of, stream
from arc2face_app.api.fields import any_json, publish
from arc2face_app.api.tables import COMBINING, ENLARGE, FACES, NEGATIVE, PERSON, SETTINGS
from arc2face_app.runs.errors import errors_shown
from arc2face_app.runs.shell import Shell, session_of

if TYPE_CHECKING:
    from arc2face.engine import Engine


def build(shell: Shell) -> None:
    """Add the endpoints to the page that is being built."""
    _generate(shell)
    _identify(shell)
    _housekeeping(shell)


def _generate(shell: Shell) -> None:
    def run(request: gr.Request, values: dict[str, Any]) -> Iterator[common.Answer]:
        def prepare(engine: Engine) -> list[GenerationRequest]:
            fields = settings_of(values)
            person = person_of(shell, session_of(request), engine, values)
            negative = negative_of(shell, session_of(request), engine, values)
            return [GenerationRequest(identity=person.identity, negative=negative, **fields)]

        yield from stream(shell, request, "identity", prepare, enlarge=values["enlarge"])

    publish(
        "generate_identity",
        "Make new pictures of the person in the photos.",
        [*PERSON, *SETTINGS, *COMBINING, ENLARGE, *NEGATIVE],
        PICTURES,
        common.picture_outputs(),
        run,
        **common.HEAVY,
    )


def _identify(shell: Shell) -> None:
    def run(request: gr.Request, values: dict[str, Any]) -> Any:
        from arc2face.faces.identities import save_identity

        with errors_shown():
            session = session_of(request)
            person = person_of(shell, session, shell.backend.engine(), {**values, "identity_file": None})
            target = shell.files.new_run(session) / "identity.npz"
            save_identity(target, person.identity)
            return str(target), person.facts

    publish(
        "identify",
        "Turn photos of one person into a reusable identity file.",
        [PERSON[0], *COMBINING, FACES],
        "A small file of numbers (no picture in it), and how well the photos agree: cosine of each to the group.",
        [gr.File(label="Identity (.npz)"), any_json("Report")],
        run,
        **common.LIGHT,
    )


def _housekeeping(shell: Shell) -> None:
    def status(request: gr.Request, values: dict[str, Any]) -> dict[str, Any]:
        del request, values
        with errors_shown():
            backend = shell.backend
            if not backend.wait(0):
                return {"ready": False, "kind": backend.kind, "components": []}
            engine = backend.engine()
            parts = [_row_json(row, str(engine.models.root)) for row in engine.status()]
            return {"ready": True, "kind": backend.kind, "runtime": asdict(engine.runtime), "components": parts}

    def cancel(request: gr.Request, values: dict[str, Any]) -> dict[str, Any]:
        del values
        return {"stopped": shell.jobs.cancel(session_of(request))}

    publish(
        "status",
        "Say which models are in use, whether they are loaded, and what is missing.",
        [],
        "A JSON object: ready, kind, runtime, and one row per part.",
        [any_json("Answer")],
        status,
        queue=False,
    )
    publish(
        "cancel",
        "Stop what this client has running or waiting; other clients are not affected.",
        [],
        "A JSON object with the number of runs that were stopped.",
        [any_json("Answer")],
        cancel,
        queue=False,
    )


def _row_json(row: ComponentStatus, root: str) -> dict[str, Any]:
    """A row without the server's own paths."""
    return {**asdict(row), "source": Path(row.source).name, "remedy": row.remedy.replace(root, "the models folder")}
