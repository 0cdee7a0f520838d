"""What `bench/gpu.py` measures, section by section."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from arc2face import Engine, GenerationRequest
from arc2face.types import Float32Array
from arc2face.weights.folder import ModelsFolder
from bench.speed.clock import Sections, interleaved, percentile, seconds_of
from bench.speed.modes import MODES, Inputs, Mode
from bench.speed.upstream import UpstreamArm

GATE = 1.1
"""Ours is exact while its error against float32 is at most so many times the upstream-style arm's."""
SWITCHED = ("identity", "LCM-2", "pose", "expression", "expression + reference")
WARM_UPS = 3
"""The first run of a kind works plainly, the second captures, the third is the first that counts."""


@dataclass
class Bench:
    """The engine under test and what the other arms need. `steps`: fewer than usual at toy size, None for the usual."""

    engine: Engine
    models: ModelsFolder
    inputs: Inputs
    device: str
    dtype: torch.dtype
    sections: Sections
    steps: int | None
    repeat: int
    report: dict[str, Any] = field(default_factory=dict[str, Any])

    def mode(self, name: str) -> Mode:
        """A mode at this run's number of steps."""
        return MODES[name].of(self.steps)

    def ours(self, mode: Mode, **changes: Any) -> Callable[[], Float32Array]:
        """Arm O or T as a call that returns final latents."""
        request = self.inputs.request(mode, given=False).with_(**changes)
        return lambda: latents_of(self.engine, request)

    def warmed(self, call: Callable[[], Any]) -> Callable[[], Any]:
        """The call, after the runs that prepare it."""
        for _ in range(WARM_UPS):
            call()
        return call

    @property
    def captures(self) -> int:
        """Captures so far."""
        return self.engine.registry.fast.captures


def latents_of(engine: Engine, request: GenerationRequest) -> Float32Array:
    """Final latents (n, C, h, w) of one request without previews."""
    images = engine.submit(request, previews=False).result().images
    made = np.stack([image.latents for image in images if image.latents is not None])
    assert np.isfinite(made).all() and made.std() > 1e-3, "dead or invalid latents"
    return made


@contextmanager
def peak_of(bench: Bench, arm: str, place: dict[str, float]) -> Iterator[None]:
    """Largest memory on the card during the body, without what lay there before and belongs to other arms, GB."""
    if not bench.device.startswith("cuda"):
        yield
        return
    gc.collect()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    yield
    own = bench.engine.registry.device_bytes() if arm in ("O", "T") else 0
    place[arm] = round((torch.cuda.max_memory_allocated() - before + own) / 1e9, 3)


def exactness(bench: Bench, name: str) -> None:
    """Errors of final latents against float32 without TF32, two steps; the gate is GATE."""
    mode = MODES[name].of(2)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    wanted, _ = UpstreamArm(bench.models, mode, bench.inputs, bench.device, torch.float32)()
    stock, _ = UpstreamArm(bench.models, mode, bench.inputs, bench.device, bench.dtype)()
    request = bench.inputs.request(mode)
    ours = [latents_of(bench.engine, request) for _ in range(WARM_UPS)]
    errors = {"S0": _error(stock, wanted), "O plain": _error(ours[0], wanted), "O captured": _error(ours[-1], wanted)}
    limit = max(GATE * errors["S0"], 1e-5)
    bench.report.setdefault("exactness", {})[name] = errors | {"gate": max(list(errors.values())[1:]) <= limit}


def requests(bench: Bench, name: str) -> None:
    """Whole requests of S0, S1 and O in turn, S0 twice for the noise floor; peak memory of each arm."""
    mode, memory = bench.mode(name), bench.report.setdefault("peak_gb", {}).setdefault(name, {})
    ours = bench.ours(mode)
    with peak_of(bench, "O", memory):
        bench.warmed(ours)
    captures = bench.captures
    calls: dict[str, Any] = {"O": ours}
    for arm, prepared in (("S0", False), ("S1", True)):
        with peak_of(bench, arm, memory):
            calls[arm] = UpstreamArm(bench.models, mode, bench.inputs, bench.device, bench.dtype, prepared)
            calls[arm]()
    calls["S0 again"] = calls["S0"]
    rows = interleaved(calls, bench.device, bench.repeat, _budget(bench))
    rows["S0 / O"] = {"ratio": round(rows["S0"]["ms"] / rows["O"]["ms"], 3)}
    rows["S1 / O"] = {"ratio": round(rows["S1"]["ms"] / rows["O"]["ms"], 3)}
    rows["recaptures"] = {"count": bench.captures - captures}
    bench.report.setdefault("requests_ms", {})[name] = rows


