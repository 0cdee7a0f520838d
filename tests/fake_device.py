"""A device that exists on every machine: it counts what lies on it, is full when told so, and fails when told so.

`FakeDevice` takes the place of `arc2face.diffusion.device.Placement`. Tensors stay where they are, so real models
compute; the device only keeps the books. While it is `watching`, every layer that computes with weights that are not
on the device fails the test, as it would on a card, and `fail_in` makes real layers run out of memory.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

from arc2face.diffusion.device import Placement
from arc2face.diffusion.registry import ModelRegistry
from arc2face.types import Runtime, VramPolicy
from arc2face.weights.folder import ModelsFolder

NAME = "fake:0"
When = Callable[[nn.Module, tuple[Any, ...]], bool]


class FakeDevice(Placement):
    """Counts resident bytes. `capacity`: bytes; `peak`: the most that lay here; `half_moves`: failed moves so far."""

    def __init__(self, capacity: int | None = None) -> None:
        super().__init__(NAME)
        self.capacity = capacity
        self.peak = 0
        self.half_moves = 0
        self.fail_at_tensor: int | None = None
        self._resident: weakref.WeakValueDictionary[int, Tensor] = weakref.WeakValueDictionary()

    @property
    def used(self) -> int:
        """Bytes on the device now."""
        return sum(tensor.nbytes for tensor in self._resident.values())

    def holds(self, tensor: Tensor) -> bool:
        """Whether a tensor lies on the device."""
        return id(tensor) in self._resident

    def holding(self, module: nn.Module) -> int:
        """How many of a module's tensors lie on the device."""
        return sum(self.holds(tensor) for tensor in (*module.parameters(), *module.buffers()))

    def transfer(self, module: nn.Module, where: str) -> None:
        for number, tensor in enumerate((*module.parameters(), *module.buffers())):
            if where != NAME:
                self._resident.pop(id(tensor), None)
                continue
            if number == self.fail_at_tensor:
                self.fail_at_tensor = None
                self.half_moves += 1
                raise torch.OutOfMemoryError("told to fail in the middle of a move")
            self._allocate(tensor)

    def copy_of(self, tensor: Tensor, on_device: bool) -> Tensor:
        copy = tensor.detach().clone()
        if on_device:
            self._allocate(copy)
        return copy

    def forget(self, copies: list[Tensor]) -> None:
        for copy in copies:
            self._resident.pop(id(copy), None)
        super().forget(copies)

    def _allocate(self, tensor: Tensor) -> None:
        if self.capacity is not None and self.used + tensor.nbytes > self.capacity:
            gc.collect()
            if self.used + tensor.nbytes > self.capacity:
                self.half_moves += 1
                raise torch.OutOfMemoryError(f"{self.used} of {self.capacity} bytes in use")
        self._resident[id(tensor)] = tensor
        self.peak = max(self.peak, self.used)

    @contextmanager
    def watching(self) -> Generator[None]:
        """Every layer that computes must have its weights here."""

        def check(module: nn.Module, args: Any) -> None:
            away = [name for name, value in module.named_parameters(recurse=False) if not self.holds(value)]
            assert not away, f"{type(module).__name__} computes with {away}, which are not on the device"

        handle = register_module_forward_pre_hook(check)
        try:
            yield
        finally:
            handle.remove()


@contextmanager
def fail_in(kind: type[nn.Module], when: When = lambda module, args: True, error: Exception | None = None):
    """Layers of `kind` run out of memory (or raise `error`) when `when(module, args)`; yields the log of calls."""
    calls: list[bool] = []

    def strike(module: nn.Module, args: tuple[Any, ...]) -> None:
        if not isinstance(module, kind):
            return
        calls.append(when(module, args))
        if calls[-1]:
            raise error or torch.OutOfMemoryError("told to fail")

    handle = register_module_forward_pre_hook(strike)
    try:
        yield calls
    finally:
        handle.remove()


def registry_on(
    device: FakeDevice, models: Path, vram: VramPolicy = "resident", budget: int | None = None
) -> ModelRegistry:
    """The real registry on the fake device."""
    runtime = Runtime(device=NAME, dtype="fp32", vram=vram, budget_bytes=budget)
    return ModelRegistry(ModelsFolder(models), runtime, device)
