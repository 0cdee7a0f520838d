"""The Triton kernels against float64, in Triton's interpreter where triton is there, and the rule that picks them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from arc2face.diffusion.forward import PlainOperations
from arc2face.diffusion.graphs.operations import Choice, FusedOperations, choose, fastest

needs_triton = pytest.mark.skipif(find_spec("triton") is None, reason="triton is not installed")
SHAPES = [(1, 64, 24, 24), (2, 96, 5, 3)]


def test_kernels_are_not_imported_without_a_card() -> None:
    code = "import sys, arc2face.engine; sys.exit('arc2face.diffusion.graphs.kernels' in sys.modules)"
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True)


@needs_triton
def test_kernels_in_the_interpreter(project_root: Path) -> None:
    """In a process of its own: whether a kernel is interpreted is decided when its module is imported."""
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", __file__], cwd=project_root, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def interpreted() -> None:
    """Every kernel is at least as near to float64 as plain torch, in both precisions."""
    generator = torch.Generator().manual_seed(0)
    fused, plain = FusedOperations(True), PlainOperations()
    for dtype in (torch.float32, torch.float16):
        for rows, channels, height, width in SHAPES:
            layer = nn.GroupNorm(32, channels, eps=1e-5).requires_grad_(False)
            layer.weight.copy_(torch.randn(channels, generator=generator))
            layer.bias.copy_(torch.randn(channels, generator=generator))
            x = torch.randn((rows, channels, height, width), generator=generator) * 2
            x += 5 * torch.randn((1, channels, 1, 1), generator=generator)
            x = x.to(dtype).to(memory_format=torch.channels_last)
            times = torch.randn((rows, 3 * channels), generator=generator)[:, channels : 2 * channels].to(dtype)
            for silu, time in ((True, times), (False, None)):
                exact = plain.norm(x.double(), layer.double(), silu=silu, time=None if time is None else time.double())
                layer.to(dtype)
                ours = fused.norm(x, layer, silu=silu, time=time)
                theirs = plain.norm(x, layer, silu=silu, time=time)
                assert ours.is_contiguous(memory_format=torch.channels_last) and ours.dtype == dtype
                assert error(ours, exact) <= 1.1 * error(theirs, exact) + 1e-6, (dtype, x.shape, silu)
        x = torch.randn((1, 9, 2 * 160), generator=generator).to(dtype)
        exact = plain.gated(x.double())
        assert error(fused.gated(x), exact) <= 1.1 * error(plain.gated(x), exact) + 1e-7


def error(made: Tensor, exact: Tensor) -> float:
    return float((made.double() - exact).norm() / exact.norm())


def clock(seconds: dict[str, float]) -> tuple[dict[str, Callable[[], Tensor]], Callable[[Callable[[], None]], float]]:
    """Arms that all give the same, and a timer that says what it is told to."""
    ran: list[str] = []

    def arm(name: str) -> Callable[[], Tensor]:
        def run() -> Tensor:
            ran.append(name)
            return torch.ones(4)

        return run

    def timer(action: Callable[[], None]) -> float:
        action()
        return seconds[ran[-1]]

    return {name: arm(name) for name in seconds}, timer


def test_the_fastest_arm_wins_when_it_is_clearly_faster() -> None:
    arms, timer = clock({"plain": 1.0, "a": 0.9, "b": 0.7})
    assert fastest(arms, timer) == ("b", {"plain": 1.0, "a": 0.9, "b": 0.7})
    arms, timer = clock({"plain": 1.0, "a": 0.98})
    assert fastest(arms, timer)[0] == "plain"


def test_an_arm_that_fails_or_disagrees_is_out() -> None:
    arms, timer = clock({"plain": 1.0, "broken": 0.1, "wrong": 0.1, "nan": 0.1, "good": 0.5})

    def broken() -> Tensor:
        raise RuntimeError("no kernel image is available for execution on the device")

    arms.update(broken=broken, wrong=lambda: torch.full((4,), 1.1), nan=lambda: torch.full((4,), torch.nan))
    assert fastest(arms, timer) == ("good", {"plain": 1.0, "good": 0.5})


def test_choosing_leaves_the_network_as_it_is(tiny_tree: Path) -> None:
    from diffusers import UNet2DConditionModel

    unet = UNet2DConditionModel.from_pretrained(tiny_tree / "models" / "arc2face").requires_grad_(False)
    before = [(p.data_ptr(), p.stride(), p.clone()) for p in unet.parameters()]
    choice = choose(unet, (8, 8), 2, timer=lambda action: 1.0)
    assert isinstance(choice, Choice) and not choice.channels_last and choice.operations.attention == {}
    for parameter, (address, stride, value) in zip(unet.parameters(), before, strict=True):
        assert parameter.data_ptr() == address and parameter.stride() == stride
        assert torch.equal(parameter, value)


def test_what_was_chosen_reaches_the_networks_once(tiny_tree: Path) -> None:
    from diffusers import UNet2DConditionModel

    from arc2face.diffusion.forward import UNetForward
    from arc2face.diffusion.graphs.fastpath import FastPath

    unet = UNet2DConditionModel.from_pretrained(tiny_tree / "models" / "arc2face").requires_grad_(False)
    calls: list[tuple[int, int]] = []

    def tune(network: nn.Module, size: tuple[int, int], rows: int) -> Choice:
        calls.append(size)
        return Choice(True, FusedOperations(False))

    fast, forward = FastPath(None, tune=tune), UNetForward(unet)
    choice = fast.tuned(unet, (8, 8), 2)
    assert choice is not None and fast.tuned(unet, (8, 8), 2) is choice
    choice.apply_to(forward, unet)
    assert calls == [(8, 8)] and forward.ops is choice.operations
    assert unet.get_parameter("mid_block.resnets.0.conv1.weight").is_contiguous(memory_format=torch.channels_last)
    before = unet.get_parameter("conv_in.weight").data_ptr()
    choice.apply_to(forward, unet)
    assert unet.get_parameter("conv_in.weight").data_ptr() == before


if __name__ == "__main__":
    interpreted()
