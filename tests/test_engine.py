"""The engine as a script uses it, on the tiny models and small real ONNX face networks."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from arc2face import Engine, GenerationRequest, IdentityEmbedding
from arc2face.diffusion.forward import UNetForward
from arc2face.errors import CancelledError, MissingWeightsError, SettingsError
from arc2face.scoring import keep_best
from arc2face.types import GeneratedImage, Progress
from tests.fake_device import fail_in

RNG = np.random.default_rng(11)
ANNA = IdentityEmbedding(RNG.standard_normal(512).astype(np.float32))
BEN = IdentityEmbedding(RNG.standard_normal(512).astype(np.float32))
QUICK = GenerationRequest(identity=ANNA, num_images=1, steps=2, score=False, height=64, width=64)


@pytest.fixture(scope="module")
def engine(tiny_tree: Path) -> Iterator[Engine]:
    engine = Engine.open(tiny_tree / "models", device="cpu")
    yield engine
    engine.close()


def pixels(engine: Engine, request: GenerationRequest) -> np.ndarray:
    return np.stack([image.rgb_u8 for image in engine.generate(request).images])


def test_same_request_same_pixels_whatever_ran_before(engine: Engine) -> None:
    first = pixels(engine, QUICK)
    pixels(engine, QUICK.with_(identity=BEN, fast=True, guidance_scale=1.0, seed=9))
    assert np.array_equal(pixels(engine, QUICK), first)


def test_picture_k_equals_seed_plus_k_alone(engine: Engine) -> None:
    for request in (QUICK, QUICK.with_(fast=True, guidance_scale=1.0, steps=3)):
        together = pixels(engine, request.with_(num_images=3, seed=40))
        alone = pixels(engine, request.with_(seed=42))[0]
        # Another batch size may round the last bit of a sum differently.
        assert np.abs(together[2].astype(int) - alone.astype(int)).max() <= 1
        assert np.abs(together[0].astype(int) - together[2].astype(int)).max() > 10


def test_concurrent_clients_get_what_they_get_alone(engine: Engine) -> None:
    requests = [
        QUICK,
        QUICK.with_(identity=BEN, seed=3),
        QUICK.with_(fast=True, guidance_scale=1.0, seed=5),
        QUICK.with_(scheduler="euler", steps=4, guidance_scale=2.0),
    ]
    solo = [pixels(engine, request) for request in requests]
    together: dict[int, np.ndarray] = {}

    def client(i: int) -> None:
        together[i] = pixels(engine, requests[i])

    threads = [threading.Thread(target=client, args=(i,)) for i in range(len(requests))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, expected in enumerate(solo):
        assert np.array_equal(together[i], expected)


def test_a_batch_is_exactly_what_was_asked_for(tiny_tree: Path) -> None:
    """Data sets: a picture must not depend on what else waits, so nobody joins such a batch or is taken out of it."""
    pair = [QUICK.with_(seed=3), QUICK.with_(identity=BEN, seed=4)]
    with Engine.open(tiny_tree / "models", device="cpu", batching="on") as engine:
        alone = [job.result().images[0].rgb_u8 for job in engine.submit_together(pair)]
        first = engine.submit(QUICK.with_(steps=20, seed=9))  # the others wait behind it
        single = engine.submit_together([QUICK.with_(seed=5)])
        jobs, joining = engine.submit_together(pair), engine.submit(QUICK.with_(seed=6))
        results = [job.result() for job in (*jobs, *single, joining, first)]
        assert all(np.array_equal(made.images[0].rgb_u8, was) for made, was in zip(results, alone, strict=False))
        notes = [" ".join(made.recipe.get("notes", ())) for made in results]
        assert ["batch of 2" in note for note in notes] == [True, True, False, False, False]
        with pytest.raises(SettingsError, match="one kind"):
            engine.submit_together([QUICK, QUICK.with_(steps=3)])
        with pytest.raises(SettingsError, match="1 to 8 pictures, not 9"):
            engine.submit_together([QUICK] * 9)
        with pytest.raises(SettingsError, match="not 0"):
            engine.submit_together([])


def test_progress_tells_stages_steps_previews_and_time(engine: Engine) -> None:
    seen: list[Progress] = []
    engine.generate(QUICK.with_(steps=3), seen.append)
    steps = [p for p in seen if p.stage == "denoising"]
    assert [p.step for p in steps] == [1, 2, 3]
    assert all(p.total == 3 and p.preview is not None and p.preview.shape == (32, 32, 3) for p in steps)
    assert steps[-1].seconds_left == 0
    assert [p.stage for p in seen][-2:] == ["decoding", "done"]


def test_cancel_while_running_and_while_waiting(engine: Engine) -> None:
    running = engine.submit(QUICK.with_(steps=60))
    waiting = engine.submit(QUICK)
    assert next(event for event in waiting.events() if event.stage == "queued").queue_position >= 1
    waiting.cancel()
    with pytest.raises(CancelledError):
        waiting.result(timeout=10)  # at once: the running job is not waited for
    for event in running.events():
        if event.stage == "denoising":
            running.cancel()
            break
    with pytest.raises(CancelledError):
        running.result(timeout=60)
    assert pixels(engine, QUICK).shape == (1, 64, 64, 3)


def test_recipe_names_the_models_and_never_holds_the_embedding(engine: Engine) -> None:
    recipe = engine.generate(QUICK.with_(fast=True, guidance_scale=1.0)).recipe
    assert set(recipe["models"]) == {"unet", "text_encoder", "vae", "lcm"}
    assert all(len(digest) == 64 for digest in recipe["models"].values())
    assert recipe["bundle"] == "tiny"
    assert "embedding" not in recipe["identity"]


def test_missing_adapter_is_said_before_anything_runs(tiny_copy: Path) -> None:
    (tiny_copy / "models" / "controlnet" / "diffusion_pytorch_model.safetensors").unlink()
    engine = Engine.open(tiny_copy / "models", device="cpu")
    from arc2face import PoseCondition

    with pytest.raises(MissingWeightsError, match="arc2face download pose"):
        engine.submit(QUICK.with_(pose=PoseCondition(np.zeros((64, 64, 3), np.uint8))))
    assert engine.registry.snapshot() == {}
    engine.close()


def test_eviction_keeps_to_the_budget_and_the_result(tiny_tree: Path) -> None:
    free = Engine.open(tiny_tree / "models", device="cpu")
    fast = QUICK.with_(fast=True, guidance_scale=1.0)
    expected = pixels(free, fast)
    pose = QUICK.with_(pose=_normal_map())
    pixels(free, pose)
    parts = free.registry.snapshot()
    budget = sum(part.bytes for name, part in parts.items() if name != "pose") + 1000
    tight = Engine.open(tiny_tree / "models", device="cpu", budget_bytes=budget)
    pixels(tight, pose)
    assert np.array_equal(pixels(tight, fast), expected)
    assert "pose" not in tight.registry.snapshot()
    assert np.array_equal(pixels(tight, pose), pixels(free, pose))
    free.close()
    tight.close()


def test_out_of_memory_is_retried_in_smaller_groups(engine: Engine) -> None:
    request = QUICK.with_(num_images=4, seed=70, guidance_scale=1.0)
    expected = pixels(engine, request)
    sizes: list[int] = []

    def full(module: UNetForward, args: tuple[torch.Tensor, ...]) -> bool:
        sizes.append(len(args[0]))
        return len(args[0]) > 1

    with fail_in(UNetForward, full):  # type: ignore[arg-type]
        made = pixels(engine, request)
    assert sizes == [4, 2, *[1, 1] * 4], "two steps of each picture after two failures"
    assert np.abs(made.astype(int) - expected.astype(int)).max() <= 1


def test_without_face_networks_the_pictures_come_unscored(engine: Engine) -> None:
    image = engine.generate(QUICK.with_(score=True)).images[0]
    assert image.rgb_u8.shape == (64, 64, 3)
    assert image.similarity is None and image.face_found is None


def test_closed_engine_refuses_politely(tiny_tree: Path) -> None:
    engine = Engine.open(tiny_tree / "models", device="cpu")
    engine.close()
    with pytest.raises(CancelledError, match="closed"):
        engine.submit(QUICK)


@pytest.mark.parametrize(
    "change",
    [
        {"num_images": 0},
        {"num_images": 9},
        {"steps": 0},
        {"steps": 101},
        {"steps": 9, "fast": True},
        {"guidance_scale": 0.5},
        {"guidance_scale": float("nan")},
        {"seed": -1},
        {"seed": 1.5},
        {"scheduler": "magic"},
        {"scheduler": "lcm"},
        {"height": 100},
        {"keep_best": 5},
    ],
)
def test_settings_out_of_range_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(SettingsError):
        QUICK.with_(**change)


def test_noise_of_a_wrong_shape_is_refused(engine: Engine) -> None:
    with pytest.raises(SettingsError, match="noise must have shape"):
        engine.generate(QUICK.with_(noise=np.zeros((2, 4, 8, 8), np.float32)))


def test_all_samplers_make_different_finite_pictures(engine: Engine) -> None:
    from arc2face.settings import SCHEDULERS

    made = {name: pixels(engine, QUICK.with_(steps=5, scheduler=name)) for name in SCHEDULERS if name != "lcm"}
    names = list(made)
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            assert not np.array_equal(made[one], made[other]), (one, other)


def test_keep_best_sorts_by_score_and_puts_faceless_last() -> None:
    picture = np.zeros((8, 8, 3), np.uint8)
    images = [GeneratedImage(picture, seed, score) for seed, score in ((0, 0.2), (1, None), (2, 0.9))]
    assert [image.seed for image in keep_best(images, 2)] == [2, 0]
    assert [image.seed for image in keep_best(images, 3)] == [2, 0, 1]
    assert [image.seed for image in keep_best(images, 0)] == [0, 1, 2]


def test_status_lists_every_part_and_what_is_missing(engine: Engine) -> None:
    rows = {row.name: row for row in engine.status()}
    assert rows["unet"].state == "cpu" and rows["unet"].bytes > 0 and rows["unet"].licence
    assert {"lcm", "pose", "expression", "reference", "detector"} <= set(rows)
    assert rows["smirk"].state == "missing" and rows["smirk"].remedy == "arc2face download expression"


def _normal_map():
    from arc2face import PoseCondition

    return PoseCondition(np.full((64, 64, 3), 127, np.uint8))
