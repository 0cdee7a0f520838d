"""The fast path: which steps are captured, for how long they hold, and why there are none.

A program is one repeatable piece of work on static buffers (a denoising step, the decoding of a picture). The first
run of a kind works through its program kernel by kernel, so nobody waits for a capture; the second captures it and
compares one replay with one plain run. Whatever goes wrong ends in plain work, said once in the log and shown in the
status; pictures are made all the same.
"""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from arc2face.diffusion.device import is_out_of_memory
from arc2face.diffusion.graphs.backend import Backend, CaptureError, Graph
from arc2face.diffusion.graphs.operations import Choice

log = logging.getLogger(__name__)

MAX_GRAPHS = 12
"""So many kinds of work are kept; the one that was used longest ago leaves first."""
SELF_CHECK = 2e-3
"""Largest relative difference between a replay and the same work done plainly."""
GB = 1e9


Tune = Callable[[nn.Module, tuple[int, int], int], Choice]


class Program(Protocol):
    """Repeatable work on buffers that stay where they are."""

    def __call__(self) -> None:
        """Do it once, plainly."""
        ...

    def changed(self) -> Sequence[Tensor]:
        """The buffers that it writes."""
        ...

    def buffers(self) -> Iterable[Tensor]:
        """All of its buffers."""
        ...


class Weights:
    """Modules, and where each of their weights lay when this was made. Looking again takes a fraction of a millisecond.

    They are held here, so an address cannot come to mean another tensor meanwhile.
    """

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self._modules = tuple(modules)
        each = [part for module in modules for part in module.modules()]
        self._tables = [table for part in each for table in (part._parameters, part._buffers) if table]  # pyright: ignore[reportPrivateUsage]
        self._addresses = self._now()

    def are_still(self, modules: Sequence[nn.Module]) -> bool:
        """Whether these are the same modules, with every weight where it was."""
        same = len(modules) == len(self._modules) and all(a is b for a, b in zip(modules, self._modules, strict=True))
        return same and self._now() == self._addresses

    def _now(self) -> list[int]:
        return [tensor.data_ptr() for table in self._tables for tensor in table.values() if tensor is not None]


@dataclass(eq=False)
class Entry:
    """One kind of work. `weights`: the modules it reads, and where they lie. `runs`: requests so far."""

    key: Hashable
    program: Any
    weights: Weights
    graph: Graph | None = None
    refused: bool = False
    runs: int = 0
    used: int = 0

    def step(self) -> None:
        """Do the work once: replayed when captured, else plainly."""
        if self.graph is None:
            self.program()
        else:
            self.graph.replay()

    def empty(self) -> None:
        """Nothing of a request stays in the buffers."""
        with torch.no_grad():
            for buffer in self.program.buffers():
                buffer.zero_()


