"""bf16 is never guessed: asked for, and only where the processor is quick in it. Issue 12, point 6."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from arc2face import Engine, GenerationRequest, IdentityEmbedding
from arc2face.diffusion import bf16
from arc2face.diffusion.device import pick_runtime
from arc2face.errors import DeviceError
from arc2face.types import Runtime
from arc2face.weights.folder import ModelsFolder


def test_refused_with_a_sentence_where_the_units_are_missing() -> None:
    """12.6: these tests keep oneDNN to AVX2, where bf16 is dozens of times slower whatever the processor claims."""
    assert os.environ["ONEDNN_MAX_CPU_ISA"] == "AVX2"
    state = torch.get_rng_state()
    with pytest.raises(DeviceError, match=r"no quick bf16.*--dtype fp32"):
        pick_runtime("cpu", "bf16")
    assert torch.equal(torch.get_rng_state(), state)


def test_auto_never_chooses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """12.6: auto stays fp32 on a CPU that is quick in bf16; asked for, bf16 is given there."""
    monkeypatch.setattr(bf16, "pays", lambda: True)
    assert pick_runtime("cpu", "auto").dtype == "fp32"
    assert pick_runtime("cpu", "bf16").dtype == "bf16"


def test_timing_overrules_the_claim() -> None:
    """12.6: the same processor, with and without its units."""
    code = "from arc2face.diffusion import bf16; print(bf16._claimed(), bf16.pays())"
    verdicts = {}
    for isa in ("AVX2", "DEFAULT"):
        environment = os.environ | {"ONEDNN_MAX_CPU_ISA": isa, "PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        verdicts[isa] = done.stdout.split()
    assert verdicts["AVX2"][1] == "False" or "x86" not in os.uname().machine
    if verdicts["DEFAULT"][0] == "False":
        assert verdicts["DEFAULT"][1] == "False"


def test_whole_request_in_bf16(tiny_tree: Path) -> None:
    """12.6: everything runs in it and stays near float32."""
    request = GenerationRequest(
        identity=IdentityEmbedding(np.ones(512, np.float32)), num_images=1, steps=2, score=False, keep_latents=True
    )
    latents = {}
    for dtype in ("fp32", "bf16"):
        with Engine(ModelsFolder(tiny_tree / "models"), Runtime(device="cpu", dtype=dtype)) as engine:
            image = engine.generate(request).images[0]
            latents[dtype] = image.latents
    error = np.linalg.norm(latents["bf16"] - latents["fp32"]) / np.linalg.norm(latents["fp32"])
    assert 0 < error < 0.1
