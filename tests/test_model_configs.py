"""JSON in a models folder: wrong kinds, sizes and depths are refused by name, before anything is built (K5)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from arc2face.diffusion import loading
from arc2face.errors import CorruptWeightsError, WeightsError
from arc2face.weights.folder import ModelsFolder
from arc2face.weights.jsonfile import parse_json, read_json


@pytest.fixture
def models(tiny_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModelsFolder:
    monkeypatch.setenv("ARC2FACE_CACHE", str(tmp_path / "cache"))
    root = Path(shutil.copytree(tiny_tree / "models", tmp_path / "in" / "m"))
    shutil.copytree(tiny_tree / "stable-diffusion-v1-5", root / "stable-diffusion-v1-5")
    return ModelsFolder(root)


Load = Callable[[ModelsFolder], Any]
CONFIGS: dict[str, Load] = {
    "arc2face/config.json": lambda m: loading.load_unet(m, torch.float32),
    "controlnet/config.json": lambda m: loading.load_controlnet(m, torch.float32),
    "encoder/config.json": lambda m: loading.load_text_encoder(m, torch.float32),
    "stable-diffusion-v1-5/vae/config.json": lambda m: loading.load_vae(m, torch.float32),
    "stable-diffusion-v1-5/scheduler/scheduler_config.json": loading.load_scheduler_config,
}
DAMAGE = {
    "empty": b"",
    "html": b"<!DOCTYPE html>",
    "list": b"[]",
    "null": b"null",
    "not utf-8": b"\xff\xfe{}",
    "deep": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "deep lists": b'{"a":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
    "surrogate": b'{"act_fn": "\\ud800"}',
    "nan": b'{"norm_eps": NaN}',
    "infinite": b'{"norm_eps": 1e999}',
    "digits": b'{"sample_size": ' + b"9" * 10_000 + b"}",
    "many": json.dumps({f"k{i}": i for i in range(5000)}).encode(),
}


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_configurations_are_named(models: ModelsFolder, name: str, damage: str) -> None:
    (models.root / name).write_bytes(DAMAGE[damage])
    with pytest.raises(WeightsError, match=name.rpartition("/")[2]):
        CONFIGS[name](models)


@pytest.mark.parametrize(
    ("name", "setting", "value"),
    [
        ("arc2face/config.json", "block_out_channels", []),
        ("arc2face/config.json", "block_out_channels", "x"),
        ("arc2face/config.json", "block_out_channels", [10**9] * 4),
        ("arc2face/config.json", "block_out_channels", [16, 16, 32, -32]),
        ("arc2face/config.json", "block_out_channels", [[16]] * 4),
        ("arc2face/config.json", "layers_per_block", 10**9),
        ("arc2face/config.json", "layers_per_block", "2"),
        ("arc2face/config.json", "layers_per_block", True),
        ("arc2face/config.json", "transformer_layers_per_block", 10**6),
        ("arc2face/config.json", "sample_size", [64, "64"]),
        ("arc2face/config.json", "sample_size", -1),
        ("arc2face/config.json", "in_channels", 9),
        ("arc2face/config.json", "norm_num_groups", 7),
        ("arc2face/config.json", "attention_head_dim", 0),
        ("arc2face/config.json", "act_fn", "nonsense"),
        ("arc2face/config.json", "down_block_types", ["Nonsense"] * 4),
        ("arc2face/config.json", "down_block_types", 5),
        ("arc2face/config.json", "_class_name", ["UNet2DConditionModel"]),
        ("arc2face/config.json", "anything", "x" * 100_000),
        ("controlnet/config.json", "conditioning_embedding_out_channels", [10**9]),
        ("controlnet/config.json", "cross_attention_dim", {"a": 1}),
        ("encoder/config.json", "num_hidden_layers", 10**9),
        ("encoder/config.json", "num_attention_heads", 7),
        ("encoder/config.json", "hidden_size", "768"),
        ("encoder/config.json", "vocab_size", -5),
        ("encoder/config.json", "hidden_act", "nonsense"),
        ("stable-diffusion-v1-5/vae/config.json", "latent_channels", 10**9),
        ("stable-diffusion-v1-5/vae/config.json", "down_block_types", []),
        ("stable-diffusion-v1-5/scheduler/scheduler_config.json", "num_train_timesteps", 10**9),
        ("stable-diffusion-v1-5/scheduler/scheduler_config.json", "beta_start", 1e300),
    ],
)
def test_wrong_kinds_and_sizes_are_refused(models: ModelsFolder, name: str, setting: str, value: object) -> None:
    path = models.root / name
    path.write_text(json.dumps({**json.loads(path.read_text()), setting: value}))
    with pytest.raises(WeightsError, match=name.rpartition("/")[2]):
        CONFIGS[name](models)


@pytest.mark.parametrize("name", ["arc2face/config.json", "stable-diffusion-v1-5/vae/config.json"])
@pytest.mark.parametrize("content", [b"", b"{}", b'{"sample_size": [64, 0], "block_out_channels": [1]}'])
def test_the_native_size_needs_sane_settings(models: ModelsFolder, name: str, content: bytes) -> None:
    """E6: a bad `sample_size` was a TypeError."""
    assert loading.picture_side(models) == 128
    (models.root / name).write_bytes(content)
    with pytest.raises(WeightsError, match=r"config\.json"):
        loading.picture_side(models)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("vocab.json", b"[]"),
        ("vocab.json", b"{"),
        ("vocab.json", b'{"a": "b"}'),
        ("vocab.json", b'{"a": {"b": {}}}'),
        ("merges.txt", b"\xff\xfe\x00broken"),
        ("tokenizer_config.json", b"null"),
        ("tokenizer_config.json", b'{"model_max_length": "long"}'),
        ("special_tokens_map.json", b"[1]"),
        ("special_tokens_map.json", b'{"bos_token": [[[1]]]}'),
    ],
)
def test_broken_tokenizer_files_are_one_clear_error(models: ModelsFolder, name: str, content: bytes) -> None:
    """Medium: broken tokenizer files ended in raw errors. What still makes a tokenizer may be used."""
    (models.root / "stable-diffusion-v1-5" / "tokenizer" / name).write_bytes(content)
    try:
        tokens = loading.load_tokenizer(models)
    except WeightsError as error:
        assert "tokenizer" in str(error)
    else:
        assert tokens("photo")["input_ids"]


def test_the_limits_of_the_json_door(tmp_path: Path) -> None:
    assert parse_json(b'\xef\xbb\xbf{"a": [1, 2.5, null, "\xc3\xa9"]}') == {"a": [1, 2.5, None, "é"]}
    with pytest.raises(ValueError, match="at most 10"):
        parse_json(b'{"a": 1234567}', max_bytes=10)
    with pytest.raises(ValueError, match="more than 3 levels"):
        parse_json(b"[[[[1]]]]", max_depth=3)
    assert parse_json(b"[[1]]", max_depth=3) == [[1]]
    (tmp_path / "f.json").mkdir()
    for path in (tmp_path / "f.json", tmp_path / "none.json"):
        with pytest.raises(CorruptWeightsError, match="cannot be read"):
            read_json(path)
