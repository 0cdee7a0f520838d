"""Entry point on Hugging Face Spaces (docs/space.md): fetch the weights, load them, serve the page.

It differs from `python -m arc2face_app` in what ZeroGPU wants: `spaces` is imported before torch, the GPU function is
known before the page starts, and the models are on the device before the first request. Whatever fails of this, the
page comes up and says so.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
from pathlib import Path

from scripts.checkout import add_to_path

add_to_path()

from arc2face_app.runs import zerogpu

if zerogpu.available():
    # It replaces parts of torch, so it has to come first.
    importlib.import_module("spaces")

import typer

from arc2face.errors import Arc2FaceError
from arc2face.weights.download.command import DownloadRequest, run
from arc2face_app.cli.serve import read_settings
from arc2face_app.runs.backend import Backend
from arc2face_app.server import engine_of, serve
from arc2face_app.settings import ServerSettings

logger = logging.getLogger("arc2face.space")
DEFAULT_FEATURES = "identity fast"
NOT_FETCHED = "The models that this Space asks for could not be fetched when it started."


def fetch(models: Path) -> str:
    """Download what ARC2FACE_SPACE_FEATURES names; returns what visitors should know, empty when all went well."""
    features = tuple(os.environ.get("ARC2FACE_SPACE_FEATURES", DEFAULT_FEATURES).replace(",", " ").split())
    try:
        if features:
            run(DownloadRequest(features, models, yes=True), sys.stdout)
    except Arc2FaceError as error:
        logger.warning("the models could not be fetched: %s", error)
        return f"{NOT_FETCHED} {error}"
    return ""


def opened(settings: ServerSettings, note: str) -> Backend:
    """The models, loaded; or why there are none."""
    on_zero = zerogpu.available()
    try:
        engine = engine_of(settings, settings.models, preload=True, inline=on_zero)
    except Arc2FaceError as error:
        logger.error("the models could not be opened: %s", error)
        return Backend.without(error)
    if on_zero:
        zerogpu.prepare(engine)
    return Backend.of(engine, note)


def main() -> int:
    """Serve until the Space is stopped. Returns the exit code."""
    logging.basicConfig(level=logging.INFO)
    # The Space's own proxy decides which names lead here.
    os.environ.setdefault("ARC2FACE_HOSTS", "*")
    try:
        settings = read_settings(["--host", "0.0.0.0", "--port", os.environ.get("GRADIO_SERVER_PORT", "7860")])
    except (Arc2FaceError, typer.BadParameter) as error:
        message = error.format_message() if isinstance(error, typer.BadParameter) else str(error)
        sys.stderr.write(f"A variable of this Space cannot be used. {message}\n")
        return 2
    if zerogpu.available():
        zerogpu.announce()
    note = fetch(settings.models or Path("models"))
    serve(settings, opened(settings, note))
    return 0


if __name__ == "__main__":
    sys.exit(main())