def turbo(bench: Bench) -> None:
    """The declared approximations, alone and together. How good their pictures are, nobody has verified."""
    plain = bench.mode("identity")
    fewer = Mode("fewer", steps=min(15, plain.steps))
    middle = {"guidance_start": 0.2, "guidance_end": 0.8} if plain.steps >= 5 else {}
    calls: dict[str, Any] = {
        "exact": bench.ours(plain),
        "small decoder": bench.ours(plain, decoder="small"),
        "fewer steps (15)": bench.ours(fewer),
        "guidance from 0.2 to 0.8": bench.ours(plain, **middle),
        "LCM-2, small decoder": bench.ours(bench.mode("LCM-2"), decoder="small"),
    }
    for call in calls.values():
        bench.warmed(call)
    bench.report["turbo_ms"] = interleaved(calls, bench.device, bench.repeat, _budget(bench))


def switches(bench: Bench, names: tuple[str, ...]) -> None:
    """Every mode after every other: how much longer the first request takes, and captures, which must be 0."""
    calls = {name: bench.warmed(bench.ours(MODES[name].of(2))) for name in names}
    captures = bench.captures
    extra: dict[str, float] = {}
    for before, first in calls.items():
        for name, call in calls.items():
            if name == before:
                continue
            found: list[float] = []
            for _ in range(min(3, bench.repeat)):
                first()
                switched = seconds_of(call, bench.device)
                found.append(1e3 * (switched - seconds_of(call, bench.device)))
            extra[f"{before} -> {name}"] = round(sorted(found)[len(found) // 2], 3)
    worst = percentile(list(extra.values()), 0.99) if extra else 0.0
    bench.report["switch_ms"] = {"extra": extra, "p99": worst, "recaptures": bench.captures - captures}


def clients(bench: Bench, names: tuple[str, ...], counts: tuple[int, ...], each: int) -> None:
    """Closed loops of 1 to 16 clients with requests of several modes; every result must equal its solo run, nearly.

    Batching changes the last digits: `differs` counts results further than 0.2 % from solo.
    """
    wanted = [bench.inputs.request(bench.mode(name), number, given=False) for number, name in enumerate(names)]
    alone = [latents_of(bench.engine, request) for request in wanted]
    rows = bench.report.setdefault("clients", {})
    for count in counts:
        if bench.sections.left < 20 and rows:
            rows[str(count)] = "skipped"
            continue
        rows[str(count)] = _loops(bench.engine, wanted, alone, count, each)


def _loops(
    engine: Engine, wanted: list[GenerationRequest], alone: list[Float32Array], count: int, each: int
) -> dict[str, Any]:
    times: list[float] = []
    differs: list[int] = []

    def client(place: int) -> None:
        for turn in range(each):
            number = (place + turn) % len(wanted)
            began = time.perf_counter()
            made = latents_of(engine, wanted[number])
            times.append(time.perf_counter() - began)
            if _error(made, alone[number]) > 2e-3:
                differs.append(number)

    threads = [threading.Thread(target=client, args=(place,)) for place in range(count)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    elapsed = time.perf_counter() - began
    return {
        "requests_per_s": round(count * each / elapsed, 3),
        "p50_ms": round(1e3 * percentile(times, 0.5), 1),
        "p95_ms": round(1e3 * percentile(times, 0.95), 1),
        "done": len(times),
        "differs": len(differs),
    }


def compiled(bench: Bench, backend: str) -> None:
    """S2: S1 with its UNet compiled, one picture; compile time and recompiles apart. `backend`: inductor, or eager."""
    import torch._dynamo as dynamo

    mode = bench.mode("identity")
    arm = UpstreamArm(bench.models, mode, bench.inputs, bench.device, bench.dtype, prepared=True)
    arm.compile(backend)
    began = time.perf_counter()
    arm()
    first = time.perf_counter() - began
    arm()
    before = dynamo.utils.counters["stats"]["unique_graphs"]
    rows = interleaved({"S2": arm, "O": bench.ours(mode)}, bench.device, bench.repeat, _budget(bench))
    graphs = dynamo.utils.counters["stats"]["unique_graphs"] - before
    bench.report["S2_ms"] = rows | {"compile_s": round(first, 1), "recompiles": graphs}


def _budget(bench: Bench) -> float:
    return max(2.0, min(20.0, bench.sections.left / 12))


def _error(made: Any, wanted: Any) -> float:
    return float(np.linalg.norm(made - wanted) / np.linalg.norm(wanted))
