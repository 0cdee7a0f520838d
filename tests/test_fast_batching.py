"""Several visitors' requests in one batch: each gets its own, and nothing of the others (issue 12, point 1)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from arc2face import Engine, GenerationRequest, IdentityEmbedding
from arc2face.diffusion.batch import NOTE, Part, run_parts
from arc2face.diffusion.device import pick_runtime
from arc2face.diffusion.generation import Generated
from arc2face.diffusion.graphs.fastpath import FastPath
from arc2face.diffusion.registry import ModelRegistry
from arc2face.diffusion.together import MAX_TOGETHER, batch_kind, companions
from arc2face.errors import CancelledError, SettingsError
from arc2face.types import Expression, ExpressionCondition, PoseCondition, Progress, ReferenceCondition
from arc2face.weights.folder import ModelsFolder
from tests.fake_device import fail_in
from tests.recording import RecordingBackend

RNG = np.random.default_rng(21)
PEOPLE = [IdentityEmbedding(RNG.standard_normal(512).astype(np.float32)) for _ in range(4)]
PICTURES = [RNG.integers(0, 255, (64, 64, 3), dtype=np.uint8) for _ in range(4)]
PLAIN = GenerationRequest(
    identity=PEOPLE[0], num_images=1, steps=2, seed=5, score=False, height=64, width=64, keep_latents=True
)


def of(person: int, **changes: Any) -> GenerationRequest:
    return PLAIN.with_(identity=PEOPLE[person], seed=100 * person, **changes)


def smile(strength: float) -> ExpressionCondition:
    return ExpressionCondition(Expression(np.linspace(0, strength, 55, dtype=np.float32)), strength)


def everything(person: int, **changes: Any) -> GenerationRequest:
    return of(
        person,
        pose=PoseCondition(PICTURES[person], strength=0.5 + 0.3 * person),
        expression=smile(0.4 + 0.3 * person),
        reference=ReferenceCondition(PICTURES[person], strength=0.8),
        guidance_scale=2.0 + person,
        **changes,
    )


@pytest.fixture(scope="module")
def registry(tiny_tree: Path) -> Iterator[ModelRegistry]:
    yield ModelRegistry(ModelsFolder(tiny_tree / "models"), pick_runtime("cpu"))


class Visitor:
    """One member of a batch and what it hears."""

    def __init__(self, request: GenerationRequest, stop_after: int | None = None) -> None:
        self.heard: list[Progress] = []
        self.outcomes: list[Any] = []
        self.stop_after = stop_after
        self.part = Part(request, self.heard.append, self.cancelled, self.outcomes.append)

    @property
    def steps(self) -> list[int]:
        return [progress.step for progress in self.heard if progress.stage == "denoising"]

    def cancelled(self) -> bool:
        return self.stop_after is not None and len(self.steps) >= self.stop_after

    @property
    def latents(self) -> np.ndarray:
        (made,) = self.outcomes
        assert isinstance(made, Generated), made
        return np.stack([image.latents for image in made.images if image.latents is not None])


def run(registry: ModelRegistry, *requests: GenerationRequest | Visitor) -> list[Visitor]:
    visitors = [each if isinstance(each, Visitor) else Visitor(each) for each in requests]
    run_parts(registry, [visitor.part for visitor in visitors])
    assert all(len(visitor.outcomes) == 1 for visitor in visitors)
    return visitors


@pytest.mark.parametrize(
    "make",
    [of, everything, lambda person: of(person, fast=True, guidance_scale=1.0, steps=3)],
    ids=["plain", "all", "lcm"],
)
def test_each_gets_its_own_to_the_last_digits(registry: ModelRegistry, make: Any) -> None:
    """In a batch as alone, up to the rounding of another batch size; and bit for bit whoever the others are."""
    requests = [make(0), make(1).with_(num_images=2), make(2)]
    together = run(registry, *requests)
    for visitor, request in zip(together, requests, strict=True):
        (alone,) = run(registry, request)
        assert np.abs(visitor.latents - alone.latents).max() <= 1e-3
        for ours, theirs in zip(visitor.outcomes[0].images, alone.outcomes[0].images, strict=True):
            assert ours.seed == theirs.seed
            assert np.abs(ours.rgb_u8.astype(int) - theirs.rgb_u8.astype(int)).max() <= 1
    others = run(registry, requests[0], make(3).with_(num_images=2), make(1))
    assert np.array_equal(together[0].latents, others[0].latents)
    assert not np.allclose(together[1].latents, others[1].latents, atol=1e-2)


def test_a_batch_says_so_in_the_recipe(registry: ModelRegistry) -> None:
    one, _ = run(registry, of(0), of(1))
    assert NOTE.format(2) in one.outcomes[0].notes
    (alone,) = run(registry, of(0))
    assert alone.outcomes[0].notes == ()


def test_each_sees_its_own_preview_and_steps(registry: ModelRegistry) -> None:
    visitors = run(registry, of(0), of(1), of(2))
    alone = [run(registry, of(person))[0] for person in range(3)]
    for visitor, single in zip(visitors, alone, strict=True):
        assert visitor.steps == single.steps == [1, 2]
        pictures = [[p.preview for p in each.heard if p.preview is not None] for each in (visitor, single)]
        for ours, theirs in zip(*pictures, strict=True):
            assert np.abs(ours.astype(int) - theirs.astype(int)).max() <= 1


def test_one_who_stops_hears_it_at_once_and_disturbs_nobody(registry: ModelRegistry) -> None:
    whole = run(registry, of(0, steps=4), of(1, steps=4))
    leaver = Visitor(of(1, steps=4), stop_after=1)
    stayer, _ = run(registry, of(0, steps=4), leaver)
    assert isinstance(leaver.outcomes[0], CancelledError) and leaver.steps == [1]
    assert np.array_equal(stayer.latents, whole[0].latents)


def test_when_all_stop_the_batch_stops(registry: ModelRegistry) -> None:
    visitors = run(registry, Visitor(of(0, steps=50), 1), Visitor(of(1, steps=50), 2))
    assert [type(visitor.outcomes[0]) for visitor in visitors] == [CancelledError, CancelledError]
    assert max(len(visitor.steps) for visitor in visitors) <= 3


def test_an_error_of_ones_own_reaches_nobody_else(registry: ModelRegistry) -> None:
    """The posterior sample of one has a wrong shape, which is found when its adapter is entered."""
    bad = everything(1).with_(reference=ReferenceCondition(PICTURES[1], 0.8, np.zeros((3, 4, 2, 2), np.float32)))
    good, failed = run(registry, everything(0), bad)
    assert isinstance(failed.outcomes[0], SettingsError)
    assert np.isfinite(good.latents).all()


def test_without_room_for_all_they_run_one_by_one(registry: ModelRegistry) -> None:
    wide = lambda module, args: bool(args) and args[0].shape[0] > 2  # noqa: E731
    with fail_in(torch.nn.Conv2d, wide):
        visitors = run(registry, of(0), of(1))
    for person, visitor in enumerate(visitors):
        assert np.array_equal(visitor.latents, run(registry, of(person))[0].latents)
        assert visitor.outcomes[0].notes == ()


def test_captured_batches(tiny_tree: Path, registry: ModelRegistry) -> None:
    """Guidance, expression and pose per row: other people's scales need no capture."""
    fast = FastPath(RecordingBackend())
    captured = ModelRegistry(ModelsFolder(tiny_tree / "models"), pick_runtime("cpu"), fast=fast)
    rounds = [(0, 1), (2, 3)]
    made = [run(captured, *(everything(person) for person in people)) for people in rounds]
    assert fast.on and fast.captures == 2  # the step, and the decoder
    for people, visitors in zip(rounds, made, strict=True):
        for visitor, plainly in zip(visitors, run(registry, *map(everything, people)), strict=True):
            assert np.abs(visitor.latents - plainly.latents).max() <= 1e-3


