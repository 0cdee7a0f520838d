"""The suite of rendered people, at its smallest size, on the shipped models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from arc2face.errors import SettingsError
from arc2face_training.evaluate.suite import MEASUREMENTS, SUITES, evaluate_suite

STARTER = Path(__file__).resolve().parents[1] / "models" / "starter"


def test_unknown_names_are_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    nothing = tmp_path / "no models"
    with pytest.raises(SettingsError, match="no suite 'large'; choose one of starter, quick, smoke"):
        evaluate_suite("large", nothing, tmp_path)
    with pytest.raises(SettingsError, match="no measurement 'poses'; choose among identity, "):
        evaluate_suite("smoke", nothing, tmp_path, only=("identity", "poses"))


@pytest.mark.people
@pytest.mark.slow
def test_every_measurement_runs_and_a_part_keeps_the_rest(tmp_path: Path) -> None:
    first = evaluate_suite("smoke", STARTER, tmp_path, "cpu")
    assert set(first) == {"suite", "models", "people", *MEASUREMENTS}
    assert not [name for name in MEASUREMENTS if {"missing", "failed"} & set(first[name])]
    assert json.loads((tmp_path / "figures.json").read_text()) == json.loads(json.dumps(first))
    with Image.open(tmp_path / "random.jpg") as sheet:
        assert sheet.width >= 256 * SUITES["smoke"].random
    (tmp_path / "random.jpg").unlink()
    second = evaluate_suite("smoke", STARTER, tmp_path, "cpu", only=("grey", "decoder"))
    assert second["decoder"] == first["decoder"] and second["identity"] == first["identity"]
    assert set(second) == set(first) and not (tmp_path / "random.jpg").exists()


@pytest.mark.people
@pytest.mark.slow
def test_figures_of_another_suite_are_not_taken_over(tmp_path: Path) -> None:
    (tmp_path / "figures.json").write_text(
        json.dumps({"suite": "quick", "models": "starter", "people": 12, "pose": {}})
    )
    found = evaluate_suite("smoke", STARTER, tmp_path, "cpu", only=("decoder",))
    assert set(found) == {"suite", "models", "people", "decoder"}