@dataclass
class FastPath:
    """Captured work by kind. `backend`: None where there is none. `off`: why nothing is captured, empty while it is.

    `limit`: most bytes that captured work may keep. Belongs to the thread that uses it first. `captures`: how many
    captures there were; a slider that moves must not add to it. `tune`: measures how networks run best here, once; None
    leaves them as they are. `choice`: what it found.
    """

    backend: Backend | None
    off: str = ""
    limit: int | None = None
    captures: int = 0
    tune: Tune | None = None
    choice: Choice | None = None
    _entries: dict[Hashable, Entry] = field(default_factory=dict[Hashable, Entry])
    _clock: int = 0
    _owner: int | None = None

    @property
    def on(self) -> bool:
        """Whether anything may be captured."""
        return self.backend is not None and not self.off

    @property
    def status(self) -> str:
        """For people: "on (3 graphs, 0.4 GB)" or "off: why"."""
        if not self.on or self.backend is None:
            return f"off: {self.off}"
        count = sum(entry.graph is not None for entry in tuple(self._entries.values()))
        return f"on ({count} graph{'' if count == 1 else 's'}, {self.bytes / GB:.1f} GB)"

    @property
    def bytes(self) -> int:
        """Device memory of graphs and buffers."""
        held = 0 if self.backend is None else self.backend.held
        buffers = (b for entry in tuple(self._entries.values()) for b in entry.program.buffers())
        return held + sum(buffer.nbytes for buffer in buffers)

    def tuned(self, network: nn.Module, size: tuple[int, int], rows: int) -> Choice | None:
        """How networks are to compute: measured at the first call, on `network` (a UNet) and `size` (latent h, w)."""
        if self.tune is not None and self.choice is None:
            tune, self.tune = self.tune, None
            self.choice = tune(network, size, rows)
        return self.choice

    def entry(self, key: Hashable, weights: Sequence[nn.Module], make: Callable[[], Program]) -> Entry | None:
        """The work of this kind, new or known; None when it has to be done without the fast path.

        Weights that moved since (a part that left the device and came back) make it new: a graph would read what lies
        at the old addresses now.
        """
        thread = threading.get_ident()
        if not self.on or self._owner not in (None, thread):
            return None
        self._owner = thread
        found = self._entries.get(key)
        if found is not None and not found.weights.are_still(weights):
            del self._entries[key]
            found = None
        if found is None:
            while len(self._entries) >= MAX_GRAPHS:
                del self._entries[min(self._entries, key=lambda k: self._entries[k].used)]
            found = self._entries[key] = Entry(key, make(), Weights(weights))
        self._clock += 1
        found.used, found.runs = self._clock, found.runs + 1
        return found

    def prepare(self, entry: Entry) -> None:
        """Called when an entry's buffers hold a request: capture it if it is wanted a second time."""
        if entry.graph is None and entry.runs > 1 and not entry.refused and self.on:
            self._capture(entry)

    def failed(self, error: BaseException) -> None:
        """Something that was captured does not work: no more of it from now on."""
        self._switch_off(_first_line(error))

    def clear(self) -> None:
        """Drop everything: memory is wanted, or weights move. What is used again is captured again."""
        if self._entries:
            self._entries.clear()
            gc.collect()
            if self.backend is not None:
                self.backend.forget()

    def _capture(self, entry: Entry) -> None:
        backend = self.backend
        assert backend is not None
        before = [buffer.clone() for buffer in entry.program.changed()]
        try:
            with torch.no_grad():
                graph = backend.capture(entry.program)
                _restore(entry.program, before)
                self.captures += 1
                if self.limit is not None and backend.held > self.limit:
                    self._make_room(entry, backend.held)
                    return
                difference = _difference(entry.program, graph, before)
        except (CaptureError, RuntimeError) as error:
            self._refuse(entry, error)
        else:
            if difference <= SELF_CHECK:
                entry.graph = graph
            else:
                self._switch_off(f"a replay differed from plain work by {difference:.1e}")
        finally:
            _restore(entry.program, before)

    def _refuse(self, entry: Entry, error: BaseException) -> None:
        """Without memory for it, this kind alone stays plain; anything else says that graphs do not work here."""
        if not is_out_of_memory(error):
            self._switch_off(_first_line(error))
            return
        log.warning("no room to capture %s; it runs plainly", entry.key)
        self._drop_graphs()
        entry.refused = True

    def _make_room(self, entry: Entry, held: int) -> None:
        """Over the bound: start over; a kind that alone needs more stays plain."""
        alone = not any(other.graph is not None for other in self._entries.values())
        self._drop_graphs()
        if alone:
            entry.refused = True
            log.warning("%s needs %.2f GB of captured memory, more than allowed; it runs plainly", entry.key, held / GB)

    def _drop_graphs(self) -> None:
        for other in self._entries.values():
            other.graph = None
        gc.collect()
        if self.backend is not None:
            self.backend.forget()

    def _switch_off(self, reason: str) -> None:
        if not self.off:
            log.warning("the fast path is off: %s", reason)
            self.off = reason
        self._drop_graphs()
        self._entries.clear()


def _difference(program: Any, graph: Graph, before: Sequence[Tensor]) -> float:
    """Relative difference of what a plain run and a replay leave in the buffers."""
    program()
    plain = [buffer.clone() for buffer in program.changed()]
    _restore(program, before)
    graph.replay()
    worst = 0.0
    for buffer, wanted in zip(program.changed(), plain, strict=True):
        gap = torch.linalg.vector_norm((buffer - wanted).double()) / torch.linalg.vector_norm(wanted.double()).clamp(
            min=1e-6
        )
        worst = max(worst, float(gap.nan_to_num(nan=float("inf"))))
    return worst


def _restore(program: Any, before: Sequence[Tensor]) -> None:
    with torch.no_grad():
        for buffer, value in zip(program.changed(), before, strict=True):
            buffer.copy_(value)


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0][:160] if text else type(error).__name__
