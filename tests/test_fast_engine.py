"""The fast path from the engine's door: whole requests on the recording backend, and what the status says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from arc2face import Engine, GenerationRequest, IdentityEmbedding
from arc2face.diffusion.graphs.fastpath import FastPath
from arc2face.errors import CancelledError, DeviceError, SettingsError
from arc2face.types import Expression, ExpressionCondition, PoseCondition, Progress, ReferenceCondition
from arc2face_app.cli.serve import read_settings
from tests.recording import RecordedGraph, RecordingBackend

RNG = np.random.default_rng(31)
PERSON = IdentityEmbedding(RNG.standard_normal(512).astype(np.float32))
PICTURE = RNG.integers(0, 255, (64, 64, 3), dtype=np.uint8)
PLAIN = GenerationRequest(
    identity=PERSON, num_images=1, steps=3, seed=5, score=False, height=64, width=64, keep_latents=True
)
FAST = PLAIN.with_(fast=True, guidance_scale=1.0)
SMILE = ExpressionCondition(Expression(np.linspace(0, 0.2, 55, dtype=np.float32)), 0.7)
REQUESTS = {
    "plain": PLAIN,
    "two, unipc": PLAIN.with_(num_images=2, scheduler="unipc"),
    "euler": PLAIN.with_(scheduler="euler", guidance_scale=6.0),
    "lcm": FAST,
    "pose in the first half": PLAIN.with_(pose=PoseCondition(PICTURE, end=0.7)),
    "guidance in the middle": PLAIN.with_(
        steps=4, guidance_start=0.25, guidance_end=0.75, expression=SMILE, pose=PoseCondition(PICTURE)
    ),
    "expression and look": PLAIN.with_(expression=SMILE, reference=ReferenceCondition(PICTURE)),
}


@pytest.fixture(scope="module")
def plain(tiny_tree: Path) -> Iterator[Engine]:
    with Engine.open(tiny_tree / "models", device="cpu") as engine:
        yield engine


@pytest.fixture
def engine(tiny_tree: Path) -> Iterator[Engine]:
    with Engine.open(tiny_tree / "models", device="cpu") as engine:
        engine.registry.fast = FastPath(RecordingBackend())
        yield engine


def backend(engine: Engine) -> RecordingBackend:
    found = engine.registry.fast.backend
    assert isinstance(found, RecordingBackend)
    return found


def latents(engine: Engine, request: GenerationRequest, **more: Any) -> np.ndarray:
    made = [image.latents for image in engine.generate(request, **more).images]
    return np.stack([each for each in made if each is not None])


def test_whole_requests_are_those_of_the_plain_engine(engine: Engine, plain: Engine) -> None:
    """Twice each: the second time captured. Then once more in another order, with nothing captured anew."""
    first = {name: [latents(engine, request) for _ in range(2)] for name, request in REQUESTS.items()}
    captures = engine.registry.fast.captures
    again = {name: latents(engine, REQUESTS[name]) for name in ("lcm", "plain")}
    assert engine.registry.fast.on and engine.registry.fast.captures == captures
    for name, request in REQUESTS.items():
        wanted = latents(plain, request)
        gap = np.linalg.norm(first[name][0] - wanted) / np.linalg.norm(wanted)
        assert gap < 3e-6, name
        assert np.array_equal(first[name][0], first[name][1])
    assert all(np.array_equal(made, first[name][0]) for name, made in again.items())


def test_a_replay_that_fails_in_the_middle_still_gives_the_picture(engine: Engine, plain: Engine) -> None:
    """The run starts over plainly, and its generators with it: LCM draws the same noise once more."""
    for _ in range(2):
        latents(engine, FAST)
    graph: RecordedGraph = backend(engine).graphs[0]
    replay, calls = graph.replay, []

    def fails_at_the_second_step() -> None:
        calls.append(len(calls))
        if len(calls) == 2:
            raise RuntimeError("CUDA error: misaligned address\nCUDA kernel errors might be reported later")
        replay()

    graph.replay = fails_at_the_second_step
    assert np.array_equal(latents(engine, FAST), latents(plain, FAST))
    assert engine.registry.fast.status == "off: CUDA error: misaligned address"
    assert np.array_equal(latents(engine, PLAIN), latents(plain, PLAIN))


def test_a_full_card_gives_the_captured_memory_back_first(engine: Engine, plain: Engine) -> None:
    for _ in range(2):
        latents(engine, PLAIN)
    graph, full = backend(engine).graphs[0], iter([True])
    replay = graph.replay

    def full_once() -> None:
        if next(full, False):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")
        replay()

    graph.replay = full_once
    made = latents(engine, PLAIN)
    assert "forget" in backend(engine).log and engine.registry.fast.on
    assert np.allclose(made, latents(plain, PLAIN), atol=1e-3)


def test_stop_in_the_middle_of_replayed_steps(engine: Engine) -> None:
    wanted = [latents(engine, PLAIN.with_(steps=8)) for _ in range(2)][1]
    job = engine.submit(PLAIN.with_(steps=8))
    for progress in job.events():
        if progress.stage == "denoising" and progress.step == 2:
            job.cancel()
    with pytest.raises(CancelledError):
        job.result(60)
    assert np.array_equal(latents(engine, PLAIN.with_(steps=8)), wanted)


def test_previews_are_made_for_those_who_look(engine: Engine) -> None:
    long = PLAIN.with_(steps=30)
    latents(engine, long)
    assert "fetch" not in backend(engine).log
    seen: list[Progress] = []
    latents(engine, long, on_progress=seen.append)
    steps = [progress.step for progress in seen if progress.stage == "denoising"]
    assert steps == list(range(1, 31))
    pictures = [progress.preview for progress in seen if progress.preview is not None]
    assert pictures and pictures[0].dtype == np.uint8 and "fetch" in backend(engine).log


def test_parts_that_leave_take_their_graphs_along(engine: Engine) -> None:
    for _ in range(2):
        latents(engine, PLAIN)
    assert engine.worker.call(lambda: engine.registry.evict("pose")) is False
    assert engine.registry.fast.bytes > 0
    engine.worker.call(engine.registry.release)
    assert engine.registry.fast.bytes == 0


def test_runs_with_step_hooks_go_plainly(engine: Engine) -> None:
    """What another adapter's hook does between the steps is not known when they are captured."""
    from contextlib import contextmanager

    class Noting:
        name: ClassVar[str] = "noting"
        title: ClassVar[str] = "Noting"
        feature: ClassVar[str] = ""
        files: ClassVar[tuple[str, ...]] = ()

        def wanted(self, request: GenerationRequest) -> bool:
            return "noting" in request.extras

        def recipe(self, request: GenerationRequest) -> dict[str, Any]:
            return {}

        def load(self, models: Any, unet: Any, dtype: Any) -> None:
            return None

        @contextmanager
        def applied(self, weights: Any, run: Any, request: GenerationRequest) -> Iterator[None]:
            with run.before_step.added(lambda step: steps.append(step.number)):
                yield

    steps: list[int] = []
    engine.registry.adapters = {**engine.registry.adapters, "noting": Noting()}
    for _ in range(3):
        latents(engine, PLAIN.with_(extras={"noting": {}}))
    assert steps == [0, 1, 2] * 3
    assert engine.registry.fast.on and engine.registry.fast.captures == 1  # the decoder


