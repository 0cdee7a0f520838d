"""Each diffusion trainer at toy size: steps, interruption, resuming, and an export that the product loads strictly."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTokenizer

from arc2face.diffusion.adapters.expression import ExpressionAdapter
from arc2face.diffusion.adapters.lcm import LcmAdapter
from arc2face.diffusion.adapters.reference import ReferenceAdapter
from arc2face.weights.folder import ModelsFolder
from arc2face_training.common.checkpoint import CHECKPOINT
from arc2face_training.common.errors import TrainingError
from arc2face_training.common.loop import LoopConfig
from arc2face_training.common.optimisers import orthogonalised
from arc2face_training.common.settings import FaceLoopConfig
from arc2face_training.common.sharpness import sharpness_ratios
from arc2face_training.common.sources import DataConfig, RenderedSource, open_source
from arc2face_training.diffusion import adapters, identity, lcm, reference, vae
from arc2face_training.diffusion.blockwise import blockwise
from arc2face_training.diffusion.critic import PatchCritic, capped
from arc2face_training.diffusion.denoising_loss import LossConfig
from arc2face_training.diffusion.face_features import FaceFeatures
from arc2face_training.diffusion.latents import encode
from arc2face_training.diffusion.linear_vae import WIDE_CHANNELS, block_vae, fits_closed_form, write_encoder
from arc2face_training.diffusion.listening import gains, level_hint
from arc2face_training.diffusion.noise import alphas_cumprod, amounts, target, to_clean, to_noise
from arc2face_training.diffusion.parts import Bundle, EncoderShape, UNetShape, new_controlnet
from arc2face_training.diffusion.sampling import fixed_noise, sample
from arc2face_training.diffusion.text import Prompts, make_encoder, whiten, write_tokenizer
from arc2face_training.faces import recogniser
from arc2face_training.people import PeopleWorld
from arc2face_training.people.dataset import DatasetConfig, align_crop, write_dataset

SIZE = 64
SHAPE = UNetShape(
    channels=(16, 16),
    attention=(True, False),
    heads=2,
    groups=8,
    latent_size=8,
    hint_channels=(8, 8, 8, 8),
    pooled=True,
)
LOOP = LoopConfig(steps=3, batch_size=2, learning_rate=1e-3, warmup=1, log_every=1, device="cpu", threads=1)
LOSS = LossConfig("v_prediction", high_share=0.5, control_share=0.5, expression_share=0.5, reference_share=0.5)


@pytest.fixture(scope="module")
def data(world: PeopleWorld, tmp_path_factory: pytest.TempPathFactory) -> DataConfig:
    folder = tmp_path_factory.mktemp("people")
    write_dataset(folder, DatasetConfig(people=3, per_person=2, size=SIZE), processes=1)
    write_dataset(folder / "pairs", DatasetConfig(2, 4, 0, SIZE, studio=True, pairs=True), processes=1)
    return DataConfig(path=folder, size=SIZE)


def pairs_of(data: DataConfig) -> DataConfig:
    return replace(data, path=data.path / "pairs")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, data: DataConfig) -> Path:
    """A VAE and a jointly trained UNet, encoder, ControlNet and expression branch, at toy size."""
    root = tmp_path_factory.mktemp("bundle")
    vae.train(vae_config(data, root), root / "runs" / "vae")
    identity.train(unet_config(data, root), root / "runs" / "unet")
    return root


def vae_config(data: DataConfig, root: Path) -> vae.VaeConfig:
    return vae.VaeConfig(data=data, loop=replace(LOOP, steps=2), fit_pictures=6, output=root)


def unet_config(data: DataConfig, root: Path) -> identity.IdentityConfig:
    encoder = EncoderShape(layers=1, heads=2, inner=32, components=3)
    loop = replace(LOOP, validate_every=3, optimiser="muon")
    return identity.IdentityConfig(
        bundle=root, data=data, pairs=pairs_of(data), loop=loop, loss=LOSS, unet=SHAPE, encoder=encoder, joint=True,
        output=root,
    )  # fmt: skip


def interrupted_and_resumed(run: Any, config: Any, out: Path) -> dict[str, float]:
    """Run piece by piece: each piece ends after one step, as a kill with a grace period would."""
    figures: dict[str, float] = {}
    piece = replace(config, loop=replace(config.loop, seconds=1e-6))
    for step in range(1, config.loop.steps + 1):
        figures = run(piece, out)
        assert figures["step"] == step
    return figures


@pytest.mark.parametrize("channels", [8, 12])
def test_closed_form_encoder_with_fewer_channels(data: DataConfig, channels: int) -> None:
    pictures = open_source(data).pixels(np.arange(6))
    u8 = ((pictures + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    model = block_vae(SIZE, latent_channels=channels)
    assert write_encoder(model, u8) < write_encoder(block_vae(SIZE), u8)
    with torch.no_grad():
        encoded: Any = model.encode(pictures)
    assert encoded.latent_dist.mean.shape == (6, channels, SIZE // 8, SIZE // 8)
    assert abs(float(encoded.latent_dist.mean.std()) - 1) < 0.1


def test_partners_of_a_pair_share_all_but_the_expression(data: DataConfig) -> None:
    source = open_source(pairs_of(data))
    assert isinstance(source, RenderedSource)
    first, second = source.choose(np.random.default_rng(0), 40)
    assert np.array_equal(first // 2, second // 2) and not np.any(first == second)
    pixels, labels = source.pixels(np.arange(8)), source.data.labels
    corners = torch.cat([pixels[:, :, :4, :4].mean((2, 3)), pixels[:, :, :4, -4:].mean((2, 3))], 1)
    partners, strangers = (corners[0::2] - corners[1::2]).abs(), (corners[0:-2:2] - corners[2::2]).abs()
    assert float(partners.median()) < 0.02 < 0.05 < float(strangers.median())
    assert np.array_equal(labels[0::2, 211], labels[1::2, 211])
    assert not np.array_equal(labels[0::2, :55], labels[1::2, :55])


def test_a_level_hint_tells_normal_maps_apart(data: DataConfig) -> None:
    source = open_source(data)
    maps = source.normals(np.arange(6))

    def heard(controlnet: ControlNetModel) -> float:
        hint, seen = controlnet.controlnet_cond_embedding, list[torch.Tensor]()
        hint.blocks[-1].register_forward_hook(lambda module, given, output: seen.append(output))
        hint(maps)
        return float(seen[0].detach().std(0).mean())

    torch.manual_seed(0)
    plain = new_controlnet(SHAPE, 4)
    deaf = heard(plain)
    level_hint(plain, maps)
    assert heard(plain) > 0.2 > 20 * deaf


def test_gains_tell_a_network_that_hears_from_one_that_does_not(data: DataConfig, bundle: Path) -> None:
    source, coder = open_source(data), Bundle(bundle).vae()
    objective = identity.make_objective(unet_config(data, bundle), coder, source)
    heard = gains(objective, coder, source, torch.device("cpu"))
    assert set(heard) == {f"{what}_gain_{step}" for what in ("identity", "control") for step in (600, 850)}
    assert heard["control_gain_600"] == 0  # a new ControlNet says nothing yet
    with torch.no_grad():
        for name, parameter in objective.unet.named_parameters():
            if "attn2.to_out" in name or name.startswith("add_embedding"):
                parameter.zero_()
    deaf = gains(objective, coder, source, torch.device("cpu"))
    assert abs(deaf["identity_gain_600"]) < 1e-6 < abs(heard["identity_gain_600"])


def test_whitening_makes_quiet_differences_as_loud_as_loud_ones() -> None:
    torch.manual_seed(0)
    strength = torch.zeros(512)
    strength[:3] = torch.tensor([1.0, 0.3, 0.1])
    people = torch.randn(200, 1, 512) * strength + 0.002 * torch.randn(200, 4, 512)
    people = people + torch.eye(512)[7] * 4
    people = people / people.norm(dim=-1, keepdim=True)
    with tempfile.TemporaryDirectory() as folder:
        write_tokenizer(Path(folder))
        tokenizer = CLIPTokenizer.from_pretrained(folder)
    prompts = Prompts(make_encoder(512, 1, 8, 64), tokenizer)
    whiten(prompts.encoder, prompts.place, people, 3)
    with torch.no_grad():
        seen = prompts(people[:, 0])[:, prompts.place]
    spread = torch.linalg.svdvals(seen - seen.mean(0))
    assert float(spread[0] / spread[2]) < 1.6
    assert float(spread[2] / spread[3]) > 3


def test_closed_form_encoder_reaches_what_components_can(data: DataConfig) -> None:
    pictures = open_source(data).pixels(np.arange(6))
    model = block_vae(SIZE)
    linear = write_encoder(model, ((pictures + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy())
    with torch.no_grad():
        encoded: Any = model.encode(pictures)
    posterior = encoded.latent_dist
    latents = posterior.mean
    assert latents.shape == (6, 16, SIZE // 8, SIZE // 8)
    assert abs(float(latents.std()) - 1) < 0.1
    assert float(posterior.std.max()) < 0.05
    rows = latents.permute(0, 2, 3, 1).reshape(-1, 16).double()
    blocks = pictures.reshape(6, 3, 8, 8, 8, 8).permute(0, 2, 4, 1, 3, 5).reshape(-1, 192).double()
    solution = torch.linalg.lstsq(torch.cat([rows, torch.ones(len(rows), 1)], 1), blocks).solution
    residual = torch.cat([rows, torch.ones(len(rows), 1)], 1) @ solution - blocks
    decoded = -10 * float(torch.log10((residual**2).mean() / 4))
    assert decoded > 24
    assert abs(decoded - linear) < 1.0


def test_an_encoder_that_is_one_matrix_is_applied_as_one(data: DataConfig) -> None:
    """13.3: latents of 60,000 pictures took hours through the layers; no other encoder is taken for such a map."""
    pictures = open_source(data).pixels(np.arange(6))
    model = block_vae(SIZE)
    assert blockwise(model, lambda pixels: encode(model, pixels), pictures[:2]) is None  # random weights
    write_encoder(model, ((pictures + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy())
    quick = blockwise(model, lambda pixels: encode(model, pixels), pictures[:2])
    assert quick is not None
    wanted = encode(model, pictures)
    assert quick(pictures).shape == wanted.shape
    assert float((quick(pictures) - wanted).square().mean().sqrt() / wanted.std()) < 1e-3


def test_vae_keeps_the_frozen_encoder_and_resumes(data: DataConfig, bundle: Path, tmp_path: Path) -> None:
    config = replace(vae_config(data, tmp_path), loop=replace(LOOP, steps=2))
    figures = interrupted_and_resumed(vae.train, config, tmp_path / "run")
    assert np.isfinite(figures["psnr"])
    first = torch.load(tmp_path / "run" / CHECKPOINT, weights_only=True)
    assert not any(name.startswith("vae.encoder") for name in first["weights"])
    assert (tmp_path / "stable-diffusion-v1-5" / "vae" / "diffusion_pytorch_model.safetensors").exists()


def test_resumed_run_equals_an_unbroken_one(data: DataConfig, bundle: Path, tmp_path: Path) -> None:
    config = replace(unet_config(data, tmp_path), bundle=bundle)
    identity.train(config, tmp_path / "whole")
    interrupted_and_resumed(identity.train, config, tmp_path / "pieces")
    whole, pieces = (torch.load(tmp_path / name / CHECKPOINT, weights_only=True) for name in ("whole", "pieces"))
    assert whole["step"] == pieces["step"] == 3
    for name, value in whole["weights"].items():
        assert torch.equal(value, pieces["weights"][name]), name
    for name, value in whole["average"].items():
        assert torch.equal(value, pieces["average"][name]), name


def test_identity_export_loads_and_makes_latents(bundle: Path) -> None:
    loaded: Any = UNet2DConditionModel.from_pretrained(bundle / "arc2face", output_loading_info=True)
    unet, info = loaded
    assert not info["missing_keys"] and not info["unexpected_keys"]
    assert ControlNetModel.from_pretrained(bundle / "controlnet").config["conditioning_channels"] == 3
    loaded = CLIPTextModel.from_pretrained(bundle / "encoder", output_loading_info=True)
    encoder, info = loaded
    assert not info["missing_keys"] and not info["unexpected_keys"]
    tokenizer = CLIPTokenizer.from_pretrained(bundle / "stable-diffusion-v1-5" / "tokenizer")
    ids = tokenizer("photo of a id person", padding="max_length").input_ids
    assert len(ids) == 8 and len(set(ids[:7])) == 7
    prompt = encoder.float()(input_ids=torch.tensor([ids])).last_hidden_state
    with torch.no_grad():
        result = sample(
            lambda x, t: unet.float()(x, t, prompt).sample,
            fixed_noise((1, 16, 8, 8), torch.device("cpu")),
            "v_prediction",
            3,
        )
    assert torch.isfinite(result).all()


def test_adapters_train_alone_and_load_in_the_product(data: DataConfig, bundle: Path, tmp_path: Path) -> None:
    common: dict[str, Any] = {"bundle": bundle, "data": data, "loop": replace(LOOP, steps=2), "output": tmp_path}
    loss = replace(LOSS, control_share=1.0, expression_share=1.0)
    control = adapters.ControlNetConfig(unet=SHAPE, loss=loss, **common)
    before = (bundle / "arc2face" / "diffusion_pytorch_model.safetensors").read_bytes()
    interrupted_and_resumed(adapters.train_controlnet, control, tmp_path / "c")
    interrupted_and_resumed(adapters.train_expression, adapters.ExpressionConfig(loss=loss, **common), tmp_path / "e")
    interrupted_and_resumed(reference.train, reference.ReferenceConfig(rank=4, loss=loss, **common), tmp_path / "r")
    interrupted_and_resumed(lcm.train, lcm.LcmConfig(rank=4, start_share=0.5, **common), tmp_path / "l")
    assert (bundle / "arc2face" / "diffusion_pytorch_model.safetensors").read_bytes() == before
    unet = UNet2DConditionModel.from_pretrained(bundle / "arc2face").float()
    models = ModelsFolder(tmp_path)
    assert len(ExpressionAdapter().load(models, unet, torch.float32).names) == 4
    assert all(".attn1." in name for name in ReferenceAdapter().load(models, unet, torch.float32))
    assert len(LcmAdapter().load(models, unet, torch.float32)) > 30
    ControlNetModel.from_pretrained(tmp_path / "controlnet")


def test_parameterisations_agree() -> None:
    clean, noise = torch.randn(4, 2, 3, 3), torch.randn(4, 2, 3, 3)
    a, s = amounts(alphas_cumprod(), torch.tensor([0, 300, 700, 999]))
    noisy = a * clean + s * noise
    for prediction in ("epsilon", "v_prediction"):
        output = target(prediction, clean, noise, a, s)
        torch.testing.assert_close(to_clean(prediction, output, noisy, a, s), clean, atol=2e-4, rtol=0)
        torch.testing.assert_close(to_noise(prediction, output, noisy, a, s), noise, atol=1e-5, rtol=0)


def test_orthogonalised_momentum_has_equal_singular_values() -> None:
    for shape in ((32, 48), (64, 32)):
        values = torch.linalg.svdvals(orthogonalised(torch.randn(shape, generator=torch.Generator().manual_seed(0))))
        assert float(values.max()) < 1.35 and float(values.min()) > 0.3


def test_momentum_may_be_orthogonalised_in_bfloat16() -> None:
    matrix = torch.randn((32, 48), generator=torch.Generator().manual_seed(0))
    rough = orthogonalised(matrix, torch.bfloat16)
    assert rough.dtype == matrix.dtype
    assert 0.001 < float((rough - orthogonalised(matrix)).norm() / rough.norm()) < 0.1


def test_five_levels_hold_a_sixteenth_and_carry_the_transform(data: DataConfig, tmp_path: Path) -> None:
    """The closed form for 16 x 16 blocks: latents of 1/16, unit variance, linear in the blocks."""
    pictures = open_source(data).pixels(np.arange(6))
    u8 = ((pictures + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    model = block_vae(SIZE, WIDE_CHANNELS, 24)
    write_encoder(model, u8)
    with torch.no_grad():
        first: Any = model.encode(pictures)
        # Linear: the mean of two pictures has the mean of their latents.
        both: Any = model.encode((pictures[:1] + pictures[1:2]) / 2)
    latents = first.latent_dist.mode()
    assert latents.shape == (6, 24, SIZE // 16, SIZE // 16)
    torch.testing.assert_close(both.latent_dist.mode()[0], (latents[0] + latents[1]) / 2, atol=0.02, rtol=0)
    assert fits_closed_form(WIDE_CHANNELS, 32) and not fits_closed_form((16, 16, 16, 32), 32)
    config = replace(vae_config(data, tmp_path), channels=(16, 16, 16, 32), latent_channels=32)
    with pytest.raises(TrainingError, match="has no room"):
        vae.train(config, tmp_path / "run")


def test_decoder_with_features_and_critic_resumes(data: DataConfig, tmp_path: Path) -> None:
    """The recogniser stays as it is, the critic begins late and learns, and pieces equal one run."""
    torch.manual_seed(0)
    tiny = recogniser.RecogniserConfig(
        data=(data.path,), evaluation=data.path, widths=(8, 8, 8, 8), loop=FaceLoopConfig(steps=1, device="cpu")
    )
    recogniser.train(tiny, tmp_path / "recogniser")
    sharp = vae.SharpConfig(
        recogniser=tmp_path / "recogniser" / CHECKPOINT,
        features=1.0,
        critic=0.5,
        critic_from=1,
        critic_width=8,
        part=48,
    )
    base = vae_config(data, tmp_path)
    config = replace(base, channels=WIDE_CHANNELS, latent_channels=24, sharp=sharp, data=replace(data, flip=True))
    figures = vae.train(config, tmp_path / "whole")
    assert figures["critic"] > 0 and 0 < figures["critic_factor"] <= 1 and figures["features"] > 0
    assert figures["gradient_ratio"] > 0
    interrupted_and_resumed(vae.train, config, tmp_path / "pieces")
    whole, pieces = (torch.load(tmp_path / name / CHECKPOINT, weights_only=True) for name in ("whole", "pieces"))
    assert not any(name.startswith("features.") for name in whole["weights"])
    assert all(torch.equal(value, pieces["weights"][name]) for name, value in whole["weights"].items())
    with pytest.raises(TrainingError, match="not a recogniser's checkpoint"):
        FaceFeatures.of(tmp_path / "whole" / CHECKPOINT)


def test_aligned_view_is_the_recognisers_crop(data: DataConfig) -> None:
    source = open_source(data)
    assert isinstance(source, RenderedSource)
    pixels, points = source.pixels(np.arange(2)), source.points(np.arange(2))
    features = FaceFeatures(recogniser.Recogniser((8, 8, 8, 8)))
    grid = features._aligned_grid(pixels, points)
    found = torch.nn.functional.grid_sample(pixels, grid, align_corners=False, padding_mode="border")
    wanted = align_crop(np.asarray(source.data.rgb[0]), points[0].numpy())
    inside = (found[0].permute(1, 2, 0).numpy() + 1) * 127.5
    shifted = np.abs(inside[20:90, 20:90] - wanted[22:92, 20:90]).mean()
    assert np.abs(inside - wanted)[20:90, 20:90].mean() < shifted / 2
    assert float(features(pixels, pixels, points)) == 0


def test_critic_and_maker_do_not_learn_from_one_anothers_loss() -> None:
    critic, made = PatchCritic(8), torch.randn(1, 3, 64, 64, requires_grad=True)
    own, score = critic.losses(torch.randn(1, 3, 64, 64), made)
    score.backward(retain_graph=True)
    assert made.grad is not None and all(p.grad is None for p in critic.parameters())
    made.grad = None
    own.backward()
    assert made.grad is None and all(p.grad is not None for p in critic.parameters())
    last = torch.nn.Parameter(torch.ones(3))
    assert float(capped((10 * last).sum(), last.sum(), last, 0.3)) == pytest.approx(0.03)
    assert float(capped((0.1 * last).sum(), last.sum(), last, 0.3)) == 1.0


def test_blur_lowers_every_number_of_sharpness() -> None:
    rng = np.random.default_rng(0)
    real = rng.integers(0, 255, (3, 32, 32, 3), dtype=np.uint8)
    soft = (real.astype(np.uint16) + np.roll(real, 1, 2) + np.roll(real, 1, 1) + np.roll(real, (1, 1), (1, 2))) // 4
    ratios = sharpness_ratios(soft.astype(np.uint8), real)
    assert set(ratios) == {"gradient_ratio", "laplacian_ratio", "high_frequency_ratio"}
    assert all(value < 0.8 for value in ratios.values())
    assert all(value == pytest.approx(1) for value in sharpness_ratios(real, real).values())


def test_foreign_and_damaged_checkpoints_are_refused(data: DataConfig, bundle: Path, tmp_path: Path) -> None:
    config = unet_config(data, bundle)
    out = bundle / "runs" / "unet"
    other = replace(config, encoder_rate=0.3)
    with pytest.raises(TrainingError, match=r"other settings \(encoder_rate\)"):
        identity.train(other, out)
    (tmp_path / CHECKPOINT).write_bytes((out / CHECKPOINT).read_bytes()[:1000])
    with pytest.raises(TrainingError, match="damaged"):
        identity.train(config, tmp_path)


def test_missing_parts_say_what_to_train(data: DataConfig, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="arc2face train vae"):
        identity.train(unet_config(data, tmp_path), tmp_path / "run")
