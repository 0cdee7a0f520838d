"""The small decoder: files as published and as diffusers writes them, refusals, requests, recipes, previews.

Issue 12, point 5. The checkpoints are random and narrow, in the layout of the published file.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderTiny
from diffusers.models.autoencoders.vae import DecoderTiny
from safetensors.torch import save_file

from arc2face import Engine, GenerationRequest, IdentityEmbedding
from arc2face.diffusion.small_decoder import (
    PREVIEW_SHARE,
    SmallPreview,
    decode_small,
    load_small_decoder,
    usable,
    with_decoder,
)
from arc2face.errors import IncompatibleWeightsError, MissingWeightsError, SettingsError
from arc2face.pictures.recipes import png_bytes, read_recipe, request_from_recipe
from arc2face.types import GenerationResult
from arc2face.weights.folder import ModelsFolder
from arc2face.weights.table import FEATURES, by_key

WIDTH = 4
NOBODY = IdentityEmbedding(np.ones(512, np.float32))


def published(channels: int = 4, width: int = WIDTH, seed: int = 0) -> dict[str, torch.Tensor]:
    """Random weights under the published file's names, where the clamp is layer 0."""
    torch.manual_seed(seed)
    made = DecoderTiny(channels, 3, (3, 3, 3, 1), (width,) * 4, 2, "relu", "nearest").state_dict()
    return {
        f"{int(name.split('.')[1]) + 1}.{name.split('.', 2)[2]}": tensor.contiguous() for name, tensor in made.items()
    }


def write(tree: Path, state: dict[str, torch.Tensor], name: str = "taesd_decoder.safetensors") -> Path:
    folder = tree / "models" / "taesd"
    folder.mkdir(parents=True, exist_ok=True)
    save_file(state, folder / name, metadata={"format": "pt"})
    return folder / name


