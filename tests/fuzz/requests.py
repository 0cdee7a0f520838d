"""The endpoints as a door: values of any kind for every field, given to the validators and then to the endpoint."""

from __future__ import annotations

import inspect
import json
import logging
import os
import random
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from tests.fuzz.mutate import as_json, strange

_CHEAP = {"steps": 1, "num_images": 1, "count": 2, "fast": False}
_WEIGHTS = (0.7, 0.2, 0.1)  # how many of a request's values are strange: one, two, four


def write(folder: Path) -> None:
    """One request per endpoint with its usual values."""
    for name, block in _blocks().items():
        (folder / f"{name}.json").write_bytes(usual(name, block))


def usual(name: str, block: Any) -> bytes:
    """A request to an endpoint with its usual values, as few steps and pictures as can be."""
    fields = {each.name: each.default for each in parameters(block.fn)}
    cheap = {field: value for field, value in _CHEAP.items() if field in fields}
    return as_json({"endpoint": name, "values": {**fields, **cheap}})


def change(rng: random.Random, data: bytes) -> bytes:
    """Other values for one or some of the fields."""
    case = json.loads(data)
    values: dict[str, Any] = case["values"]
    if rng.random() < 0.5 and "identity_file" in values:
        values["identity_file"] = "@identity@"
    for _ in range(rng.choices((1, 2, 4), _WEIGHTS)[0] if values else 0):
        names = [each for each in values if each not in _FILES]
        if not names:
            break
        name = rng.choice(names)
        usual = (rng.uniform(-2, 2), rng.uniform(-100, 100), rng.randrange(-3, 20), "Mouth open", "face")
        values[name] = strange(rng) if rng.random() < 0.8 else rng.choice(usual)
    return as_json(case, rng.choice((20, 400)))


_FILES = (
    *("photos", "identity_file", "reference", "normal_map", "expression_photo", "second_photo", "photo", "picture"),
    "targets",
)
"""Gradio itself checks that these are the visitor's own uploads; what is in them, other doors read."""


def enter(path: Path) -> None:
    """Raises the visitor's message as `Refused`, and what we call our own fault as itself."""
    try:
        case = json.loads(path.read_bytes())
        block, values = _blocks()[case["endpoint"]], case["values"]
        ordered = [values.get(each.name) for each in parameters(block.fn)]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return  # not a request to one of our endpoints
    ordered = [str(_identity()) if value == "@identity@" else value for value in ordered]
    with _Faults() as faults:
        _answer(block, ordered, faults)


def _answer(block: Any, values: list[Any], faults: _Faults) -> None:
    import gradio as gr

    verdicts = block.validator(*values) if block.validator else []
    for verdict in [verdicts] if isinstance(verdicts, dict) else verdicts:
        if not verdict["is_valid"]:
            raise Refused(verdict["message"])
    try:
        answer = block.fn(gr.Request(), *values)
        for part in answer if isinstance(answer, Iterator) else [answer]:
            json.dumps(part, ensure_ascii=False, default=str).encode()
    except gr.Error as error:
        raise (faults.found or Refused(str(error.message))) from None


class Refused(Exception):
    """What the visitor reads."""


class _Faults(logging.Handler):
    """Catches the exception behind "something went wrong on our side"."""

    def __enter__(self) -> _Faults:
        self.found: BaseException | None = None
        logging.getLogger("arc2face.app").addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger("arc2face.app").removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and "incident" in record.msg:
            self.found = record.exc_info[1]


def parameters(function: Any) -> list[inspect.Parameter]:
    """The fields of an endpoint."""
    return list(inspect.signature(function).parameters.values())[1:]


@cache
def _blocks() -> dict[str, Any]:
    """The endpoints of a page with the tiny models."""
    from arc2face.engine import Engine
    from arc2face_app.runs.backend import Backend
    from arc2face_app.ui import build_app
    from tests.app.bundle import make_bundle
    from tests.fuzz.seeds import TINY

    backend = Backend.of(Engine.open(make_bundle(TINY, _home() / "app"), device="cpu"))
    return blocks_of(build_app(backend))


def blocks_of(page: Any) -> dict[str, Any]:
    """The endpoints of a page that go through the queue."""
    public = (each for each in page.fns.values() if each.api_visibility == "public" and each.validator)
    return {str(each.api_name): each for each in public}


@cache
def _identity() -> Path:
    from tests.fuzz.seeds import identities

    folder = _home() / "identity"
    folder.mkdir()
    identities(folder)
    return folder / "saved.npz"


def _home() -> Path:
    return Path(os.environ["ARC2FACE_CACHE"]).parent
