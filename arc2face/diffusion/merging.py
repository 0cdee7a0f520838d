"""LoRAs in a UNet's weights: put in place, kept while nothing changes, exchanged in place, taken out bit for bit.

`ensure(loras)` brings the weights into the wanted state, whatever they hold now. What is there already is not touched,
so requests with the same LoRA merge nothing. All happens inside the existing storage: whoever recorded an address (a
captured graph, say) keeps it.

Of every touched weight the original exists once more: as a copy on the device, as a copy in host memory, or in the
weight file alone; the policy decides. A copy and its weight exchange contents, so that going back and forth between two
states multiplies once. An original is never computed: subtracting an update would drift by a rounding error each time.
When something fails half-way, the layers concerned count as unknown, and the next `ensure` reads them from the file.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from arc2face.diffusion.device import Placement, unless_full
from arc2face.diffusion.lora import LoraUpdate, LoraWeights, add_update

Loras = Sequence[tuple[LoraWeights, float]]
"""LoRAs and their strengths, in the order in which they are added."""
Mix = tuple[tuple[LoraUpdate, float], ...]
"""What of them is in one weight; empty for the original."""
Place = Literal["device", "host", "file"]
_PORTION_BYTES = 2**27


class CopyPolicy(Protocol):
    """Who decides about memory, and knows the weight file."""

    def place_for_copies(self, size: int) -> Place:
        """Where `size` more bytes of originals are to lie; `file`: nowhere else than in the weight file."""
        ...

    def originals(self, names: Iterable[str]) -> Mapping[str, Tensor]:
        """The weights of these layers as the file has them, in host memory. Raises WeightsError."""
        ...


@dataclass
class _Copy:
    """The other state of one weight. While an update is in the weight it is the original, and `mix` is empty."""

    tensor: Tensor
    on_device: bool
    mix: Mix = ()


class WeightMerger:
    """Owns the weights of one UNet as far as LoRAs change them. Used on the device worker's thread.

    `version` counts the changes; what was computed from the weights is valid as long as it stays the same.
    """

    def __init__(self, unet: nn.Module, placement: Placement, policy: CopyPolicy) -> None:
        self._unet = unet
        self._placement = placement
        self._policy = policy
        self._copies: dict[str, _Copy] = {}
        self._held: dict[str, Mix] = {}
        self._unknown: set[str] = set()
        self._users = 0
        self.version = 0

    @contextmanager
    def merging(self, loras: Loras) -> Generator[None]:
        """Run the body with exactly these LoRAs in the weights. They stay there afterwards, until others are wanted."""
        self._users += 1
        try:
            self.ensure(loras)
            yield
        finally:
            self._users -= 1

    @contextmanager
    def merged(self, lora: LoraWeights, strength: float) -> Generator[None]:
        """Run the body with this LoRA alone in the weights, and take it out again."""
        try:
            with self.merging([(lora, strength)]):
                yield
        finally:
            self.ensure([])

    def ensure(self, loras: Loras) -> None:
        """Bring the weights into the state of exactly these LoRAs; `[]` for the plain UNet.

        Raises WeightsError when a layer of unknown state cannot be read from the weight file. After an error the next
        call starts from the originals.
        """
        wanted = _mixes(loras)
        with self._changing():
            changed = [
                name
                for name in self._held.keys() | wanted.keys()
                if not _same(self._held.get(name, ()), wanted.get(name, ()))
            ]
            if not changed:
                return
            kept = [
                name for name in changed if name in self._copies and _same(self._copies[name].mix, wanted.get(name, ()))
            ]
            made = sorted(set(changed).difference(kept))
            self._save(made)
            self._unknown.update(changed)
            self._exchange(kept)
            self._make(made, wanted)
            self._unknown.clear()

    @property
    def plain(self) -> bool:
        """Whether the weights are the original ones."""
        return not self._held and not self._unknown

    @property
    def bytes(self) -> int:
        """Memory of the copies, wherever they lie."""
        return sum(copy.tensor.nbytes for copy in self._copies.values())

    @property
    def device_bytes(self) -> int:
        """Memory of the copies that lie on the device."""
        return sum(copy.tensor.nbytes for copy in self._copies.values() if copy.on_device)

    def drop(self) -> bool:
        """Make the weights plain and free the copies, unless they are in use. Whether device memory was given back."""
        if self._users or (self.plain and not self._copies):
            return False
        with self._changing():
            self._unknown.update(self._held)
            self._restore(list(self._held))
            self._held.clear()
            self._unknown.clear()
        return self._free(list(self._copies))

    @contextmanager
    def _changing(self) -> Generator[None]:
        """Around a change: nobody frees copies meanwhile, and what an earlier failure left is put right first."""
        self._users += 1
        try:
            with torch.no_grad():
                if self._unknown:
                    self._recover()
                yield
        finally:
            self._users -= 1

    def _recover(self) -> None:
        """Layers of unknown state: as the file has them. Their copies may be anything and go."""
        self.version += 1
        self._free([name for name in self._unknown if name in self._copies])
        self._restore(sorted(self._unknown))
        for name in self._unknown:
            self._held.pop(name, None)
        self._unknown.clear()

    def _save(self, names: list[str]) -> None:
        """See to it that the original of each of these weights outlives its change."""
        plain = [name for name in names if name not in self._held]
        new = [name for name in plain if name not in self._copies]
        place = self._policy.place_for_copies(sum(self._weight(name).nbytes for name in new)) if new else "file"
        on_device = place == "device"
        for name in new if place != "file" else ():
            self._copies[name] = self._copy(self._weight(name), on_device)
            on_device = self._copies[name].on_device  # a device that turns out full: the rest goes to host memory
        for name in plain:
            if name in self._copies and self._copies[name].mix:
                copy = self._copies.pop(name)  # should this fail, there is no copy
                copy.tensor.copy_(self._weight(name))
                self._copies[name] = _Copy(copy.tensor, copy.on_device)

    def _exchange(self, names: list[str]) -> None:
        """Contents of weights and copies."""
        self.version += 1
        for portion in self._portions(names):
            weights = [self._weight(name) for name in portion]
            copies = [self._copies[name].tensor for name in portion]
            before = [weight.clone() for weight in weights]
            _copy_all(weights, copies)
            _copy_all(copies, before)
            for name in portion:
                mix = self._held.pop(name, ())
                if self._copies[name].mix:
                    self._held[name] = self._copies[name].mix
                self._copies[name].mix = mix

    def _make(self, names: list[str], wanted: Mapping[str, Mix]) -> None:
        """Weights anew from their originals."""
        self._restore([name for name in names if name in self._held])
        for name in names:
            self._held.pop(name, None)
            for update, strength in wanted.get(name, ()):
                add_update(self._weight(name), update, strength)
            if name in wanted:
                self._held[name] = wanted[name]

    def _restore(self, names: list[str]) -> None:
        """The originals back into the weights: from the copies, else from the file."""
        copied = [name for name in names if name in self._copies]
        _copy_all([self._weight(name) for name in copied], [self._copies[name].tensor for name in copied])
        for portion in self._portions([name for name in names if name not in self._copies]):
            originals = self._policy.originals(portion)
            for name in portion:
                self._weight(name).copy_(originals[name])

    def _copy(self, weight: Tensor, on_device: bool) -> _Copy:
        made = unless_full(partial(self._placement.copy_of, weight, True)) if on_device else None
        if made is not None:
            return _Copy(made, True)
        return _Copy(self._placement.copy_of(weight, False), False)

    def _free(self, names: list[str]) -> bool:
        freed = any(self._copies[name].on_device for name in names)
        tensors = [self._copies.pop(name).tensor for name in names]
        if tensors:
            self._placement.forget(tensors)
        return freed

    def _portions(self, names: Sequence[str]) -> Iterator[list[str]]:
        """Names in their order, in portions of weights of some hundred megabytes at most."""
        portion: list[str] = []
        size = 0
        for name in names:
            portion.append(name)
            size += self._weight(name).nbytes
            if size >= _PORTION_BYTES:
                yield portion
                portion, size = [], 0
        if portion:
            yield portion

    def _weight(self, name: str) -> Tensor:
        weight = self._unet.get_submodule(name).weight
        assert isinstance(weight, Tensor)
        return weight


def _mixes(loras: Loras) -> dict[str, Mix]:
    """Layer -> its updates. A strength of 0 changes nothing."""
    mixes: dict[str, Mix] = {}
    for lora, strength in loras:
        for name, update in lora.items() if strength else ():
            mixes[name] = (*mixes.get(name, ()), (update, strength))
    return mixes


def _same(one: Mix, other: Mix) -> bool:
    return len(one) == len(other) and all(a[0] is b[0] and a[1] == b[1] for a, b in zip(one, other, strict=True))


def _copy_all(targets: list[Tensor], sources: list[Tensor]) -> None:
    """One launch for many tensors where the device has such a thing."""
    if targets:
        torch._foreach_copy_(targets, sources)  # pyright: ignore[reportPrivateUsage]
