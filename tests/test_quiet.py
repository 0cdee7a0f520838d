"""Nothing is reported home (A1)."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from arc2face.quiet import SWITCHES
from tests.tiny_faces import blank, write_antelopev2


def run(script: str, home: Path, *arguments: object, **extra: str) -> str:
    """Run a script with a home folder of its own and none of the switches set."""
    kept = {k: v for k, v in os.environ.items() if k not in SWITCHES and not k.startswith("XDG_")}
    path = os.pathsep.join(sys.path[0:1] + [p for p in sys.path if p])
    env = {**kept, "HOME": str(home), "PYTHONPATH": path, **extra}
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=True, timeout=200).stdout


def test_every_switch_is_set_before_any_library_is_imported(tmp_path: Path) -> None:
    """A1: onnxruntime reads its switch at import, and ignores what is said to it later."""
    script = (
        "import sys, arc2face, os\n"
        "loaded = {'onnxruntime', 'huggingface_hub', 'gradio', 'mediapipe', 'matplotlib', 'insightface', 'torch'}\n"
        "assert not loaded & set(sys.modules), loaded & set(sys.modules)\n"
        "from arc2face.quiet import SWITCHES\n"
        "print(all(os.environ[name] == value for name, value in SWITCHES.items()))\n"
    )
    assert run(script, tmp_path).strip() == "True"
    said = "import arc2face, os; print(os.environ['ORT_DISABLE_TELEMETRY'])"
    assert run(said, tmp_path, ORT_DISABLE_TELEMETRY="0").strip() == "0"  # whoever wants it may have it


@pytest.mark.parametrize("module", ["arc2face.faces.networks", "arc2face.readers", "arc2face.engine", "app"])
def test_reading_a_photo_leaves_no_trace_of_the_runtime(tmp_path: Path, module: str) -> None:
    """A1: with its telemetry on, onnxruntime leaves a device id and a queue of reports in the user's cache folder."""
    folder = write_antelopev2(tmp_path / "antelopev2")
    home = tmp_path / "home"
    home.mkdir()
    script = (
        f"import sys, numpy as np, {module}\n"
        "from arc2face.faces.analyser import FaceAnalyser\n"
        "from pathlib import Path\n"
        f"FaceAnalyser.from_folder(Path(sys.argv[1])).detect(np.full((64, 64, 3), {int(blank(1, 1)[0, 0, 0])}, 'u1'))\n"
    )
    run(script, home, folder, ARC2FACE_CACHE=str(tmp_path / "cache"))
    written = sorted(str(path.relative_to(home)) for path in home.rglob("*") if path.is_file())
    assert not [path for path in written if "onnxruntime" in path.lower() or "Microsoft" in path], written
