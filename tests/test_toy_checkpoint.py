"""A new checkpoint is one row of the table and one key of a feature; everybody who asks for files then knows it.

Run alone: ./run test tests/test_toy_checkpoint.py
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.checkout import python_path

PROJECT = Path(__file__).resolve().parent.parent
ROW = '    _arc2face("toy", "toy/toy.safetensors", "A toy adapter"),\n'


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the packages with one more row in WEIGHTS and one more key in a feature."""
    root = tmp_path_factory.mktemp("house")
    for package in ("arc2face", "app", "training", "external"):
        shutil.copytree(PROJECT / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
    table = root / "arc2face" / "weights" / "table.py"
    text = table.read_text(encoding="utf-8")
    start = "WEIGHTS: tuple[WeightFile, ...] = (\n"
    assert text.count(start) == 1 and text.count('_FAST = ("lcm",)') == 1
    text = text.replace(start, start + ROW).replace('_FAST = ("lcm",)', '_FAST = ("lcm", "toy")')
    table.write_text(text, encoding="utf-8")
    return root


def ask(house: Path, code: str, *arguments: object) -> str:
    """What a Python of that house prints."""
    path = f"import sys; sys.path[:0] = {python_path(checkout=house).split(os.pathsep)}\n"
    words = [sys.executable, "-c", path + code, *map(str, arguments)]
    done = subprocess.run(words, cwd=house, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout


CLI = "from arc2face_app.cli import main; raise SystemExit(main(sys.argv[1:]))"


def test_it_is_listed_planned_and_missed(house: Path, tmp_path: Path, tiny_tree: Path) -> None:
    models = Path(shutil.copytree(tiny_tree, tmp_path / "models"))
    assert "toy/toy.safetensors" in ask(house, CLI, "download", "--list")
    mirror = tmp_path / "mirror"
    (mirror / "toy").mkdir(parents=True)
    (mirror / "toy" / "toy.safetensors").write_bytes(b"x" * 64)
    words = ("download", "fast", "--dry-run", "--json", "--mirror", mirror, "--models", models)
    assert "toy/toy.safetensors" in ask(house, CLI, *words)
    report = json.loads(ask(house, CLI, "doctor", "--quick", "--json", "--models", models))
    assert any(
        "A toy adapter" in json.dumps(check) or "toy.safetensors" in json.dumps(check) for check in report["checks"]
    )


def test_it_is_found_where_it_lies(house: Path, tmp_path: Path) -> None:
    found = "from pathlib import Path; from arc2face.weights.folder import ModelsFolder\n"
    found += "print(ModelsFolder(Path(sys.argv[1])).locate('toy'))"
    assert ask(house, found, tmp_path).strip() == "None"
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "toy.safetensors").write_bytes(b"x")
    assert ask(house, found, tmp_path).strip() == str(tmp_path / "toy" / "toy.safetensors")
