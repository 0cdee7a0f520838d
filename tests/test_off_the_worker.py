"""What is kept off the worker and off the start: scores, PNG, previews, Gradio's stub files. Issue 12, point 7."""

from __future__ import annotations

import base64
import io
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
from PIL import Image

from arc2face import Engine, GenerationRequest, IdentityEmbedding
from arc2face.engine import MAX_FINISHING
from arc2face.pictures.recipes import read_recipe
from arc2face.types import Progress
from arc2face_app.page import markup
from arc2face_app.runs import pictures as saving
from arc2face_app.runs.files import SessionFiles

NOBODY = IdentityEmbedding(np.ones(512, np.float32))


def test_preview_is_a_small_jpeg() -> None:
    """12.7: a live preview is a JPEG a few kB large, near what it shows."""
    ramp = np.linspace(0, 255, 256, dtype=np.uint8)
    picture = np.stack([np.tile(ramp, (256, 1)), np.tile(ramp[:, None], (1, 256)), np.full((256, 256), 90)], -1)
    picture = picture.astype(np.uint8)
    html = markup.progress(Progress("denoising", 1, 2, preview=picture))
    start, _, data = html.partition("data:image/jpeg;base64,")
    assert start and "image/png" not in html
    decoded = base64.b64decode(data.partition('"')[0])
    with Image.open(io.BytesIO(decoded)) as image:
        shown = np.asarray(image.convert("RGB"), np.float32)
    assert np.abs(shown - picture).mean() < 4 and len(decoded) < 20_000


def test_pictures_are_encoded_by_a_few_threads(tiny_tree: Path, tmp_path: Path) -> None:
    """12.7: every picture of a run is written with its own recipe, in order, by a bounded pool."""
    with Engine.open(tiny_tree / "models", device="cpu") as engine:
        result = engine.generate(GenerationRequest(identity=NOBODY, num_images=3, steps=1, seed=5, score=False))

    class Shell:
        files = SessionFiles(tmp_path)

    made = saving.save_pictures(Shell(), "visitor", (result, result), "face", ["left"])  # type: ignore[arg-type]
    assert [picture.seed for picture in made] == [5, 6, 7, 5, 6, 7]
    assert [picture.name for picture in made] == ["left", "", "", "", "", ""]
    assert [read_recipe(picture.path)["settings"]["seed"] for picture in made] == [5, 6, 7, 5, 6, 7]
    threads = [thread for thread in threading.enumerate() if thread.name.startswith("arc2face-png")]
    assert 1 <= len(threads) <= saving.ENCODERS


def test_pictures_come_out_when_the_pool_is_full(tiny_tree: Path) -> None:
    """12.7: with MAX_FINISHING runs waiting for scores the worker finishes the next one itself: memory is bounded."""
    with Engine.open(tiny_tree / "models", device="cpu") as engine:
        for _ in range(MAX_FINISHING):
            assert engine._finishing.acquire(blocking=False)
        request = GenerationRequest(identity=NOBODY, num_images=1, steps=1, score=False)
        assert len(engine.generate(request).images) == 1
        for _ in range(MAX_FINISHING):
            engine._finishing.release()
        assert len(engine.generate(request).images) == 1
        engine._post.shutdown(wait=True)
        assert engine._finishing.acquire(blocking=False)
        engine._finishing.release()


def test_gradio_starts_without_writing_stubs() -> None:
    """12.7: nothing is parsed or written at import; components keep their events; a second import hook is harmless."""
    code = (
        "from arc2face_app import stubs; stubs.leave_out(); stubs.leave_out(); "
        "import sys; before = len(sys.meta_path); "
        "import gradio as gr, gradio.component_meta as meta, gradio.blocks_events as events; "
        "assert len(sys.meta_path) == before - 1; "
        "used = (meta.create_or_modify_pyi.__module__, events.create_or_modify_pyi.__module__); "
        "print(*used, hasattr(gr.Button, 'click'))"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["arc2face_app.stubs", "arc2face_app.stubs", "True"]