def test_the_status_says_what_is_captured_or_why_nothing_is(engine: Engine, plain: Engine) -> None:
    def row(of: Engine) -> Any:
        return next(each for each in of.status() if each.name == "fast_path")

    assert row(plain).state == "off: cpu has no captured graphs; they are for CUDA cards" and row(plain).bytes == 0
    for _ in range(2):
        latents(engine, PLAIN)
    assert row(engine).state == "on (2 graphs, 0.0 GB)" and row(engine).bytes > 0


def test_the_switch_is_one_everywhere(tiny_tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DeviceError, match=r"cannot be had: cpu has no captured graphs"):
        Engine.open(tiny_tree / "models", device="cpu", fast_path="on")
    with pytest.raises(DeviceError, match="auto, on or off"):
        Engine.open(tiny_tree / "models", device="cpu", fast_path="perhaps")  # type: ignore[arg-type]
    with Engine.open(tiny_tree / "models", device="cpu", fast_path="off") as engine:
        assert engine.registry.fast.status == "off: switched off"
    assert read_settings([]).fast_path == "auto" and read_settings(["--fast-path", "off"]).fast_path == "off"
    assert read_settings(["--batching", "on"]).batching == "on"
    monkeypatch.setenv("ARC2FACE_FAST_PATH", "on")
    monkeypatch.setenv("ARC2FACE_BATCHING", "off")
    assert (read_settings([]).fast_path, read_settings([]).batching) == ("on", "off")
    with pytest.raises(SettingsError, match="fast path"):
        read_settings(["--fast-path", "perhaps"])
