"""`space.py` and its folder where something is missing; the Space itself, on ZeroGPU: tests/app/test_zerogpu.py."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import space
from arc2face_app.page import markup
from arc2face_app.settings import ServerSettings

PYTHON = {"python_version": "3.12", "python_full_version": "3.12.12", "sys_platform": "linux"}


@pytest.mark.parametrize(
    ("features", "said"),
    [("", ""), ("identity,fast", "HF_HUB_OFFLINE"), ("nothing", "Unknown feature nothing")],
)
def test_a_failed_download_is_told_and_survived(
    features: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tests run offline, as a Space whose download fails."""
    monkeypatch.setenv("ARC2FACE_SPACE_FEATURES", features)
    note = space.fetch(tmp_path / "models")
    assert (space.NOT_FETCHED in note) is bool(said) and said in note
    header = markup.header("starter", ready=True, note=note)
    assert ('class="note warn"' in header) is bool(said) and "people who do not exist" in header


def test_missing_and_damaged_weights_are_told_on_the_page(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    backend = space.opened(ServerSettings(models=tmp_path / "empty"), "")
    assert backend.wait(0) and not backend.ready
    assert "empty" in backend.problem
    header = markup.header(backend.kind, ready=backend.ready, problem=backend.problem)
    assert "Models not available" in header


@pytest.mark.parametrize(("name", "value"), [("ARC2FACE_VRAM", "plenty"), ("ARC2FACE_BUDGET_GB", "much")])
def test_a_variable_that_cannot_be_used_ends_in_a_sentence(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, value)
    assert space.main() == 2
    said = capsys.readouterr().err
    assert said.startswith("A variable of this Space cannot be used.") and (value in said or name in said)


def test_nothing_is_pinned_that_the_platform_wants_older(tmp_path: Path, project_root: Path) -> None:
    """A Space installs `gradio[oauth,mcp]` and `spaces` in one go with requirements.txt."""
    folder = tmp_path / "space"
    subprocess.run([sys.executable, "scripts/assemble.py", "space", str(folder)], cwd=project_root, check=True)
    pinned: dict[str, str] = {}
    for line in (folder / "requirements.txt").read_text().splitlines():
        wanted = Requirement(line) if line and not line.startswith("#") else None
        if wanted is not None and (wanted.marker is None or wanted.marker.evaluate(PYTHON)):
            pinned[wanted.name] = str(wanted.specifier).removeprefix("==")
    assert len(pinned) > 80 and "torch" in pinned
    for extra in ("", "oauth", "mcp"):
        for text in requires("gradio") or []:
            wanted = Requirement(text)
            if wanted.marker is None or wanted.marker.evaluate({**PYTHON, "extra": extra}):
                assert wanted.name not in pinned or wanted.specifier.contains(pinned[wanted.name]), text
