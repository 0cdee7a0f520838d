"""What an NVIDIA driver can run, told from its version."""

from __future__ import annotations

import os
from typing import Any

import torch


def driver_problem(driver: int, built: str | None) -> str:
    """What is wrong with an NVIDIA driver, empty when nothing is.

    `driver`: the newest CUDA it can run, 1000 x major + 10 x minor (12040 is 12.4), 0 for no driver. `built`: the
    CUDA that torch was built for, such as "13.0". A driver runs every minor version of its own major one.
    """
    if not driver or built is None:
        return ""
    major = int(built.partition(".")[0])
    if driver // 1000 >= major:
        return ""
    return (
        f"the NVIDIA driver is too old: it runs CUDA {driver // 1000}.{driver % 1000 // 10}, and this torch was built "
        f"for {built}. Update the driver"
    )


def outdated_driver() -> str:
    """Why torch sees no CUDA device although it was built for one: the driver, where that can be told; else empty."""
    return driver_problem(newest_cuda(), torch.version.cuda)


def newest_cuda() -> int:
    """The newest CUDA version the driver runs; 0 without a driver, or without a CUDA build of torch."""
    ask: Any = getattr(getattr(torch, "_C", None), "_cuda_getDriverVersion", None)
    return int(ask()) if ask is not None else 0


def unkept_promise() -> str:
    """Why an image made for NVIDIA GPUs (`ARC2FACE_IMAGE=cuda`) runs without, and what to do; empty elsewhere."""
    if os.environ.get("ARC2FACE_IMAGE") != "cuda" or torch.cuda.is_available():
        return ""
    why = outdated_driver() or "none was passed to the container: start it with --gpus all"
    return f"This image is made for NVIDIA GPUs, but {why}. Until then the CPU does the work, many times slower."
