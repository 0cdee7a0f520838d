"""An adapter is one file and one line: a toy of somebody else works without a change anywhere (issue of the house)."""

from __future__ import annotations

import importlib
import json
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from arc2face import Engine, GenerationRequest, IdentityEmbedding, read_recipe, request_from_recipe, save_png
from arc2face.diffusion import adapters
from arc2face.diffusion.adapters import Adapter
from arc2face.diffusion.denoising import Denoiser
from arc2face.diffusion.device import pick_runtime
from arc2face.diffusion.generation import generate
from arc2face.diffusion.hooks import Hooks, Step, summed
from arc2face.diffusion.registry import ModelRegistry
from arc2face.errors import MissingWeightsError, SettingsError
from arc2face.types import PoseCondition
from arc2face.weights.folder import ModelsFolder

RNG = np.random.default_rng(17)
PERSON = IdentityEmbedding(RNG.standard_normal(512).astype(np.float32))
PLAIN = GenerationRequest(identity=PERSON, num_images=1, steps=3, seed=5, score=False, height=64, width=64)
NORMAL_MAP = RNG.integers(0, 255, (64, 64, 3), dtype=np.uint8)
TOY = '''
"""A brightener: a LoRA on one layer, a push of the latents after each step, and hashes of both in the recipe."""

from contextlib import contextmanager

from safetensors.torch import load_file

from arc2face.diffusion.adapters.base import Adapter
from arc2face.diffusion.attention import processors
from arc2face.diffusion.lora import load_lora


class ToyAdapter(Adapter):
    name = "toy"
    title = "Toy"
    feature = "toy"
    files = ("toy/toy.safetensors",)

    def load(self, models, unet, dtype):
        return load_lora(models.require(*self.files, feature=self.feature), unet)

    @contextmanager
    def applied(self, weights, run, request):
        push = float(request.extras["toy"]["push"])

        def brighter(step):
            step.latents = step.latents + push

        with run.merged(weights, 1.0), run.after_step.added(brighter):
            yield
'''
TOY_REQUEST = PLAIN.with_(extras={"toy": {"push": 0.25}})


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Adapter:
    """One file, and its line in ADAPTERS."""
    (tmp_path / "toy_adapter.py").write_text(TOY, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    adapter = importlib.import_module("toy_adapter").ToyAdapter()
    monkeypatch.setattr(adapters, "ADAPTERS", (*adapters.ADAPTERS, adapter))
    return adapter


@pytest.fixture
def engine(toy: Adapter, tiny_copy: Path) -> Iterator[Engine]:
    state = {
        "lora_unet_mid_block_attentions_0_proj_in.lora_down.weight": torch.randn(2, 32, 1, 1) * 0.3,
        "lora_unet_mid_block_attentions_0_proj_in.lora_up.weight": torch.randn(32, 2, 1, 1) * 0.3,
    }
    (tiny_copy / "models" / "toy").mkdir()
    save_file(state, tiny_copy / "models" / "toy" / "toy.safetensors")
    engine = Engine.open(tiny_copy / "models", device="cpu")
    yield engine
    engine.close()


def pixels(engine: Engine, request: GenerationRequest) -> np.ndarray[Any, Any]:
    return engine.generate(request).images[0].rgb_u8


def state(engine: Engine) -> tuple[object, ...]:
    engine.registry.merger.ensure([])
    unet = engine.registry.part("unet")
    bits = [(t.data_ptr(), t.contiguous().numpy().tobytes()) for t in unet.state_dict().values()]
    return bits, [(name, id(processor)) for name, processor in unet.attn_processors.items()]


def test_a_toy_of_one_file_and_one_line_is_applied_and_gone_without_a_trace(engine: Engine) -> None:
    plain = pixels(engine, PLAIN)
    before = state(engine)
    changed = pixels(engine, TOY_REQUEST)
    assert np.abs(changed.astype(int) - plain.astype(int)).max() > 2
    assert np.array_equal(pixels(engine, TOY_REQUEST), changed)
    assert state(engine) == before
    assert np.array_equal(pixels(engine, PLAIN), plain)


def test_it_works_together_with_all_others(engine: Engine) -> None:
    both = TOY_REQUEST.with_(pose=PoseCondition(NORMAL_MAP), fast=True, guidance_scale=1.0)
    made = engine.generate(both)
    assert set(made.recipe["models"]) >= {"toy", "pose", "lcm"}
    assert not np.array_equal(made.images[0].rgb_u8, pixels(engine, both.with_(extras={})))


def test_it_is_recorded_and_restored(engine: Engine, tmp_path: Path) -> None:
    result = engine.generate(TOY_REQUEST)
    assert result.recipe["adapters"] == {"toy": {"push": 0.25}} and len(result.recipe["models"]["toy"]) == 64
    plain = engine.generate(PLAIN).recipe
    assert "adapters" not in plain and "toy" not in plain["models"]
    stored = read_recipe(save_png(result.images[0], result, tmp_path / "toy.png"))
    again = request_from_recipe(stored, PERSON)
    assert again.extras == {"toy": {"push": 0.25}}
    assert np.array_equal(pixels(engine, again), result.images[0].rgb_u8)


def test_its_files_are_checked_before_anything_runs(engine: Engine, tiny_copy: Path) -> None:
    (tiny_copy / "models" / "toy" / "toy.safetensors").unlink()
    with pytest.raises(MissingWeightsError, match=r"toy/toy.safetensors.*arc2face download toy"):
        engine.submit(TOY_REQUEST)
    assert engine.registry.snapshot() == {}


def test_settings_for_an_adapter_that_is_not_there_are_refused(tiny_tree: Path) -> None:
    engine = Engine.open(tiny_tree / "models", device="cpu")
    with pytest.raises(SettingsError, match="no adapter 'toy'"):
        engine.submit(TOY_REQUEST)
    engine.close()


@pytest.mark.parametrize("extras", [7, "toy", ["toy"], {1: {}}])
def test_extras_must_be_a_mapping_of_names(extras: Any) -> None:
    with pytest.raises(SettingsError, match="extras"):
        PLAIN.with_(extras=extras)


class _Control:
    """An adapter without files, only looked like: it gives constant residuals, as a second ControlNet would."""

    title = "Control"
    feature = "control"
    files = ()

    def __init__(self, name: str, value: float) -> None:
        self.name = name
        self.value = value

    def wanted(self, request: GenerationRequest) -> bool:
        return self.name in request.extras

    def recipe(self, request: GenerationRequest) -> dict[str, Any]:
        return {}

    def load(self, models: ModelsFolder, unet: Any, dtype: torch.dtype) -> None:
        return None

    @contextmanager
    def applied(self, weights: None, run: Denoiser, request: GenerationRequest) -> Generator[None]:
        def residuals(rows: torch.Tensor, timestep: Any, prompt: Any, step: int, steps: int) -> Any:
            sizes = [(16, 8)] * 3 + [(16, 4)] * 3 + [(16, 2)] + [(32, 2)] * 2 + [(32, 1)] * 3
            down = [rows.new_full((len(rows), c, s, s), self.value) for c, s in sizes]
            return down, rows.new_full((len(rows), 32, 1, 1), self.value)

        with run.residuals_from(residuals):
            yield


def test_residuals_of_several_sources_add_up(tiny_tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two sources at 0.1 and 0.3 make what one at 0.4 makes, and not what the last one makes alone."""
    several = [_Control("one", 0.1), _Control("two", 0.3), _Control("sum", 0.4)]
    monkeypatch.setattr(adapters, "ADAPTERS", (*adapters.ADAPTERS, *several))
    registry = ModelRegistry(ModelsFolder(tiny_tree / "models"), pick_runtime("cpu"))

    def latents(*names: str) -> np.ndarray[Any, Any]:
        request = PLAIN.with_(extras={name: {} for name in names}, keep_latents=True)
        made = generate(registry, request).images[0].latents
        assert made is not None
        return made

    together, alone, same = latents("one", "two"), latents("two"), latents("sum")
    assert np.abs(together - same).max() < 1e-4
    assert np.abs(together - alone).max() > 1e-2


def test_residuals_of_the_pose_and_of_another_add_up(tiny_tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapters, "ADAPTERS", (*adapters.ADAPTERS, _Control("one", 0.2)))
    registry = ModelRegistry(ModelsFolder(tiny_tree / "models"), pick_runtime("cpu"))
    pose = PLAIN.with_(pose=PoseCondition(NORMAL_MAP), keep_latents=True)
    made = [generate(registry, r).images[0].latents for r in (pose, pose.with_(extras={"one": {}}), PLAIN)]
    other = generate(registry, PLAIN.with_(extras={"one": {}}, keep_latents=True)).images[0].latents
    assert made[0] is not None and made[1] is not None and other is not None
    assert np.abs(made[1] - made[0]).max() > 1e-2 and np.abs(made[1] - other).max() > 1e-2


def test_summed_residuals_are_none_without_a_source() -> None:
    assert summed([]) is None and summed([None, None]) is None
    one = ([torch.ones(2)], torch.ones(1))
    total = summed([one, None, one])
    assert total is not None and [t.tolist() for t in total] == [[2.0, 2.0], [2.0]]
    assert torch.equal(one[0][0], torch.ones(2)), "the sources' own tensors are left alone"


def test_step_hooks_run_in_their_order_and_only_inside() -> None:
    hooks = Hooks()
    called: list[str] = []
    zero = torch.zeros(1)
    step = Step(0, 1, zero, zero, zero, 0)
    with (
        hooks.added(lambda step: called.append("last"), order=9),
        hooks.added(lambda step: called.append("second")),
        hooks.added(lambda step: called.append("third")),
        hooks.added(lambda step: called.append("first"), order=-1),
    ):
        hooks(step)
    hooks(step)
    assert called == ["first", "second", "third", "last"] and len(hooks) == 0


class _Hooked(_Control):
    """Records its steps; before the third it replaces the latents by zeros."""

    @contextmanager
    def applied(self, weights: None, run: Denoiser, request: GenerationRequest) -> Generator[None]:
        log: list[tuple[str, int, int, bool]] = request.extras[self.name]["log"]

        def before(step: Step) -> None:
            log.append(("before", step.number, step.total, bool(step.latents.any())))
            if step.number == 2:
                step.latents = torch.zeros_like(step.latents)

        def after(step: Step) -> None:
            log.append(("after", step.number, step.total, bool(step.latents.any())))

        with run.before_step.added(before), run.after_step.added(after):
            yield


def test_hooks_around_steps_see_and_replace_the_latents(tiny_tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapters, "ADAPTERS", (*adapters.ADAPTERS, _Hooked("hooked", 0.0)))
    registry = ModelRegistry(ModelsFolder(tiny_tree / "models"), pick_runtime("cpu"))
    log: list[Any] = []
    plain = generate(registry, PLAIN).images[0].rgb_u8
    changed = generate(registry, PLAIN.with_(extras={"hooked": {"log": log}})).images[0].rgb_u8
    assert log == [(when, step, 3, True) for step in range(3) for when in ("before", "after")]
    assert not np.array_equal(plain, changed)
    assert np.array_equal(generate(registry, PLAIN).images[0].rgb_u8, plain)


def test_an_adapter_without_files_is_no_row_of_the_models_panel(
    tiny_tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapters, "ADAPTERS", (*adapters.ADAPTERS, _Control("one", 0.2)))
    engine = Engine.open(tiny_tree / "models", device="cpu")
    assert "one" not in {row.name for row in engine.status()}
    result = engine.generate(PLAIN.with_(extras={"one": {"anything": 1}}))
    assert result.recipe["adapters"] == {"one": {}}
    assert request_from_recipe(result.recipe, PERSON).extras == {"one": {}}
    engine.close()


@pytest.mark.parametrize("name", ["unet", "pose"])
def test_a_name_that_is_taken_is_refused(tiny_tree: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(adapters, "ADAPTERS", (*adapters.ADAPTERS, _Control(name, 0.0)))
    with pytest.raises(SettingsError, match=name):
        ModelRegistry(ModelsFolder(tiny_tree / "models"), pick_runtime("cpu"))


def test_recipes_of_the_built_in_adapters_are_json(tiny_tree: Path) -> None:
    registry = ModelRegistry(ModelsFolder(tiny_tree / "models"), pick_runtime("cpu"))
    request = PLAIN.with_(pose=PoseCondition(NORMAL_MAP, strength=0.5), fast=True)
    assert registry.wanted(request) == ("lcm", "pose")
    parts = registry.recipe(request)
    assert json.loads(json.dumps(parts)) == parts and set(parts) == {"pose"}
    assert parts["pose"]["strength"] == 0.5 and len(parts["pose"]["normal_map_sha256"]) == 64


@pytest.mark.parametrize("damaged", [{"toy": 7}, {"toy": None}, {"toy": ["push"]}, 7, "toy"])
def test_damaged_settings_in_a_recipe_are_named(tiny_tree: Path, damaged: Any) -> None:
    recipe = {"settings": {"steps": 3}, "adapters": damaged}
    with pytest.raises(SettingsError, match="recipe in this picture cannot be used"):
        request_from_recipe(recipe, PERSON)
