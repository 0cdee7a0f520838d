"""Training recipes: what they may say, and what is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from arc2face_training.common.config import from_mapping, load_config
from arc2face_training.common.errors import TrainingError
from arc2face_training.common.loop import LoopConfig
from arc2face_training.diffusion import vae
from arc2face_training.train import COMPONENTS, RECIPES, config_path, train


def test_places_may_name_an_environment_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PEOPLE", raising=False)
    with pytest.raises(TrainingError, match="export PEOPLE="):
        load_config(vae.VaeConfig, config_path("vae", "people-cpu"))
    monkeypatch.setenv("PEOPLE", "/somewhere")
    assert load_config(vae.VaeConfig, config_path("vae", "people-cpu")).data.path == Path("/somewhere/train")


def test_every_recipe_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEOPLE", "/somewhere")
    for name, entry in COMPONENTS.items():
        module = __import__(entry.module, fromlist=[entry.config])
        for recipe in RECIPES:
            load_config(getattr(module, entry.config), config_path(name, recipe))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("loop: {stepz: 3}", "did you mean 'steps'"),
        ("loop: {steps: many}", "must be a int"),
        ("loop: 3", "settings of its own"),
        ("start: magic", "must be one of"),
        ("loop: {betas: [0.9]}", "must hold 2 values"),
        ("- a", "top level"),
        ("a: [", "not valid YAML"),
    ],
)
def test_bad_configs_are_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(TrainingError, match=message):
        load_config(vae.VaeConfig, path)


def test_a_bare_no_is_a_word_where_words_are_wanted(tmp_path: Path) -> None:
    path = tmp_path / "plain.yaml"
    path.write_text("loop: {precision: no}")
    assert load_config(vae.VaeConfig, path).loop.precision == "no"
    path.write_text("loop: {precision: yes}")
    with pytest.raises(TrainingError, match="must be one of"):
        load_config(vae.VaeConfig, path)


def test_numbers_in_scientific_notation_are_numbers() -> None:
    assert from_mapping(LoopConfig, {"learning_rate": "1e-4"}, "test").learning_rate == 1e-4


def test_unknown_component_and_missing_config(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no trainer 'unett'"):
        train("unett", out=tmp_path)
    with pytest.raises(TrainingError, match="no config 'small'"):
        train("vae", "small", tmp_path)
    with pytest.raises(TrainingError, match="cannot be read"):
        train("vae", tmp_path / "absent.yaml", tmp_path)
