"""LoRAs merged into a UNet's weights in place, and taken out again without a trace.

A merge happens inside the existing storage, so whoever recorded an address (a captured graph, say) keeps it. Of every
touched weight exactly one copy is kept: while the LoRA is merged it is the original, afterwards it is the merged
weight, so the next request with the same LoRA exchanges the two instead of multiplying again. Where copies lie, and
whether they stay between requests, is the registry's decision (`CopyPolicy`). Subtracting the update instead would
drift by a rounding error at every use.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn

from arc2face.diffusion.device import Placement, unless_full
from arc2face.diffusion.lora import LoraUpdate, LoraWeights

Mix = tuple[tuple[LoraUpdate, float], ...]
"""The updates merged into one weight and their strengths, in order."""


class CopyPolicy(Protocol):
    """Who decides about memory."""

    def room_on_device(self, size: int) -> bool:
        """Whether `size` more bytes of copies may lie on the device."""
        ...

    def worth_keeping(self, size: int) -> bool:
        """Whether copies of `size` bytes in all may stay between requests."""
        ...


@dataclass
class _Copy:
    """The other state of one weight.

    `active`: `tensor` is the original and `mix` is in the weight. Otherwise `mix` is in `tensor`; when it is empty
    `tensor` equals the weight. `sound` is False while an update is being added.
    """

    tensor: Tensor
    on_device: bool
    mix: Mix = ()
    active: bool = False
    sound: bool = True


class WeightMerger:
    """Owns the weights of one UNet as far as LoRAs change them. Used on the device worker's thread."""

    def __init__(self, unet: nn.Module, placement: Placement, policy: CopyPolicy) -> None:
        self._unet = unet
        self._placement = placement
        self._policy = policy
        self._copies: dict[str, _Copy] = {}

    @contextmanager
    def merged(self, lora: LoraWeights, strength: float) -> Generator[None]:
        """Merge `lora` for the body; afterwards every touched weight is restored bit for bit, whatever happened.

        Nests: leaving an inner merge leaves the weights as the outer one made them.
        """
        layers = {name: _weight(self._unet, name) for name in lora}
        before = {name: self._mix(name) for name in lora}
        try:
            with torch.no_grad():
                self._reserve(layers)
                for name, update in lora.items():
                    self._enter(layers[name], self._copies[name], (*before[name], (update, strength)))
            yield
        finally:
            with torch.no_grad():
                for name in lora.keys() & self._copies.keys():
                    self._leave(layers[name], self._copies[name], before[name])
            if not self.active and not self._policy.worth_keeping(self.bytes):
                self.drop()

    @contextmanager
    def merging(self, loras: Iterable[tuple[LoraWeights, float]]) -> Generator[None]:
        """Merge several, in their order."""
        with ExitStack() as stack:
            for lora, strength in loras:
                stack.enter_context(self.merged(lora, strength))
            yield

    @property
    def active(self) -> bool:
        """Whether anything is merged now."""
        return any(copy.active for copy in self._copies.values())

    @property
    def bytes(self) -> int:
        """Memory of the copies, wherever they lie."""
        return sum(copy.tensor.nbytes for copy in self._copies.values())

    @property
    def device_bytes(self) -> int:
        """Memory of the copies that lie on the device."""
        return sum(copy.tensor.nbytes for copy in self._copies.values() if copy.on_device)

    def drop(self) -> bool:
        """Free the copies when nothing is merged. Returns whether that gave any device memory back."""
        if self.active or not self._copies:
            return False
        freed = self.device_bytes > 0
        tensors = [copy.tensor for copy in self._copies.values()]
        self._copies.clear()
        self._placement.forget(tensors)
        return freed

    def _mix(self, name: str) -> Mix:
        copy = self._copies.get(name)
        return copy.mix if copy is not None and copy.active else ()

    def _reserve(self, layers: dict[str, Tensor]) -> None:
        """One copy per weight; those of another LoRA go when no weight needs them."""
        if not self.active and self._copies.keys() - layers.keys():
            self.drop()
        new = {name: weight for name, weight in layers.items() if name not in self._copies}
        on_device = self._policy.room_on_device(sum(weight.nbytes for weight in new.values()))
        for name, weight in new.items():
            copy = unless_full(partial(self._placement.copy_of, weight, True)) if on_device else None
            on_device = copy is not None  # a device that turns out full: the rest goes to host memory
            self._copies[name] = _Copy(self._placement.copy_of(weight, False) if copy is None else copy, on_device)

    def _enter(self, weight: Tensor, copy: _Copy, mix: Mix) -> None:
        if not copy.active and _same(copy.mix, mix):
            merged = copy.tensor.clone()
            copy.tensor.copy_(weight)
            copy.active = True
            weight.copy_(merged)
            return
        if not copy.active and copy.mix:
            copy.tensor.copy_(weight)
            copy.mix = ()
        copy.active, copy.sound = True, False
        _add(weight, *mix[-1])
        copy.mix, copy.sound = mix, True

    def _leave(self, weight: Tensor, copy: _Copy, mix: Mix) -> None:
        if not copy.active or (mix and copy.sound and _same(copy.mix, mix)):
            return
        if not mix:
            _restore(weight, copy)
            return
        weight.copy_(copy.tensor)
        for update, strength in mix:
            _add(weight, update, strength)
        copy.mix, copy.sound = mix, True


def _restore(weight: Tensor, copy: _Copy) -> None:
    """The original back into the weight; the copy takes over the merged one, unless that is not whole or no room."""
    merged = unless_full(lambda: weight.detach().to(copy.tensor.device, copy=True)) if copy.sound else None
    weight.copy_(copy.tensor)
    if merged is None:
        copy.mix = ()
    else:
        copy.tensor.copy_(merged)
    copy.active, copy.sound = False, True


def _add(weight: Tensor, update: LoraUpdate, strength: float) -> None:
    """Weight += strength * update, multiplied in float32."""
    if weight.ndim == 2 and weight.dtype == torch.float32:  # the same arithmetic without a temporary of its size
        up, down = update.matrices(weight.device)
        weight.addmm_(up, down, alpha=update.scale * strength)
        return
    weight.copy_(weight.to(torch.float32) + update.delta(weight, strength))


def _same(one: Mix, other: Mix) -> bool:
    return len(one) == len(other) and all(a[0] is b[0] and a[1] == b[1] for a, b in zip(one, other, strict=True))


def _weight(unet: nn.Module, name: str) -> Tensor:
    weight = unet.get_submodule(name).weight
    assert isinstance(weight, Tensor)
    return weight
