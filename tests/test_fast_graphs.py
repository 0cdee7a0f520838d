"""Captured steps on the recording backend: what recaptures, what does not, and what happens when it goes wrong.

Issue 12: nothing but the kind of work is in a graph. With a card the same tests run on CUDA graphs
(test_fast_device.py).
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from torch import Tensor

from arc2face.diffusion.device import Placement
from arc2face.diffusion.forward import Conditions, ControlForward, ExpressionTokens, UNetForward
from arc2face.diffusion.graphs import fastpath
from arc2face.diffusion.graphs.decode import decode_captured
from arc2face.diffusion.graphs.driver import driver_problem
from arc2face.diffusion.graphs.fastpath import FastPath
from arc2face.diffusion.graphs.opening import open_fast_path, why_off
from arc2face.diffusion.graphs.run import ReplayError, StepRun, Watch
from arc2face.diffusion.graphs.sampler import sampler_table
from arc2face.diffusion.graphs.step import Control, Given, StepProgram
from arc2face.diffusion.lora import LoraUpdate
from arc2face.diffusion.merging import Place, WeightMerger
from arc2face.diffusion.pixels import decode
from arc2face.errors import CancelledError, DeviceError
from arc2face.types import Runtime
from tests.recording import RecordedGraph, RecordingBackend, Tape

WIDTH = 32


class Unlimited:
    def place_for_copies(self, size: int) -> Place:
        return "device"

    def originals(self, names: Iterable[str]) -> dict[str, Tensor]:
        raise AssertionError("the copies lie on the device")


@dataclass
class Lab:
    """The tiny networks and runs on them."""

    config: dict[str, Any]
    network: UNetForward
    control: ControlForward
    projections: dict[str, tuple[Tensor, Tensor]]

    def given(
        self,
        seed: int = 0,
        n: int = 1,
        sampler: str = "dpm++",
        steps: int = 3,
        guidance: float = 3.0,
        side: int = 8,
        expression: float | None = None,
        pose: float | None = None,
    ) -> Given:
        random = torch.Generator().manual_seed(seed)
        table = sampler_table(sampler, self.config, steps)
        assert table is not None
        guided = guidance > 1
        rows = 2 * n if guided else n
        prompt = torch.randn((rows, 7, WIDTH), generator=random)
        tokens = None
        if expression is not None:
            made = torch.randn((rows, 2, WIDTH), generator=random)
            tokens = ExpressionTokens(made, self.projections, expression)
        inputs = self.network.prepare(Conditions(prompt, guided, tokens), table.timesteps)
        controls: tuple[Control, ...] = ()
        if pose is not None:
            condition = torch.randn((1, 16, side, side), generator=random)
            controls = (Control(self.control, self.control.prepare(prompt, table.timesteps, condition, pose)),)
        start = torch.randn((n, 4, side, side), generator=random) * table.start
        draws = torch.randn((steps, n, 4, side, side), generator=random) if table.draws else None
        return Given(self.network, table, inputs, start, torch.full((n, 1, 1, 1), guidance), draws, controls)

    def plain(self, given: Given) -> Tensor:
        """What the run makes when nothing is captured."""
        made = StepRun(FastPath(RecordingBackend()), given)()
        assert made is not None
        return made


@pytest.fixture(scope="module")
def lab(tiny_tree: Path) -> Lab:
    torch.manual_seed(3)
    unet = UNet2DConditionModel(
        block_out_channels=(16, 32),
        layers_per_block=1,
        cross_attention_dim=WIDTH,
        attention_head_dim=2,
        norm_num_groups=8,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    )
    unet = unet.eval().requires_grad_(False)
    control = ControlNetModel.from_unet(unet).eval().requires_grad_(False)
    for layer in (*control.controlnet_down_blocks, control.controlnet_mid_block):
        torch.nn.init.normal_(layer.weight, std=0.3)  # as they are after training, and not before it
    random = torch.Generator().manual_seed(7)
    network = UNetForward(unet)
    projections = {
        name: tuple(torch.randn((attention.to_k.out_features, WIDTH), generator=random) * 0.05 for _ in range(2))
        for name, attention in network.layers.attentions("attn2")
    }
    config = json.loads((tiny_tree / "stable-diffusion-v1-5" / "scheduler" / "scheduler_config.json").read_text())
    return Lab(config, network, ControlForward(control), projections)


def fast_path(fail: Callable[[int], None] = lambda number: None, limit: int | None = None) -> FastPath:
    return FastPath(RecordingBackend(fail), limit=limit)


def recorder(fast: FastPath) -> RecordingBackend:
    assert isinstance(fast.backend, RecordingBackend)
    return fast.backend


def run(fast: FastPath, given: Given, **more: Any) -> Tensor:
    made = StepRun(fast, given, **more)()
    assert made is not None
    return made


def test_one_capture_serves_other_samplers_steps_seeds_people_and_strengths(lab: Lab) -> None:
    fast = fast_path()
    requests = [
        lab.given(seed=1, expression=1.0),
        lab.given(seed=2, expression=1.0),
        lab.given(seed=3, expression=0.3, sampler="euler", steps=4),
        lab.given(seed=4, expression=1.6, sampler="ddim", steps=2, guidance=7.5),
        lab.given(seed=5, expression=0.1, sampler="unipc", steps=5),
        lab.given(seed=6, expression=0.5, sampler="dpm++-karras", steps=6, guidance=1.01),
        lab.given(seed=1, expression=1.0),
    ]
    made = [run(fast, given) for given in requests]
    assert fast.captures == 1
    assert fast.status.startswith("on (1 graph, ")
    for latents, given in zip(made, requests, strict=True):
        assert torch.equal(latents, lab.plain(given))
    assert torch.equal(made[0], made[-1])  # A, B, ..., A: the first plainly, the last replayed


def test_lcm_draws_its_noise_from_a_table(lab: Lab) -> None:
    fast = fast_path()
    requests = [
        lab.given(seed=seed, sampler="lcm", steps=steps, guidance=1.0) for seed, steps in ((1, 4), (2, 2), (3, 1))
    ]
    made = [run(fast, given) for given in requests]
    assert fast.captures == 1
    for latents, given in zip(made, requests, strict=True):
        assert torch.equal(latents, lab.plain(given))


def test_a_lora_in_the_weights_needs_no_capture_and_leaves_no_trace(lab: Lab) -> None:
    unet, fast, given = lab.network.unet, fast_path(), lambda: lab.given(seed=1)
    merger = WeightMerger(unet, Placement("cpu"), Unlimited())
    lora = {
        name: LoraUpdate(torch.randn((2, module.in_features)), torch.randn((module.out_features, 2)), 0.1)
        for name, module in unet.named_modules()
        if name.endswith(("to_k", "to_v", "time_emb_proj"))
    }
    before = [run(fast, given()) for _ in range(2)][1]
    with merger.merged(lora, 1.0):
        merged = run(fast, given())
        assert torch.equal(merged, lab.plain(given()))
    after = run(fast, given())
    assert fast.captures == 1
    assert torch.equal(after, before)
    assert not torch.allclose(merged, before, atol=1e-2)


def test_a_pose_acts_in_its_share_of_the_steps(lab: Lab) -> None:
    """Steps with and without ControlNet are two kinds; a strength is none."""
    fast = fast_path()

    def acts(number: int, step: int) -> bool:
        return step < 2

    for strength in (1.0, 0.4, 2.0):
        made = run(fast, lab.given(seed=1, pose=strength, steps=4), acts=acts)
        assert torch.equal(made, run(fast_path(), lab.given(seed=1, pose=strength, steps=4), acts=acts))
        without = run(fast, lab.given(seed=1, steps=4))
        assert not torch.allclose(made, without, atol=1e-3)
    assert fast.captures == 2


def test_two_visitors_with_different_sizes_and_counts(lab: Lab) -> None:
    fast = fast_path()
    kinds = [lab.given(side=8), lab.given(side=16), lab.given(n=2), lab.given(guidance=1.0)]
    for _ in range(3):
        for given in kinds:
            assert torch.equal(run(fast, given), lab.plain(given))
    assert fast.captures == len(kinds)
    new = lab.given(side=24)  # a size that nobody captured
    assert torch.equal(run(fast, new), lab.plain(new))
    assert fast.captures == len(kinds)


def test_the_kind_used_longest_ago_leaves_first(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fastpath, "MAX_GRAPHS", 2)
    fast, one, two, three = fast_path(), lab.given(), lab.given(n=2), lab.given(guidance=1.0)
    for given in (one, one, two, two, one, three, three, one):
        run(fast, given)
    assert fast.captures == 3
    run(fast, two)
    run(fast, two)
    assert fast.captures == 4


def test_weights_that_moved_are_noticed(lab: Lab) -> None:
    """A graph reads the old addresses: wrong pictures without a word, were it not checked at every run."""
    fast, given, weight = fast_path(), lab.given(), lab.network.unet.conv_in.weight
    run(fast, given)
    before, old = run(fast, given), weight.data
    try:
        weight.data = old.clone() * 1.5
        for _ in range(3):
            assert torch.equal(run(fast, given), lab.plain(given))
        assert fast.captures == 2
    finally:
        weight.data = old
    assert torch.equal(run(fast, given), before)


class Baked(StepProgram):
    """A mistake: guidance as a number of the first request."""

    def fill(self, given: Given) -> None:
        super().fill(given)
        self.baked = getattr(self, "baked", None) or float(given.guidance[0])

    def __call__(self) -> None:
        self.guidance.copy_(torch.zeros_like(self.guidance) + self.baked)
        super().__call__()


class HostRead(StepProgram):
    """A mistake: a number is read by the host inside."""

    def __call__(self) -> None:
        self.guidance.mul_(float(self.guidance.mean()) / float(self.guidance.mean()))
        super().__call__()


def captured(program: StepProgram, given: Given) -> RecordedGraph:
    program.fill(given)
    return RecordingBackend().capture(program)


def test_the_recording_backend_shows_a_baked_number(lab: Lab) -> None:
    program = Baked(lab.given(guidance=3.0))
    graph = captured(program, lab.given(guidance=3.0))
    program.fill(lab.given(guidance=5.0))
    graph.replay()
    good = StepProgram(lab.given())
    good.fill(lab.given(guidance=5.0))
    good()
    assert not torch.allclose(program.latents, good.latents, atol=1e-3)


def test_the_recording_backend_shows_weights_that_moved(lab: Lab) -> None:
    program, weight = StepProgram(lab.given()), lab.network.unet.conv_in.weight
    graph, old = captured(program, lab.given()), weight.data
    try:
        weight.data = old.clone() * 1.5
        program.fill(lab.given())
        graph.replay()
        replayed = program.latents.clone()
        program.fill(lab.given())
        program()
        assert not torch.allclose(program.latents, replayed, atol=1e-3)
    finally:
        weight.data = old


def test_the_recording_backend_spoils_what_is_left_outside_the_buffers(lab: Lab) -> None:
    leaked: list[Tensor] = []
    source = torch.ones(3)

    def action() -> None:
        leaked.append(source + 1)

    graph = RecordingBackend().capture(action)
    graph.replay()
    assert torch.isnan(leaked[-1]).all()


def test_a_host_read_inside_is_refused_and_the_run_goes_on(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(RuntimeError, match="cannot be captured"), Tape():
        float(torch.ones(1) + 1)
    fast, given = fast_path(), lab.given()
    fast.entry(given.kind(), given.weights(), lambda: HostRead(given))
    made = run(fast, given)
    assert torch.equal(made, lab.plain(given))
    assert not fast.on and "cannot be captured" in fast.status
    assert StepRun(fast, given)() is None
    assert caplog.text.count("the fast path is off") == 1


def test_a_replay_that_differs_from_plain_work_switches_it_off(lab: Lab) -> None:
    class Drifting(StepProgram):
        """Its plain work changes from one call to the next, as an unlucky race would."""

        calls = 0

        def __call__(self) -> None:
            self.calls += 1
            super().__call__()
            self.history.latents.add_(0.1 * self.calls)

    fast, given = fast_path(), lab.given()
    fast.entry(given.kind(), given.weights(), lambda: Drifting(given))
    run(fast, given)
    assert not fast.on and "differed" in fast.status


def test_a_capture_that_fails_in_the_middle_costs_nothing_but_speed(lab: Lab) -> None:
    def fail(number: int) -> None:
        if number == 2:
            raise RuntimeError("operation not permitted when stream is capturing\nmore")

    fast, one, two = fast_path(fail), lab.given(), lab.given(n=2)
    for given in (one, one, two, two):
        assert torch.equal(run(fast, given), lab.plain(given))
    assert fast.status == "off: operation not permitted when stream is capturing"
    assert fast.bytes == 0


def test_a_full_card_refuses_one_kind_alone(lab: Lab) -> None:
    def fail(number: int) -> None:
        if number == 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    fast, one, two = fast_path(fail), lab.given(n=2), lab.given()
    for given in (one, one, one, two, two):
        assert torch.equal(run(fast, given), lab.plain(given))
    assert fast.on and fast.captures == 1 and recorder(fast).captures == 2


def test_a_pool_too_small_for_the_card(lab: Lab) -> None:
    small, large = lab.given(side=8), lab.given(side=24)
    measured = fast_path()
    run(measured, small)
    run(measured, small)
    limit = recorder(measured).held + 1
    fast = fast_path(limit=limit)
    for given in (small, small, large, large, small, small):
        assert torch.equal(run(fast, given), lab.plain(given))
    assert fast.on and recorder(fast).held <= limit
    alone = fast_path(limit=1)
    for _ in range(3):
        run(alone, small)
    assert alone.on and alone.status.startswith("on (0 graphs") and recorder(alone).captures == 1


def test_stop_is_heard_within_two_steps_and_the_next_run_is_whole(lab: Lab) -> None:
    fast, given = fast_path(), lab.given(steps=6)
    wanted = [run(fast, given) for _ in range(2)][1]
    told: list[int] = []

    def check() -> None:
        if told and told[-1] >= 2:
            raise CancelledError("Stopped as you asked; nothing was kept.")

    graph = recorder(fast).graphs[0]
    before = graph.replays
    with pytest.raises(CancelledError):
        run(fast, given, watch=Watch(on_step=lambda step, estimate: told.append(step), check=check))
    assert told == [1, 2] and graph.replays - before <= told[-1] + 2
    assert all(not buffer.any() for entry in fast._entries.values() for buffer in entry.program.buffers())
    assert torch.equal(run(fast, given), wanted)
    assert fast.captures == 1


def test_progress_is_honest_and_at_most_two_steps_are_under_way(lab: Lab) -> None:
    fast, given = fast_path(), lab.given(steps=5)
    told: list[tuple[int, int]] = []
    backend = recorder(fast)
    run(fast, given, watch=Watch(on_step=lambda step, estimate: told.append((step, backend.under_way))))
    assert [step for step, _ in told] == [1, 2, 3, 4, 5]
    assert backend.most_under_way == 2


def test_previews_are_fetched_for_those_who_watch_and_not_too_often(lab: Lab) -> None:
    fast, given, times = fast_path(), lab.given(n=2, steps=8), iter(k * 0.06 for k in range(100))
    run(fast, given)
    assert "fetch" not in recorder(fast).log  # nobody watched
    seen: list[tuple[int, Tensor]] = []

    def on_step(step: int, estimate: Tensor | None) -> None:
        if estimate is not None:
            seen.append((step, estimate))

    run(fast, given, watch=Watch(on_step=on_step, pictures=(1,), clock=lambda: next(times)))
    assert [step for step, _ in seen] == [2, 5, 8] or 2 <= len(seen) <= 4
    assert all(estimate.shape == (1, 4, 8, 8) and torch.isfinite(estimate).all() for _, estimate in seen)


def test_a_replay_that_fails_says_so_and_nothing_of_the_run_is_kept(lab: Lab) -> None:
    fast, given = fast_path(), lab.given(steps=4)
    run(fast, given)
    run(fast, given)
    graph = recorder(fast).graphs[0]
    graph.replay = lambda: (_ for _ in ()).throw(RuntimeError("CUDA error: an illegal memory access"))
    with pytest.raises(ReplayError, match="illegal memory access"):
        run(fast, given)
    graph.replay = lambda: (_ for _ in ()).throw(torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(torch.OutOfMemoryError):
        run(fast, given)


def test_what_a_watcher_raises_is_not_taken_for_a_failing_card(lab: Lab) -> None:
    def on_step(step: int, estimate: Tensor | None) -> None:
        raise RuntimeError("the browser tab is gone")

    with pytest.raises(RuntimeError, match="browser") as caught:
        run(fast_path(), lab.given(), watch=Watch(on_step=on_step))
    assert not isinstance(caught.value, ReplayError)


def test_nothing_of_a_visitor_stays_in_the_buffers(lab: Lab) -> None:
    """A5 for static buffers: an idle card remembers nobody."""
    fast = fast_path()
    for _ in range(2):
        run(fast, lab.given(expression=1.0, pose=1.0))
    buffers = [buffer for entry in fast._entries.values() for buffer in entry.program.buffers()]
    assert buffers and all(not buffer.any() for buffer in buffers)


def test_captures_belong_to_one_thread(lab: Lab) -> None:
    fast, given, answers = fast_path(), lab.given(), []
    run(fast, given)
    other = threading.Thread(target=lambda: answers.append(StepRun(fast, given)()))
    other.start()
    other.join()
    assert answers == [None] and fast.on


def test_clearing_gives_the_memory_back(lab: Lab) -> None:
    fast, given = fast_path(), lab.given()
    run(fast, given)
    run(fast, given)
    assert fast.bytes > 0
    fast.clear()
    assert fast.bytes == 0 and recorder(fast).log[-1] == "forget"
    run(fast, given)
    run(fast, given)
    assert fast.captures == 2


def test_a_captured_decoder_gives_the_same_bytes(tiny_tree: Path) -> None:
    vae = AutoencoderKL.from_pretrained(tiny_tree / "stable-diffusion-v1-5" / "vae").eval().requires_grad_(False)
    fast, random = fast_path(), torch.Generator().manual_seed(3)
    for side in (8, 8, 8, 16, 16):
        latents = torch.randn((4, side, side), generator=random)
        assert (decode_captured(fast, vae, latents) == decode(vae, latents)).all()
    assert fast.captures == 2
    assert decode_captured(fast, vae, torch.full((4, 8, 8), torch.nan)) is None  # to be tried in single precision
    assert fast.on


@pytest.mark.parametrize(
    ("runtime", "inline", "reason"),
    [
        (Runtime("cpu", "fp32"), False, "cpu has no captured graphs"),
        (Runtime("mps", "fp16"), False, "mps has no captured graphs"),
        (Runtime("cuda", "fp16"), True, "a process of its own"),
        (Runtime("cuda", "fp16", "offload"), False, "--vram offload"),
        (Runtime("cuda:1", "fp16", "sequential"), False, "--vram sequential"),
        (Runtime("cuda", "fp16", fast_path="off"), False, "switched off"),
    ],
)
def test_where_there_is_none_it_says_why(runtime: Runtime, inline: bool, reason: str) -> None:
    assert reason in why_off(runtime, inline)
    fast = open_fast_path(runtime, inline)
    assert not fast.on and fast.status == f"off: {why_off(runtime, inline)}"


def test_insisting_on_it_where_it_cannot_be_had() -> None:
    with pytest.raises(DeviceError, match="--fast-path auto"):
        open_fast_path(Runtime("cpu", "fp32", fast_path="on"))


def test_a_driver_too_old_is_named() -> None:
    assert "runs CUDA 12.4, and this torch was built for 13.0" in driver_problem(12040, "13.0")
    assert driver_problem(13000, "13.0") == driver_problem(12080, "12.9") == ""
    assert driver_problem(0, "13.0") == driver_problem(12040, None) == ""
