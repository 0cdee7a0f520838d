"""A CUDA device without a card: tensors that say they lie on it, and a count of what would wait for it.

The tensors are torch's FakeTensors: they have shape, dtype and device, and no numbers. A CPU build of torch does not
let them be indexed or moved in every way, so `HostReads` stands in for a few functions; each of these that would read a
number back (`int(t)`, `bool(t)`, `.item()`, `.cpu()`, a table in host memory indexed by a device tensor) is counted.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode

_READS: dict[str, Any] = {"__int__": 500, "item": 500, "__index__": 500, "__bool__": True, "__float__": 0.5}
_CASTS = {"float": torch.float32, "half": torch.float16, "double": torch.float64}


class FakeCuda:
    """Makes modules and tensors on the pretended device."""

    def __init__(self) -> None:
        torch._C._ensureCUDADeviceGuardSet()  # a CPU build has none until asked
        self.mode = FakeTensorMode(allow_non_fake_inputs=True)

    def tensor(self, *shape: int, dtype: torch.dtype = torch.float16) -> Tensor:
        with self.mode:
            return torch.empty(shape, dtype=dtype, device="cuda")

    def module(self, network: nn.Module) -> Any:
        """A network on the meta device, with fake half-precision weights."""
        made = copy.copy(network)
        for module in made.modules():
            for name, value in module._parameters.items():
                if value is not None:
                    module._parameters[name] = nn.Parameter(self.tensor(*value.shape), requires_grad=False)
        return made


class HostReads(TorchFunctionMode):
    """Counts, by name, what would stop the host until the device has caught up."""

    def __init__(self, device: FakeCuda) -> None:
        super().__init__()
        self.device = device
        self.counts: Counter[str] = Counter()

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named, name = kwargs or {}, getattr(func, "__name__", str(func))
        first = args[0] if args and isinstance(args[0], Tensor) else None
        if first is None:
            return self._made(func, args, named)
        if name == "to":
            return self._moved(first, args[1:], named)
        if first.device.type == "cuda":
            return self._on_device(func, name, first, args, named)
        if name == "__getitem__" and isinstance(args[1], Tensor) and args[1].device.type == "cuda":
            self.counts["host table indexed by a device tensor"] += 1
            return first[500] if first.ndim == 1 else first
        return func(*args, **named)

    def _made(self, func: Callable[..., Any], args: Any, named: Any) -> Any:
        if named.get("device") is not None and torch.device(named["device"]).type == "cuda":
            with self.device.mode:
                return func(*args, **named)
        return func(*args, **named)

    def _on_device(self, func: Callable[..., Any], name: str, first: Tensor, args: Any, named: Any) -> Any:
        if name in (*_READS, "nonzero", "cpu", "numpy", "tolist"):
            self.counts[name] += 1
            if name in _READS:
                return _READS[name]
            return torch.zeros((1, 1), dtype=torch.long) if name == "nonzero" else torch.zeros(first.shape)
        if name == "data_ptr":
            return 0
        if name in _CASTS:
            return self._moved(first, (_CASTS[name],), named)
        if name == "contiguous":
            return torch.ops.aten.clone(first, memory_format=named.get("memory_format", torch.contiguous_format))
        if name == "__getitem__":
            return self._indexed(func, first, args, named)
        return func(*args, **named)

    def _moved(self, first: Tensor, rest: Any, named: Any) -> Tensor:
        device, dtype = named.get("device"), named.get("dtype")
        for value in rest:
            if isinstance(value, torch.dtype):
                dtype = value
            elif isinstance(value, str | torch.device):
                device = value
            elif isinstance(value, Tensor):
                device, dtype = value.device, value.dtype
        target = first.device if device is None else torch.device(device)
        dtype = dtype or first.dtype
        if target.type == first.device.type:
            return first if dtype == first.dtype else torch.ops.aten._to_copy(first, dtype=dtype)
        if target.type == "cpu":
            self.counts["copy to host memory"] += 1
            return torch.zeros(first.shape, dtype=dtype)
        return self.device.tensor(*first.shape, dtype=dtype)

    def _indexed(self, func: Callable[..., Any], tensor: Tensor, args: Any, named: Any) -> Any:
        index = args[1] if isinstance(args[1], tuple) else (args[1],)
        if any(isinstance(each, Tensor) for each in index):
            return func(*args, **named)
        if Ellipsis in index:
            at = index.index(Ellipsis)
            missing = tensor.ndim - sum(each is not None for each in index) + 1
            index = index[:at] + (slice(None),) * missing + index[at + 1 :]
        place = 0
        for each in index:
            if each is None:
                tensor, place = tensor.unsqueeze(place), place + 1
            elif isinstance(each, slice):
                start, stop, _ = each.indices(tensor.shape[place])
                tensor, place = tensor.narrow(place, start, max(0, stop - start)), place + 1
            else:
                tensor = tensor.select(place, int(each))
        return tensor
