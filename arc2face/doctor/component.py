"""What is told of one part of the models."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ComponentStatus:
    """One row of the Models panel. `state`: missing, on disk, host memory, or the device's name; the fast path's is
    "on (n graphs, x GB)" or "off: why".

    `bytes`: size in memory when loaded, on disk otherwise. `sha256`: of the weight file, empty until computed.
    `remedy`: the command that fetches a missing part, or empty.
    """

    name: str
    title: str
    state: str
    source: str = ""
    sha256: str = ""
    licence: str = ""
    dtype: str = ""
    bytes: int = 0
    remedy: str = ""
