"""Speed, exactness and memory on one CUDA card, against the upstream-style arm in the same run.

python -m bench.gpu --out gpu.json --markdown gpu.md        # under nine minutes on one H100-class card
python -m bench.gpu --toy                                   # anywhere: toy size, CPU, graphs by the recording stand-in

Random weights of real size are made on the card. Needed are the packages of this project and `peft` (the extra
`original`) for the upstream-style arm. Sections are skipped when time is short; the JSON is saved after each.
Arms and modes: `bench/speed/__init__.py`. Toy figures say that the code runs and nothing about a card.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import warnings
from functools import partial
from pathlib import Path
from typing import Any

if "--toy" in sys.argv:
    os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")  # oneDNN's AVX-512 kernels crash on very narrow networks

import torch

from arc2face import Engine
from arc2face.diffusion.graphs.fastpath import FastPath
from bench.speed import card
from bench.speed.clock import Sections, interleaved
from bench.speed.models import FULL, TOY, write_models
from bench.speed.modes import MODES, Inputs
from bench.speed.tables import gpu_table
from bench.speed.upstream import quiet

ORDER = ("identity", "LCM-2", "expression + reference x4", "identity x4", "expression", "pose x4", "pose")
"""Modes by how much their figures are wanted, should time run out."""
NOT_RUN = "Not run on a GPU: toy size on a CPU. The figures say nothing about speed."


def measure(options: argparse.Namespace, folder: Path, report: dict[str, Any]) -> None:
    """All sections."""
    out = Path(options.out) if options.out else None
    sections = Sections(report, options.seconds, out)
    size, device = (TOY, "cpu") if options.toy else (FULL, options.device)
    dtype = torch.float32 if device == "cpu" else torch.float16
    if not options.toy:
        sections.run("ceilings", 10, partial(ceilings, report, dtype))
    models = write_models(folder, size, dtype, device)
    with Engine.open(models, device=device) as engine:
        if options.toy:
            from tests.recording import RecordingBackend

            engine.registry.fast = FastPath(RecordingBackend())
        bench = card.Bench(
            engine, engine.models, Inputs(size.side), device, dtype, sections, options.steps, options.repeat, report
        )
        run_sections(bench, options)
        report["fast_path"] = engine.registry.fast.status
    sections.save()


def run_sections(bench: card.Bench, options: argparse.Namespace) -> None:
    """In the order of their worth; compiling comes last, for it takes minutes."""
    run = bench.sections.run
    modes = [name for name in ORDER if name in options.modes]
    for name in modes:
        if MODES[name].images == 1:
            run(f"exactness: {name}", 15, partial(card.exactness, bench, name))
    for name in modes:
        run(f"requests: {name}", 25, partial(card.requests, bench, name))
    switched = tuple(name for name in card.SWITCHED if name in modes)
    run("switches", 20, partial(card.switches, bench, switched))
    run("turbo", 20, partial(card.turbo, bench))
    counts, each = ((1, 2), 1) if options.toy else ((1, 2, 4, 8, 16), 6)
    run("clients", 25, partial(card.clients, bench, switched, counts, each))
    if not options.no_compile:
        run("S2", 5 if options.toy else 90, partial(card.compiled, bench, "eager" if options.toy else "inductor"))


def ceilings(report: dict[str, Any], dtype: torch.dtype) -> None:
    """What this card does at best: a large matrix product, and a copy."""
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=dtype) for _ in range(2))
    source = torch.empty(2**31, device="cuda", dtype=torch.uint8)
    target = torch.empty_like(source)
    rows = interleaved({"mm": lambda: a @ b, "copy": lambda: target.copy_(source)}, "cuda", 20, 5)
    report["ceilings"] = {
        "matmul_tflops": round(2 * 8192**3 / rows["mm"]["ms"] / 1e9),
        "copy_tb_s": round(2 * 2**31 / rows["copy"]["ms"] / 1e9, 2),
    }


def machine(toy: bool) -> dict[str, Any]:
    """What the figures belong to."""
    facts: dict[str, Any] = {"python": platform.python_version(), "torch": torch.__version__, "cores": os.cpu_count()}
    facts["threads"] = torch.get_num_threads()
    if Path("/proc/cpuinfo").is_file():
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        facts["host"] = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    if toy:
        return facts | {"device": "cpu", "note": NOT_RUN}
    query = "name,driver_version,clocks.sm,clocks.mem,power.draw,temperature.gpu"
    asked = subprocess.run(
        ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"], capture_output=True, text=True
    )
    return facts | {"device": torch.cuda.get_device_name(), "cuda": torch.version.cuda, "smi": asked.stdout.strip()}


def parse(words: list[str] | None) -> argparse.Namespace:
    """Command line."""
    parser = argparse.ArgumentParser(description="Speed on a CUDA card against the upstream-style arm.")
    parser.add_argument("--toy", action="store_true", help="toy size on the CPU")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=520, help="no section begins that would go beyond this")
    parser.add_argument("--modes", nargs="+", choices=ORDER, default=list(ORDER))
    parser.add_argument("--steps", type=int, help="instead of the modes' own")
    parser.add_argument("--repeat", type=int, default=20)
    parser.add_argument("--no-compile", action="store_true", help="leave S2 out")
    parser.add_argument("--out")
    parser.add_argument("--markdown")
    return parser.parse_args(words)


def main(words: list[str] | None = None) -> dict[str, Any]:
    """Measure, print and return the report."""
    options = parse(words)
    if not options.toy and not torch.cuda.is_available():
        raise SystemExit("There is no CUDA device here. `python -m bench.gpu --toy` shows that the bench itself runs.")
    warnings.filterwarnings("ignore")
    quiet()
    report: dict[str, Any] = {"machine": machine(options.toy), "size": "toy" if options.toy else "full"}
    folder = Path(tempfile.mkdtemp(prefix="arc2face-bench-"))
    os.environ.setdefault("ARC2FACE_CACHE", str(folder / "cache"))
    try:
        measure(options, folder, report)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if options.markdown:
        Path(options.markdown).write_text(gpu_table(report), "utf-8")
    print(json.dumps(report, indent=1))
    return report


if __name__ == "__main__":
    main()
