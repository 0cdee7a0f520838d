"""One registry holds every diffusion part; adapters are loaded, applied and evicted here and nowhere else.

Base parts (tokenizer, text encoder, UNet, VAE) exist once and serve all requests. Adapters are loaded on first use.
With a byte budget the least recently used adapter is dropped before a new part is loaded. All methods that load or
run must be called on the device worker's thread; `snapshot` may be called from anywhere.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from arc2face.diffusion import loading
from arc2face.diffusion.adapters import ADAPTERS, Adapter
from arc2face.diffusion.denoising import Denoiser
from arc2face.diffusion.device import free_device_memory, torch_dtype
from arc2face.diffusion.lora import lora_bytes
from arc2face.diffusion.pixels import PreviewMap
from arc2face.errors import DeviceError, SettingsError
from arc2face.types import GenerationRequest, Runtime
from arc2face.weights.folder import ModelsFolder

log = logging.getLogger(__name__)

BASE_PARTS = {
    "tokenizer": "Tokenizer",
    "text_encoder": "Identity text encoder",
    "unet": "Arc2Face denoiser",
    "vae": "Image decoder (VAE)",
}
WIDE_CHANNELS = 64
Announce = Callable[[str], None]


@dataclass
class Loaded:
    """One part in memory. `device`: where its tensors are now."""

    value: Any
    bytes: int
    device: str
    source: Path | None
    last_used: float = field(default_factory=time.monotonic)


class ModelRegistry:
    """Loads, places, composes and evicts the diffusion parts of one models folder."""

    def __init__(self, models: ModelsFolder, runtime: Runtime) -> None:
        self.models = models
        self.runtime = runtime
        self.dtype = torch_dtype(runtime)
        self.adapters: Mapping[str, Adapter] = _by_name(ADAPTERS)
        self._parts: dict[str, Loaded] = {}
        self._in_use: frozenset[str] = frozenset()
        self._preview: PreviewMap | None = None

    def part(self, name: str, announce: Announce | None = None) -> Any:
        """A base part or an adapter's weights, loaded when needed. Raises WeightsError or DeviceError."""
        loaded = self._parts.get(name)
        if loaded is None:
            if announce is not None:
                announce(f"Loading: {self.title(name)}")
            loaded = self._parts[name] = self._load(name)
        loaded.last_used = time.monotonic()
        return loaded.value

    def load_base(self, announce: Announce | None = None) -> None:
        """Load all base parts."""
        for name in BASE_PARTS:
            self.part(name, announce)

    def title(self, name: str) -> str:
        """The part's name for people."""
        return BASE_PARTS.get(name) or self.adapters[name].title

    @property
    def preview(self) -> PreviewMap:
        """Latents to small colours, fitted once to this VAE."""
        if self._preview is None:
            with self.placed("vae") as vae:
                self._preview = PreviewMap.fit(vae)
        return self._preview

    @contextmanager
    def placed(self, name: str) -> Generator[Any]:
        """A part, on the device for the body. With the `sequential` policy it goes back to host memory afterwards."""
        value = self.part(name)
        self._move(name, self.runtime.device)
        try:
            yield value
        finally:
            if self.runtime.vram == "sequential":
                self._move(name, "cpu")

    @contextmanager
    def session(self, request: GenerationRequest, run: Denoiser) -> Generator[Denoiser]:
        """Apply the request's adapters to `run`, in their order; everything is undone on leaving."""
        wanted = [adapter for adapter in self.adapters.values() if adapter.name in request.adapters]
        before, self._in_use = self._in_use, frozenset(adapter.name for adapter in wanted)
        try:
            weights = {adapter.name: self.part(adapter.name) for adapter in wanted}
            with ExitStack() as stack:
                for adapter in wanted:
                    self._move(adapter.name, self.runtime.device)
                for adapter in wanted:
                    run.check_cancelled()
                    stack.enter_context(adapter.applied(weights[adapter.name], run, request))
                yield run
        finally:
            self._in_use = before
            if self.runtime.vram != "resident":
                for adapter in wanted:
                    self._move(adapter.name, "cpu")

    def evict(self, name: str) -> None:
        """Drop a loaded part; it is read again when next used."""
        if self._parts.pop(name, None) is not None:
            log.info("evicted %s", name)
            free_device_memory(self.runtime)

    def evict_idle_adapters(self) -> None:
        """Drop every adapter's weights, to make room."""
        for name in self.adapters:
            self.evict(name)

    def snapshot(self) -> Mapping[str, Loaded]:
        """What is loaded now, for the status panel."""
        return dict(self._parts)

    def source(self, name: str) -> Path | None:
        """The weight file a part comes from, loaded or not; None when it is missing."""
        spellings = {
            "tokenizer": (f"{loading.BASE_MODEL}/tokenizer/vocab.json",),
            "text_encoder": ("encoder/model.safetensors", "encoder/pytorch_model.bin"),
            "unet": loading.weight_names("arc2face", self.dtype),
            "vae": loading.weight_names(f"{loading.BASE_MODEL}/vae", self.dtype),
        }
        return self.models.find(*(spellings.get(name) or self.adapters[name].files))

    def _load(self, name: str) -> Loaded:
        self._make_room(name)
        try:
            value = self._read(name)
        except torch.OutOfMemoryError:
            self.evict_idle_adapters()
            try:
                value = self._read(name)
            except torch.OutOfMemoryError as error:
                raise DeviceError(
                    f"{self.title(name)} does not fit into the memory of {self.runtime.device}. "
                    "Start with --vram sequential, or on another device."
                ) from error
        device = self.runtime.device if isinstance(value, nn.Module) else "cpu"
        log.info("loaded %s", name)
        return Loaded(value, size_of(value), device, self.source(name))

    def _read(self, name: str) -> Any:
        readers: dict[str, Callable[[], Any]] = {
            "tokenizer": lambda: loading.load_tokenizer(self.models),
            "text_encoder": lambda: self._to_device(loading.load_text_encoder(self.models, self.dtype)),
            "unet": lambda: self._to_device(loading.load_unet(self.models, self.dtype)),
            "vae": lambda: self._to_device(loading.load_vae(self.models, self.dtype)),
        }
        if name in readers:
            return readers[name]()
        value = self.adapters[name].load(self.models, self.part("unet"), self.dtype)
        return self._to_device(value) if isinstance(value, nn.Module) else value

    def _to_device(self, module: nn.Module) -> nn.Module:
        # Wide convolutions run 10 to 30 % faster in channels_last; narrow ones gain nothing and keep NCHW, in which
        # they round as the original code does.
        channels = getattr(getattr(module, "config", None), "block_out_channels", None)
        wide = channels is not None and channels[0] >= WIDE_CHANNELS
        module = module.to(self.runtime.device)
        return module.to(memory_format=torch.channels_last) if wide else module  # pyright: ignore[reportCallIssue]

    def _move(self, name: str, device: str) -> None:
        loaded = self._parts.get(name)
        if loaded is None:
            return
        if isinstance(loaded.value, nn.Module) and loaded.device != device:
            loaded.value.to(device)
            loaded.device = device
            free_device_memory(self.runtime)

    def _make_room(self, name: str) -> None:
        """Evict least recently used adapters until the new part fits the budget (its size on disk is the guess)."""
        budget = self.runtime.budget_bytes
        source = self.source(name)
        if budget is None or source is None:
            return
        needed = source.stat().st_size
        while self._used() + needed > budget:
            candidates = self.adapters.keys() - self._in_use - {name}
            idle = sorted((part.last_used, key) for key, part in self._parts.items() if key in candidates)
            if not idle:
                log.warning("the memory budget is exceeded by the parts in use")
                return
            self.evict(idle[0][1])

    def _used(self) -> int:
        return sum(part.bytes for part in self._parts.values() if part.device == self.runtime.device)


def size_of(value: Any) -> int:
    """Bytes of a module's parameters and buffers, or of a LoRA's matrices; 0 for a tokenizer."""
    if isinstance(value, nn.Module):
        tensors = [*value.parameters(), *value.buffers()]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    return lora_bytes(value) if isinstance(value, dict) else 0


def _by_name(adapters: tuple[Adapter, ...]) -> dict[str, Adapter]:
    table: dict[str, Adapter] = {}
    for adapter in adapters:
        if adapter.name in table:
            raise SettingsError(f"Two adapters are called {adapter.name}: {table[adapter.name]!r} and {adapter!r}.")
        table[adapter.name] = adapter
    return table
