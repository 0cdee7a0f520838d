"""The fast path on a real card: CUDA graphs, the kernels, and the rule of exactness. Skipped where there is none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from arc2face import Engine
from arc2face.diffusion.forward import PlainOperations
from arc2face.diffusion.graphs.operations import FusedOperations
from tests.test_fast_engine import REQUESTS, latents
from tests.test_fast_kernels import SHAPES, error

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def engines(tiny_tree: Path) -> Iterator[dict[str, Engine]]:
    """Captured and plain in single precision, and the CPU's."""
    models = tiny_tree / "models"
    made = {
        "captured": Engine.open(models, device="cuda", dtype="fp32", fast_path="on"),
        "plain": Engine.open(models, device="cuda", dtype="fp32", fast_path="off"),
        "cpu": Engine.open(models, device="cpu"),
    }
    yield made
    for engine in made.values():
        engine.close()


def test_captured_runs_are_as_near_to_the_cpu_as_plain_ones(engines: dict[str, Engine]) -> None:
    for name, request in REQUESTS.items():
        exact = latents(engines["cpu"], request)
        plain = np.linalg.norm(latents(engines["plain"], request) - exact)
        for _ in range(3):
            ours = np.linalg.norm(latents(engines["captured"], request) - exact)
            assert ours <= 1.1 * plain + 1e-4 * np.linalg.norm(exact), name
    fast = engines["captured"].registry.fast
    assert fast.on, fast.status
    captures = fast.captures
    again = [latents(engines["captured"], request) for request in REQUESTS.values() for _ in range(2)]
    assert fast.captures == captures
    assert all(np.array_equal(one, two) for one, two in zip(again[::2], again[1::2], strict=True))


def test_in_half_precision(tiny_tree: Path) -> None:
    request = REQUESTS["plain"]
    with Engine.open(tiny_tree / "models", device="cuda", fast_path="on") as engine:
        made = [latents(engine, request) for _ in range(3)]
        assert engine.registry.fast.on, engine.registry.fast.status
    assert np.isfinite(made[0]).all()
    assert np.array_equal(made[1], made[2])


def test_the_kernels_on_the_card() -> None:
    pytest.importorskip("triton")
    generator = torch.Generator().manual_seed(0)
    fused, plain = FusedOperations(True), PlainOperations()
    for rows, channels, height, width in SHAPES:
        layer = torch.nn.GroupNorm(32, channels, device="cuda").requires_grad_(False)
        x = (torch.randn((rows, channels, height, width), generator=generator) * 2 + 3).to("cuda")
        time = torch.randn((1, channels), generator=generator).to("cuda")
        exact = plain.norm(x.double(), layer.double(), silu=True, time=time.double())
        layer.half()
        ours = fused.norm(x.half().to(memory_format=torch.channels_last), layer, silu=True, time=time.half())
        theirs = plain.norm(x.half(), layer, silu=True, time=time.half())
        assert error(ours, exact) <= 1.1 * error(theirs, exact) + 1e-6
