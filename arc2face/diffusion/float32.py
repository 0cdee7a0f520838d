"""The caller's `torch.set_default_dtype` must not reach the pictures.

Our own code names its dtypes. diffusers' samplers leave some to torch, and the default is one for the whole process:
setting it here would reach into the caller's other threads. This mode is seen by the current thread alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_FACTORIES = {
    torch.tensor,
    torch.zeros,
    torch.ones,
    torch.full,
    torch.empty,
    torch.linspace,
    torch.logspace,
    torch.arange,
}


class _Float32(TorchFunctionMode):
    """Where torch would choose the default dtype, it chooses float32."""

    def __init__(self, default: torch.dtype) -> None:
        super().__init__()
        self.default = default

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Run `func`; when its result has the default dtype and no argument asked for it, run it in float32."""
        named = dict(kwargs or {})
        made = func(*args, **named)
        chosen = isinstance(made, Tensor) and made.dtype == self.default and named.get("dtype") is None
        if not chosen or any(_floating(value) for value in (*args, *named.values())):
            return made
        if func in _FACTORIES:
            return func(*args, **named, dtype=torch.float32)
        return func(*(value.float() if isinstance(value, Tensor) else value for value in args), **named)


def float32_defaults() -> AbstractContextManager[Any]:
    """For the body, and this thread: float32 wherever no dtype is named."""
    default = torch.get_default_dtype()
    return nullcontext() if default == torch.float32 else _Float32(default)


def _floating(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()
