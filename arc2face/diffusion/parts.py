"""One diffusion part in memory: where it lies, how large it is, and which file it came from."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from arc2face.diffusion.loading import stamp_of
from arc2face.diffusion.lora import lora_bytes


@dataclass
class Loaded:
    """One part in memory. `device`: where its tensors are now. `bytes`: its size there. `stamp`: of its file."""

    value: Any
    bytes: int
    device: str
    source: Path | None
    stamp: tuple[Any, ...] = ()
    last_used: float = field(default_factory=time.monotonic)

    @property
    def file_is_as_loaded(self) -> bool:
        """Whether the file that the part was read from is still there and the same."""
        return bool(self.stamp) and stamp_of(self.source) == self.stamp


def size_of(value: Any) -> int:
    """Bytes of a module's parameters and buffers, or of a LoRA's matrices; 0 for a tokenizer."""
    if isinstance(value, nn.Module):
        tensors = [*value.parameters(), *value.buffers()]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    return lora_bytes(value) if isinstance(value, dict) else 0
