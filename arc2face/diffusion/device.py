"""Choosing the device and the dtype."""

from __future__ import annotations

import torch

from arc2face.errors import DeviceError
from arc2face.settings import VRAM_POLICIES, VramPolicy, one_of
from arc2face.types import Runtime

DTYPES = {"fp16": torch.float16, "fp32": torch.float32}


def pick_runtime(
    device: str = "auto", dtype: str = "auto", vram: VramPolicy = "resident", budget_bytes: int | None = None
) -> Runtime:
    """Resolve `auto`: cuda with fp16, mps with fp16, else cpu with fp32.

    bf16 is not offered: it is ten times less accurate than fp16 here and, on CPUs without bf16 units, hundreds of
    times slower than fp32. fp16 on a CPU is refused for the same reason. Raises DeviceError.
    """
    chosen = _pick_device() if device == "auto" else device
    try:
        kind = torch.device(chosen).type
    except RuntimeError as error:
        raise DeviceError(f"Unknown device {device!r}; use auto, cpu, cuda, cuda:1 or mps.") from error
    if kind == "cuda" and not torch.cuda.is_available():
        raise DeviceError(
            "No CUDA device is available to this Python; use --device cpu, or install a CUDA build of torch."
        )
    if kind == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("No Apple GPU is available; use --device cpu.")
    if kind not in ("cpu", "cuda", "mps"):
        raise DeviceError(f"Device {device!r} is not supported; use cpu, cuda or mps.")
    if dtype == "auto":
        dtype = "fp32" if kind == "cpu" else "fp16"
    if dtype not in DTYPES:
        raise DeviceError(f"Unknown dtype {dtype!r}; use auto, fp16 or fp32.")
    if kind == "cpu" and dtype == "fp16":
        raise DeviceError("fp16 does not run well on a CPU; use --dtype fp32 (or auto).")
    if vram not in VRAM_POLICIES:
        raise DeviceError(f"Unknown vram policy {vram!r}; use {one_of(VRAM_POLICIES)}.")
    return Runtime(device=chosen, dtype="fp16" if dtype == "fp16" else "fp32", vram=vram, budget_bytes=budget_bytes)


def torch_dtype(runtime: Runtime) -> torch.dtype:
    """The torch dtype of the diffusion models."""
    return DTYPES[runtime.dtype]


def free_device_memory(runtime: Runtime) -> None:
    """Give cached blocks back to the driver."""
    if runtime.device.startswith("cuda"):
        torch.cuda.empty_cache()
    elif runtime.device == "mps":
        torch.mps.empty_cache()


def _pick_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"