def test_what_may_run_together() -> None:
    same = [of(1, guidance_scale=9.0), of(2, expression=smile(0.0)), of(3, score=True, keep_best=1, keep_latents=False)]
    assert all(batch_kind(other) == batch_kind(of(0)) for other in same)
    different = [
        of(0, steps=3),
        of(0, scheduler="euler"),
        of(0, guidance_scale=1.0),
        of(0, guidance_end=0.5),
        of(0, height=128),
        of(0, fast=True, guidance_scale=1.5),
        of(0, expression=smile(0.5)),
        of(0, pose=PoseCondition(PICTURES[0])),
        of(0, reference=ReferenceCondition(PICTURES[0])),
    ]
    assert len({batch_kind(other) for other in (of(0), *different)}) == len(different) + 1
    strengths = [of(0, reference=ReferenceCondition(PICTURES[0], strength)) for strength in (0.5, 0.8)]
    assert batch_kind(strengths[0]) != batch_kind(strengths[1])
    shape = (1, 4, 8, 8)
    alone = [of(0, noise=np.zeros(shape, np.float32)), of(0, extras={"sepia": {}})]
    assert all(batch_kind(other) is None and companions(other) is None for other in alone)


def test_a_batch_has_room_for_so_many_pictures() -> None:
    fits = companions(of(0, num_images=3))
    assert fits is not None
    assert [fits(of(1, num_images=count)) for count in (4, 2, 1, 1)] == [True, False, True, False]
    assert MAX_TOGETHER == 8


