"""Recording work once and replaying it: the interface, and CUDA graphs behind it.

A captured graph repeats the very same kernels on the very same addresses. So whatever may change from request to
request lies in tensors that stay where they are (static buffers), weights change only in place, nothing inside is
read by the host, and what a replay leaves behind outside those buffers belongs to the next replay.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

Action = Callable[[], None]
WARM_UPS = 3
"""Runs before a capture: libraries choose kernels and allocate workspaces in them, which a capture may not."""


class CaptureError(RuntimeError):
    """Something in the recorded work cannot be repeated blindly: a host read, a random number, an upload."""


class Graph(Protocol):
    """Recorded work."""

    def replay(self) -> None:
        """Start it once more; does not wait."""
        ...


class Mark(Protocol):
    """A point in the device's work."""

    def wait(self) -> None:
        """Sleep until the device is past it. Raises what the device raised."""
        ...


class Fetched(Protocol):
    """A tensor on its way to host memory."""

    def take(self) -> Tensor | None:
        """The tensor in host memory, None while it is still under way. Does not wait."""
        ...


class Backend(Protocol):
    """Who records and replays. Used on the device worker's thread alone."""

    def capture(self, action: Action) -> Graph:
        """Run `action` a few times, then record it. Raises CaptureError or RuntimeError."""
        ...

    def mark(self) -> Mark:
        """A mark after everything that was started so far."""
        ...

    def fetch(self, tensor: Tensor) -> Fetched:
        """Copy a tensor as it is now to host memory, beside the device's other work."""
        ...

    @property
    def held(self) -> int:
        """Bytes of device memory that the recorded work keeps for itself."""
        ...

    def forget(self) -> None:
        """Give that memory back; every graph must have been dropped before."""
        ...


class CudaBackend:
    """torch.cuda.CUDAGraph. All graphs share one pool, so together they need what the largest one needs."""

    def __init__(self, device: str) -> None:
        """`device`: cuda or cuda:1."""
        self._device = torch.device(device)
        self._pool: Any = None
        self._held = 0
        self._side: torch.cuda.Stream | None = None

    def capture(self, action: Action) -> Graph:
        """Record `action` on a side stream. Errors of other threads' CUDA calls are not taken for ours."""
        with torch.cuda.device(self._device):
            if self._pool is None:
                self._pool = torch.cuda.graph_pool_handle()
            stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(WARM_UPS):
                    action()
            torch.cuda.current_stream().wait_stream(stream)
            torch.cuda.synchronize()
            torch.cuda.empty_cache()  # what is reserved from here on is the pool's
            before = torch.cuda.memory_reserved()
            with torch.cuda.graph(graph, pool=self._pool, stream=stream, capture_error_mode="thread_local"):
                action()
            self._held += max(0, torch.cuda.memory_reserved() - before)
        return graph

    def mark(self) -> Mark:
        """An event that the host sleeps on instead of spinning."""
        with torch.cuda.device(self._device):
            return _CudaMark()

    def fetch(self, tensor: Tensor) -> Fetched:
        """Clone in the device's own order, then copy on a side stream into pinned memory."""
        with torch.cuda.device(self._device):
            if self._side is None:
                self._side = torch.cuda.Stream()
            return _CudaFetched(tensor.clone(), self._side)

    @property
    def held(self) -> int:
        """Growth of torch's reserved memory over all captures."""
        return self._held

    def forget(self) -> None:
        """A new pool next time; the old one's memory goes back to the driver."""
        self._pool, self._held = None, 0
        with torch.cuda.device(self._device):
            torch.cuda.synchronize()
            torch.cuda.empty_cache()


class _CudaMark:
    def __init__(self) -> None:
        self._event = torch.cuda.Event(blocking=True)
        self._event.record()

    def wait(self) -> None:
        self._event.synchronize()


class _CudaFetched:
    def __init__(self, value: Tensor, side: torch.cuda.Stream) -> None:
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            self._host = torch.empty(value.shape, dtype=value.dtype, pin_memory=True)
            self._host.copy_(value, non_blocking=True)
            value.record_stream(side)
            self._done = torch.cuda.Event()
            self._done.record(side)

    def take(self) -> Tensor | None:
        return self._host if self._done.query() else None
