"""Hugging Face ZeroGPU: a function that needs the GPU is wrapped by `spaces.GPU`; everywhere else it stays itself."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def available() -> bool:
    """True inside a Space that runs on ZeroGPU."""
    asked = os.environ.get("SPACES_ZERO_GPU", "").lower() in {"1", "true"}
    return asked and importlib.util.find_spec("spaces") is not None


@functools.cache
def _wrapped(function: Callable[..., Any], cost: Callable[..., float]) -> Callable[..., Any]:
    spaces: Any = importlib.import_module("spaces")

    def duration(*args: Any, **kwargs: Any) -> int:
        return int(cost(*args, **kwargs)) + 1

    return spaces.GPU(duration=duration)(function)


def on_gpu(function: Callable[P, T], *, cost: Callable[P, float]) -> Callable[P, T]:
    """`function`, booked on ZeroGPU for `cost(...)` seconds where that exists, unchanged elsewhere."""
    return _wrapped(function, cost) if available() else function