@pytest.fixture(scope="module")
def with_file(tiny_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny models with a small decoder beside them; read-only."""
    tree = Path(shutil.copytree(tiny_tree, tmp_path_factory.mktemp("small") / "tiny"))
    write(tree, published())
    return tree


def generate(tree: Path, **settings: object) -> GenerationResult:
    with Engine.open(tree / "models", device="cpu") as engine:
        return engine.generate(
            GenerationRequest(identity=NOBODY, num_images=1, score=False, keep_latents=True, **settings)
        )


def test_published_file_gives_what_diffusers_tiny_autoencoder_gives(tmp_path: Path) -> None:
    """12.5: same numbers as `AutoencoderTiny`, from both spellings of the file."""
    torch.manual_seed(3)
    model = AutoencoderTiny(encoder_block_out_channels=(WIDTH,) * 4, decoder_block_out_channels=(WIDTH,) * 4)
    theirs = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    own = {name.removeprefix("decoder."): tensor for name, tensor in theirs.items() if name.startswith("decoder.")}
    ours = {f"{int(name.split('.')[1]) + 1}.{name.split('.', 2)[2]}": tensor for name, tensor in own.items()}
    latents = torch.randn(1, 4, 6, 5)
    with torch.no_grad():
        wanted = model.decode(latents, return_dict=False)[0]
    for name, state in (("taesd_decoder.safetensors", ours), ("diffusion_pytorch_model.safetensors", theirs)):
        decoder = load_small_decoder(write(tmp_path, state, name), 4, torch.float32)
        assert torch.equal(decoder(latents), wanted)
    picture = decode_small(decoder, latents[0])
    assert picture.shape == (48, 40, 3) and picture.dtype == np.uint8
    assert np.array_equal(picture, ((wanted[0] / 2 + 0.5).clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy())


def test_strict_about_keys_shapes_and_channels(tmp_path: Path) -> None:
    """12.5: as strict as every other checkpoint, one sentence each."""
    state = published()
    wrong = {
        "keys missing": {name: tensor for name, tensor in state.items() if name != "19.bias"},
        "left over": state | {"20.weight": torch.zeros(1)},
        "has shape": state | {"7.weight": torch.zeros(WIDTH, WIDTH, 1, 1)},
        "first convolution is missing": {"x": torch.zeros(1)},
        "5 channels": published(channels=5),
    }
    for words, tensors in wrong.items():
        with pytest.raises(IncompatibleWeightsError, match=words):
            load_small_decoder(write(tmp_path, tensors), 4, torch.float32)


def test_row_of_the_table() -> None:
    """12.5: public source and licence stand in the weights table, and it is a feature of its own."""
    row = by_key("small-decoder")
    assert (row.repo, row.remote, row.licence) == ("madebyollin/taesd", "taesd_decoder.safetensors", "mit")
    assert "small-decoder" in FEATURES["small-decoder"] and "small-decoder" not in FEATURES["identity"]


def test_same_latents_other_pixels_and_the_recipe_says_so(with_file: Path) -> None:
    """12.5: the denoising is untouched; the recipe names decoder and file, and makes the picture again."""
    exact, small = generate(with_file, steps=2, decoder="exact"), generate(with_file, steps=2, decoder="small")
    assert np.array_equal(exact.images[0].latents, small.images[0].latents)
    assert exact.images[0].rgb_u8.shape == small.images[0].rgb_u8.shape
    assert not np.array_equal(exact.images[0].rgb_u8, small.images[0].rgb_u8)
    recipe = read_recipe(png_bytes(small.images[0], small))
    assert recipe["settings"]["decoder"] == "small" and len(recipe["models"]["small_decoder"]) == 64
    assert "small_decoder" not in exact.recipe["models"]
    again = request_from_recipe(recipe, NOBODY)
    assert (again.decoder, again.guidance_start, again.guidance_end) == ("small", 0.0, 1.0)


def test_auto_is_exact_except_in_fast_mode_on_a_cpu(with_file: Path, tiny_tree: Path) -> None:
    """12.5: off by default; on a CPU fast mode asks for it where the file is there, and the result says which."""
    models, without = ModelsFolder(with_file / "models"), ModelsFolder(tiny_tree / "models")
    fast, full = GenerationRequest(identity=NOBODY, fast=True), GenerationRequest(identity=NOBODY)
    assert usable(models) and not usable(without)
    assert with_decoder(fast, models, "cpu").decoder == "small"
    assert with_decoder(fast, models, "cuda").decoder == "exact"
    assert with_decoder(full, models, "cpu").decoder == "exact"
    assert with_decoder(fast, without, "cpu").decoder == "exact"
    assert with_decoder(fast.with_(decoder="exact"), models, "cpu").decoder == "exact"
    assert generate(with_file, fast=True, steps=1).request.decoder == "small"


def test_missing_file_is_said_and_nothing_changes_without_asking(tiny_tree: Path) -> None:
    """12.5: models without the file work as before; asking for it names the file and the command."""
    with Engine.open(tiny_tree / "models", device="cpu") as engine:
        with pytest.raises(MissingWeightsError, match=r"taesd_decoder\.safetensors .* arc2face download small-decoder"):
            engine.submit(GenerationRequest(identity=NOBODY, decoder="small"))
        assert not isinstance(engine.registry.preview, SmallPreview)
        row = next(row for row in engine.status() if row.name == "small_decoder")
        assert row.state == "missing"


def test_file_for_other_latents_is_not_taken_unasked(tiny_copy: Path) -> None:
    """12.5: a decoder of 16-channel latents beside these models is left alone."""
    write(tiny_copy, published(channels=16))
    models = ModelsFolder(tiny_copy / "models")
    assert not usable(models)
    assert with_decoder(GenerationRequest(identity=NOBODY, fast=True), models, "cpu").decoder == "exact"


def test_previews_come_from_it_on_a_cpu_and_take_little_time(with_file: Path) -> None:
    """12.5: previews through the small decoder, at most a twentieth of the time; between two the last one stays."""
    with Engine.open(with_file / "models", device="cpu") as engine:
        preview = engine.registry.preview
        assert isinstance(preview, SmallPreview) and preview is not engine.registry.preview
        now = iter([0.0, 1.0, 10.0, 1.0 + 1.0 / PREVIEW_SHARE, 30.0])
        preview.clock = lambda: next(now)
        first = preview.picture(torch.zeros(4, 64, 64))
        assert first.shape == (256, 256, 3)
        assert preview.picture(torch.ones(4, 64, 64)) is first
        assert np.array_equal(preview.picture(torch.full((4, 64, 64), torch.nan)), first)  # NaN counts as zero
        seen = []
        request = GenerationRequest(identity=NOBODY, num_images=1, steps=2, score=False)
        engine.generate(request, lambda event: seen.append(event.preview))
    assert any(picture is not None and picture.shape[-1] == 3 for picture in seen)


def test_settings_are_checked_at_the_door() -> None:
    """12.5: one validator each, with a sentence."""
    with pytest.raises(SettingsError, match="decoder"):
        GenerationRequest(identity=NOBODY, decoder="tiny")
    with pytest.raises(SettingsError, match="Guidance must end after its start"):
        GenerationRequest(identity=NOBODY, guidance_start=0.5, guidance_end=0.5)
    with pytest.raises(SettingsError, match="end of guidance"):
        GenerationRequest(identity=NOBODY, guidance_end=1.5)
