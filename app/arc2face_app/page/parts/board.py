"""Pictures on the page: a grid with captions, a large view with arrow keys, and what can be done with each of them.

The drawing is in `assets/pictures.js` and its neighbours; here is what it is told, and what it tells back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from arc2face.errors import Arc2FaceError
from arc2face_app.page.theme import PICTURE_SCRIPTS
from arc2face_app.runs.pictures import FILM, SHEET, Picture, Run
from arc2face_app.runs.shell import Shell

KEEP, FETCH, CARRY, REUSE = "keep", "fetch", "carry", "reuse"
"""Events of a board: favourite, delete and undo; files made on demand; to another tab; settings or seed."""
SHORTENED = ("models", "identity", "app", "version", "bundle")
"""Parts of a recipe that bring no setting back, so that a browser need not remember them."""


def board(kind: str, **options: Any) -> gr.HTML:
    """A component that shows pictures. `kind`: the function of the page's scripts that draws it.

    Its value is a mapping for that function; its events are KEEP, FETCH, CARRY and REUSE.
    """
    events = ", ".join(f"{name}: (data) => trigger('{name}', data)" for name in (KEEP, FETCH, CARRY, REUSE))
    start = f"window.studio.{kind}(element, props, watch, {{{events}}});"
    return gr.HTML({}, html_template='<div class="board"></div>', js_on_load=start, apply_default_css=False, **options)


def head_scripts() -> str:
    """The scripts that draw boards, for the page's head: components look for them as soon as they appear."""
    return "<script>" + "\n".join(path.read_text(encoding="utf-8") for path in PICTURE_SCRIPTS) + "</script>"


def entry(run: Run, picture: Picture) -> dict[str, Any]:
    """What the scripts know of one picture; JSON."""
    return {
        "id": picture.id,
        "run": run.id,
        "tab": run.tab,
        "person": run.person,
        "when": run.when,
        "number": run.pictures.index(picture),
        "file": picture.path,
        "before": picture.before or run.before,
        "caption": picture.caption,
        "score": picture.similarity,
        "seed": picture.seed,
        "kind": picture.kind,
        "seam": picture.seam,
        "size": list(picture.size),
        "saved": picture.saved,
    }


def entries_of(shell: Shell, session: str, run_id: str) -> list[dict[str, Any]]:
    """Entries of one run, for its tab; films and sheets stand over them."""
    return [
        _known(shell, session, run, picture) | {"recipe": settings_of(picture.path)}
        for run, picture in shell.runs.shown(session)
        if run_id == run.id and picture.kind not in (FILM, SHEET)
    ]


def remembered_of(shell: Shell, session: str, run_id: str) -> list[dict[str, Any]]:
    """Entries of one run as the history shows them, with the settings that the browser is to remember.

    Of a film the browser remembers the film, not its moments.
    """
    return [
        _known(shell, session, run, picture) | {"recipe": settings_of(frames[0].path if frames else picture.path)}
        for run, picture, frames in _past(shell, session)
        if run.id == run_id and (picture.kind == FILM or not run.folded)
    ]


def history_of(shell: Shell, session: str) -> list[dict[str, Any]]:
    """Entries of all that a visitor's history shows, the newest run first. A film holds its moments."""
    return [
        _known(shell, session, run, picture) | {"frames": [entry(run, one) for one in frames] if run.folded else []}
        for run, picture, frames in _past(shell, session)
        if not shell.runs.is_cleared(session, picture.id)
    ]


def _past(shell: Shell, session: str) -> Iterator[tuple[Run, Picture, list[Picture]]]:
    """What stands in the history, with the pictures that a film consists of."""
    shown = shell.runs.shown(session)
    filmed = {run.id for run, picture in shown if run.folded and picture.kind == FILM}
    for run, picture in shown:
        if picture.kind == FILM:
            yield run, picture, [one for its, one in shown if its.id == run.id and not one.kind]
        elif run.id not in filmed:
            yield run, picture, []


def _known(shell: Shell, session: str, run: Run, picture: Picture) -> dict[str, Any]:
    runs = shell.runs
    marks = {"favourite": runs.is_favourite(session, picture.id), "cleared": runs.is_cleared(session, picture.id)}
    return entry(run, picture) | marks


def outputs_folder(shell: Shell) -> str:
    """The folder that `--outputs` names; empty where there is none."""
    return "" if shell.outputs.root is None else str(shell.outputs.root)


def ids_of(data: Mapping[str, Any]) -> Sequence[str]:
    """The pictures that an event of a browser is about."""
    found = data.get("ids")
    return [one for one in found if isinstance(one, str)] if isinstance(found, list) else []


def settings_of(path: str) -> dict[str, Any]:
    """What a picture's recipe says of its settings; empty where there is none."""
    from arc2face.pictures.recipes import read_recipe

    try:
        recipe = read_recipe(Path(path))
    except Arc2FaceError:  # gone, or written by something else; the picture is shown all the same
        return {}
    return {name: part for name, part in recipe.items() if name not in SHORTENED}
