"""Graphs on a CPU: a backend that binds addresses as a CUDA graph does, so that the same mistakes show.

The work runs once under a tape that keeps every operation with the tensors it read; a replay repeats those operations
on those very storages. So a number that was baked in stays baked in, a weight that moved is still read at its old
place, a host read has no place on the tape, and after a replay whatever it left outside of the static buffers is
spoilt, as it may be on a card where all graphs share one pool.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from arc2face.diffusion.graphs.backend import CaptureError

_READS = {"aten::_local_scalar_dense", "aten::nonzero", "aten::is_nonzero", "aten::equal", "aten::item"}
_UPLOADS = {"aten::lift_fresh"}
_RANDOM = ("aten::rand", "aten::normal", "aten::bernoulli", "aten::uniform")


class Tape(TorchDispatchMode):
    """Keeps (operation, arguments, results, whether it writes into its arguments) of everything but views."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[Any, Any, Any, Any, bool]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name
        if name in _READS or name in _UPLOADS or name.startswith(_RANDOM):
            raise CaptureError(f"{name} cannot be captured: it waits for the device, or brings something new to it")
        out = func(*args, **(kwargs or {}))
        returned = [each.alias_info for each in func._schema.returns]
        taken = [each.alias_info for each in func._schema.arguments]
        writes = any(alias is not None and alias.is_write for alias in (*returned, *taken))
        is_view = any(alias is not None and not alias.is_write for alias in returned)
        if not is_view:
            self.operations.append((func, tree_map(_bound, args), tree_map(_bound, kwargs or {}), out, writes))
        return out


class RecordedGraph:
    """Repeats a tape. `replays`: how often so far."""

    def __init__(self, tape: Tape) -> None:
        self._operations = tape.operations
        self.replays = 0

    def replay(self) -> None:
        self.replays += 1
        for func, args, kwargs, out, writes in self._operations:
            made = func(*args, **kwargs)
            if not writes:
                for old, new in zip(tree_leaves(out), tree_leaves(made), strict=True):
                    if isinstance(old, Tensor):
                        old.copy_(new)
        for _, _, _, out, writes in self._operations:
            if not writes:
                for left in tree_leaves(out):
                    if isinstance(left, Tensor) and left.is_floating_point():
                        left.fill_(torch.nan)

    @property
    def bytes(self) -> int:
        return sum(
            left.nbytes
            for *_, out, writes in self._operations
            if not writes
            for left in tree_leaves(out)
            if isinstance(left, Tensor)
        )


class RecordingBackend:
    """`fail(number)`: called before capture `number` (from 1); may raise. `log`: what happened, in order."""

    def __init__(self, fail: Callable[[int], None] = lambda number: None) -> None:
        self.fail = fail
        self.log: list[str] = []
        self.graphs: list[RecordedGraph] = []
        self.held = 0
        self.under_way = 0
        self.most_under_way = 0

    def capture(self, action: Callable[[], None]) -> RecordedGraph:
        self.log.append("capture")
        action()
        self.fail(self.log.count("capture"))
        tape = Tape()
        with tape:
            action()
        graph = RecordedGraph(tape)
        self.graphs.append(graph)
        self.held = max(self.held, graph.bytes)  # one pool for all: the largest counts
        return graph

    def mark(self) -> _Mark:
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        return _Mark(self)

    def fetch(self, tensor: Tensor) -> _Fetched:
        self.log.append("fetch")
        return _Fetched(tensor.clone())

    def forget(self) -> None:
        self.log.append("forget")
        self.held = 0

    @property
    def captures(self) -> int:
        return self.log.count("capture")


class _Mark:
    def __init__(self, backend: RecordingBackend) -> None:
        self._backend = backend

    def wait(self) -> None:
        self._backend.under_way -= 1


class _Fetched:
    """Arrives when it is asked for the second time, as a copy beside other work does."""

    def __init__(self, value: Tensor) -> None:
        self._value = value
        self._asked = 0

    def take(self) -> Tensor | None:
        self._asked += 1
        return self._value if self._asked > 1 else None


def _bound(value: Any) -> Any:
    """The storage as it is now: a Parameter whose data is exchanged later is not followed."""
    return value.detach() if isinstance(value, Tensor) else value
