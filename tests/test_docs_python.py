"""The code blocks of docs/python.md, run in order in one namespace, as a reader would."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import tiny_faces
from PIL import Image

PAGE = Path(__file__).resolve().parent.parent / "docs" / "python.md"


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_every_block_runs(tiny_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(tiny_tree, tmp_path / "tree")
    tiny_faces.write_antelopev2(tmp_path / "tree" / "models" / "antelopev2")
    for name, place in (("photo.jpg", 200), ("photo2.jpg", 180)):
        photo = tiny_faces.blank(400, 400)
        tiny_faces.draw_face(photo, place, place, 25)
        Image.fromarray(photo).save(tmp_path / name, quality=98)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ARC2FACE_MODELS", str(tmp_path / "tree" / "models"))
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 9
    names: dict[str, Any] = {}
    for block in blocks:
        # The documented default of 25 steps would only cost time here.
        exec(
            compile(
                block.replace("seed=7)", "seed=7, steps=3)").replace("seed=8)", "seed=8, steps=3)"), str(PAGE), "exec"
            ),
            names,
        )
    assert len(names["result"].images) == 2
    assert (tmp_path / "anna.png").stat().st_size > 1000
    assert names["same"].seed == 7
    assert abs(names["again"].images[0].rgb_u8.astype(int) - names["result"].images[1].rgb_u8.astype(int)).max() <= 1
