"""Entry point on Hugging Face Spaces (docs/deploy.md): fetch the weights, load them, serve the page.

It differs from `python -m arc2face_app` in what ZeroGPU wants: `spaces` is imported before torch, the GPU functions
are known before the page starts, and the models are on the device before the first request.
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

from arc2face.errors import Arc2FaceError
from arc2face.weights.download.command import DownloadRequest, run
from arc2face_app.cli.serve import read_settings
from arc2face_app.runs.backend import Backend
from arc2face_app.server import engine_of, serve

logger = logging.getLogger("arc2face.space")
DEFAULT_FEATURES = "identity fast"


def fetch(models: Path) -> None:
    """Download what ARC2FACE_SPACE_FEATURES names; on failure the starter models serve instead."""
    features = tuple(os.environ.get("ARC2FACE_SPACE_FEATURES", DEFAULT_FEATURES).split())
    try:
        if features:
            run(DownloadRequest(features, models, yes=True), sys.stdout)
    except Arc2FaceError as error:
        logger.warning("the weights could not be fetched: %s", error)


def main() -> None:
    """Serve until the Space is stopped."""
    logging.basicConfig(level=logging.INFO)
    # The Space's own proxy decides which names lead here.
    os.environ.setdefault("ARC2FACE_HOSTS", "*")
    settings = read_settings(["--host", "0.0.0.0", "--port", os.environ.get("GRADIO_SERVER_PORT", "7860")])
    fetch(settings.models or Path("models"))
    on_zero = zerogpu.available()
    engine = engine_of(settings, settings.models, preload=True, inline=on_zero)
    if on_zero:
        zerogpu.prepare(engine)
    serve(settings, Backend.of(engine))


if __name__ == "__main__":
    main()
