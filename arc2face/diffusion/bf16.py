"""Whether this processor is quick in bf16. Without units for it a convolution takes a hundred times longer."""

from __future__ import annotations

import functools
import platform
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

__all__ = ["pays"]

WORTH = 0.8
"""bf16 has to take at most this part of float32's time, in a convolution and in a matrix product."""
_CLAIMS = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
_REPEATS = 3


@functools.cache
def pays() -> bool:
    """The processor names units for bf16, and a timing of some milliseconds (a third of a second where it lies) agrees.

    The claim alone is not enough: a limit such as ONEDNN_MAX_CPU_ISA, or a virtual machine, may take the units away.
    """
    if not _claimed():
        return False
    return all(_seconds(make, torch.bfloat16) <= WORTH * _seconds(make, torch.float32) for make in (_conv, _product))


def _claimed() -> bool:
    """What the processor says of itself; on others than x86 torch cannot tell, and the timing decides alone."""
    if platform.machine().lower() not in ("x86_64", "amd64", "i386", "i686"):
        return True
    return any(getattr(torch.cpu, name, lambda: False)() for name in _CLAIMS)


def _conv(dtype: torch.dtype) -> tuple[nn.Module, Tensor]:
    return nn.Conv2d(64, 64, 3, padding=1).to(dtype), torch.randn(1, 64, 32, 32).to(dtype)


def _product(dtype: torch.dtype) -> tuple[nn.Module, Tensor]:
    return nn.Linear(640, 640).to(dtype), torch.randn(256, 640).to(dtype)


def _seconds(make: Callable[[torch.dtype], tuple[nn.Module, Tensor]], dtype: torch.dtype) -> float:
    """The best of a few runs after the first, which prepares. The global random state is left as it was."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        module, x = make(dtype)
        times: list[float] = []
        for _ in range(_REPEATS + 1):
            began = time.perf_counter()
            module(x)
            times.append(time.perf_counter() - began)
    return min(times[1:])
