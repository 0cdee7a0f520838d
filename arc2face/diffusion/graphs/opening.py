"""Whether this machine has a fast path, and why not."""

from __future__ import annotations

from functools import partial

import torch

from arc2face.diffusion.graphs.backend import CudaBackend
from arc2face.diffusion.graphs.driver import driver_problem, newest_cuda
from arc2face.diffusion.graphs.fastpath import FastPath
from arc2face.diffusion.graphs.operations import choose, cuda_timer
from arc2face.errors import DeviceError
from arc2face.types import Runtime

LEAST_CAPABILITY = (7, 0)
"""Half precision on tensor cores, and what the captured kernels were written for."""
POOL_SHARE = 0.25
"""Of the card's memory, at most so much for captured work; the rest is for weights and for what runs plainly."""


def open_fast_path(runtime: Runtime, inline: bool = False) -> FastPath:
    """The fast path of a runtime; one that is off, with its reason, where there is none.

    `inline`: work runs in changing threads or processes (ZeroGPU). Raises DeviceError when `runtime.fast_path` is
    "on" and it cannot be had.
    """
    reason = why_off(runtime, inline)
    if reason and runtime.fast_path == "on":
        raise DeviceError(f"The fast path cannot be had: {reason}. Start with --fast-path auto, which does without.")
    if reason:
        return FastPath(None, off=reason)
    _, total = torch.cuda.mem_get_info(torch.device(runtime.device))
    return FastPath(CudaBackend(runtime.device), limit=int(POOL_SHARE * total), tune=partial(choose, timer=cuda_timer))


def why_off(runtime: Runtime, inline: bool) -> str:
    """Why nothing is captured here, empty when it is."""
    if runtime.fast_path == "off":
        return "switched off"
    if not runtime.device.startswith("cuda"):
        return f"{runtime.device} has no captured graphs; they are for CUDA cards"
    if inline:
        return "each request has a process of its own here"
    if runtime.vram != "resident":
        return f"weights move with --vram {runtime.vram}, and captured work needs them to stay"
    if torch.version.hip is not None:
        return "it is not tested on ROCm"
    least, have = LEAST_CAPABILITY, torch.cuda.get_device_capability(torch.device(runtime.device))
    if have < least:
        return f"the card's compute capability is {have[0]}.{have[1]}; {least[0]}.{least[1]} is needed"
    return driver_problem(newest_cuda(), torch.version.cuda)