@pytest.mark.parametrize("batching", ["on", "auto"])
def test_the_engine_batches_what_waits_when_it_is_told_to(tiny_tree: Path, batching: Any) -> None:
    """`auto` is off on a CPU: there the same seed gives the same bits, whoever else is there."""
    with Engine.open(tiny_tree / "models", device="cpu", batching=batching) as engine:
        alone = [engine.generate(of(person)).images[0].latents for person in range(3)]
        gate, entered = threading.Event(), threading.Event()

        def hold() -> None:
            entered.set()
            gate.wait(60)

        holder = threading.Thread(target=lambda: engine.worker.call(hold))
        holder.start()
        assert entered.wait(60)
        jobs = [engine.submit(of(0)), engine.submit(of(1, fast=True)), engine.submit(of(1)), engine.submit(of(2))]
        leaver = engine.submit(of(3))
        leaver.cancel()
        gate.set()
        results = [job.result(120) for job in jobs]
        holder.join()
        with pytest.raises(CancelledError):
            leaver.result(1)
    noted = [NOTE.format(3) in str(result.recipe) for result in results]
    assert noted == ([True, False, True, True] if batching == "on" else [False] * 4)
    for result, wanted in zip([results[0], *results[2:]], alone, strict=True):
        made = result.images[0].latents
        assert made is not None and wanted is not None
        gap = np.abs(made - wanted).max()
        assert gap <= 1e-3 if batching == "on" else gap == 0


def test_closing_stops_those_who_run_along(tiny_tree: Path) -> None:
    engine = Engine.open(tiny_tree / "models", device="cpu", batching="on")
    engine.generate(of(0))
    gate, entered = threading.Event(), threading.Event()
    holder = threading.Thread(target=lambda: engine.worker.call(lambda: (entered.set(), gate.wait(60))))
    holder.start()
    assert entered.wait(60)
    jobs = [engine.submit(of(person, steps=100, num_images=2)) for person in range(3)]
    gate.set()
    holder.join()
    for progress in jobs[2].events():
        if progress.stage == "denoising":
            break
    engine.close()
    for job in jobs:
        with pytest.raises(CancelledError):
            job.result(1)
