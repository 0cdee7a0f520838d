"""One registry holds every diffusion part; adapters are loaded, applied and evicted here and nowhere else.

Base parts (tokenizer, text encoder, UNet, VAE) exist once and serve all requests. Adapters are loaded on first use.
Parts are read into host memory and moved from there, as the policy says:

    resident     every loaded part lies on the device
    offload      base parts lie on the device, adapters only while a request uses them
    sequential   a part lies on the device only around its use

A byte budget counts what lies on the device in the run's precision, copies for merged LoRAs included; idle copies go
first, then the adapter that was used longest ago. A part in use is never moved or dropped. The UNet keeps the LoRAs of
one request until another wants others: whoever looks at its weights outside a run calls `merger.ensure([])` first.
All methods that load or run must be called on the device worker's thread; `snapshot` may be called from anywhere.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor, nn

from arc2face.diffusion import adapters as installed
from arc2face.diffusion import loading
from arc2face.diffusion.adapters import Adapter
from arc2face.diffusion.denoising import Denoiser
from arc2face.diffusion.device import DeviceFullError, Placement, torch_dtype, unless_full, with_fast_layout
from arc2face.diffusion.fitting import check_fit
from arc2face.diffusion.forward import UNetForward, why_not_unet
from arc2face.diffusion.graphs.fastpath import FastPath
from arc2face.diffusion.merging import Place, WeightMerger
from arc2face.diffusion.parts import Loaded, size_of
from arc2face.diffusion.pixels import Preview, PreviewMap
from arc2face.diffusion.prompt import encode_text
from arc2face.diffusion.small_decoder import SmallPreview, usable
from arc2face.errors import CorruptWeightsError, SettingsError
from arc2face.types import GenerationRequest, Runtime
from arc2face.weights.folder import ModelsFolder
from arc2face.weights.store import load_state_dict

log = logging.getLogger(__name__)

BASE_PARTS = {
    "tokenizer": "Tokenizer",
    "text_encoder": "Identity text encoder",
    "unet": "Arc2Face denoiser",
    "vae": "Image decoder (VAE)",
}
HOST_COPIES_BYTES = 2**30
"""On a CPU, copies of weights larger than this are not made: the file, which is mapped anyway, holds the originals."""
Announce = Callable[[str], None]
T = TypeVar("T")


class ModelRegistry:
    """Loads, places, composes and evicts the diffusion parts of one models folder."""

    def __init__(
        self,
        models: ModelsFolder,
        runtime: Runtime,
        placement: Placement | None = None,
        fast: FastPath | None = None,
    ) -> None:
        """`placement`: how parts get onto the device; a test's counting one, or the real one when None.

        `fast`: captured steps; none when None.
        """
        self.models = models
        self.runtime = runtime
        self.placement = placement or Placement(runtime.device)
        self.fast = fast or FastPath(None, off="not asked for")
        self.dtype = torch_dtype(runtime)
        self.adapters: Mapping[str, Adapter] = _by_name(installed.ADAPTERS)
        self._parts: dict[str, Loaded] = {}
        self._in_use: Counter[str] = Counter()
        self._merger: WeightMerger | None = None
        self._forward: UNetForward | None = None
        self._empty_prompt: Tensor | None = None
        self._preview: PreviewMap | None = None
        self._fits = False

    def part(self, name: str, announce: Announce | None = None) -> Any:
        """A base part or an adapter's weights, loaded when needed. Raises WeightsError or DeviceError."""
        loaded = self._parts.get(name)
        if loaded is None:
            if announce is not None:
                announce(f"Loading: {self.title(name)}")
            loaded = self._load(name)
        loaded.last_used = time.monotonic()
        return loaded.value

    def load_base(self, announce: Announce | None = None) -> None:
        """Load all base parts and check that they fit one another. Raises IncompatibleWeightsError."""
        for name in BASE_PARTS:
            self.part(name, announce)
        if not self._fits:
            check_fit(self.part("unet"), self.part("text_encoder"), self.part("vae"))
            self._fits = True

    def title(self, name: str) -> str:
        """The part's name for people."""
        return BASE_PARTS.get(name) or self.adapters[name].title

    def wanted(self, request: GenerationRequest) -> tuple[str, ...]:
        """Names of the adapters a request switches on, in the order they are entered. Raises SettingsError."""
        unknown = sorted(request.extras.keys() - self.adapters.keys())
        if unknown:
            raise SettingsError(f"There is no adapter {unknown[0]!r}; there are {', '.join(self.adapters)}.")
        return tuple(name for name, adapter in self.adapters.items() if adapter.wanted(request))

    def recipe(self, request: GenerationRequest) -> dict[str, dict[str, Any]]:
        """What the adapters in use say for the recipe, by name; one with nothing to say is left out."""
        parts = {name: dict(self.adapters[name].recipe(request)) for name in self.wanted(request)}
        return {name: part for name, part in parts.items() if part or name in request.extras}

    @property
    def preview(self) -> Preview:
        """Latents to small pictures, for one run: a map fitted once to this VAE; on a CPU the small decoder, if there.

        A GPU has better things to do than to decode previews.
        """
        if self.runtime.device == "cpu" and usable(self.models):
            return SmallPreview(self.part("small_decoder"))
        if self._preview is None:
            with self.placed("vae") as vae:
                self._preview = PreviewMap.fit(vae)
        return self._preview

    @property
    def forward(self) -> UNetForward | None:
        """The UNet's own forward, one for as long as the UNet is loaded; None when it cannot run this UNet."""
        if self._forward is None and why_not_unet(self.part("unet")) is None:
            self._forward = UNetForward(self.part("unet"))
        return self._forward

    @property
    def empty_prompt(self) -> Tensor:
        """Prompt embeddings (1, L, D) of the empty text, encoded once per loaded text encoder. They are nobody's."""
        if self._empty_prompt is None:
            with self.placed("text_encoder") as encoder:
                self._empty_prompt = encode_text(self.part("tokenizer"), encoder, "")
        return self._empty_prompt

    @property
    def merger(self) -> WeightMerger:
        """What puts LoRAs into the UNet's weights."""
        if self._merger is None:
            self._merger = WeightMerger(self.part("unet"), self.placement, self)
        return self._merger

    @contextmanager
    def placed(self, name: str) -> Generator[Any]:
        """A part, on the device for the body. With the `sequential` policy it goes back to host memory afterwards."""
        value = self.part(name)
        with self._using(name):
            self._bring(name)
            try:
                yield value
            finally:
                if self.runtime.vram == "sequential" and self._in_use[name] == 1:
                    self._send_back(name)

    @contextmanager
    def session(self, request: GenerationRequest, run: Denoiser) -> Generator[Denoiser]:
        """Apply the request's adapters to `run`, in their order; everything is undone on leaving."""
        names = self.wanted(request)
        with self._using(*names):
            try:
                weights = {name: self.part(name) for name in names}
                with ExitStack() as stack:
                    for name in names:
                        self._bring(name)
                    for name in names:
                        run.check_cancelled()
                        stack.enter_context(self.adapters[name].applied(weights[name], run, request))
                    yield run
            finally:
                if self.runtime.vram != "resident":
                    for name in names:
                        self._send_back(name)

    def evict(self, name: str) -> bool:
        """Drop a loaded part that is not in use; it is read again when next used. Returns whether it was there."""
        gone = None if self._in_use[name] else self._parts.pop(name, None)
        if gone is None:
            return False
        if isinstance(gone.value, nn.Module):
            self.fast.clear()  # captured work keeps the modules that it reads
        log.info("evicted %s", name)
        if name == "unet":
            self._merger = self._forward = None
        elif name == "text_encoder":
            self._empty_prompt = None
        self._drop_copies()  # they may hold on to the evicted LoRA's matrices
        self.placement.empty_cache()
        return True

    def evict_idle_adapters(self) -> None:
        """Drop every idle adapter's weights, to make room."""
        for name in self.adapters:
            self.evict(name)

    def release(self) -> None:
        """Free all of the device's memory that nothing in use needs: captured work, copies, idle parts."""
        self.fast.clear()
        self._drop_copies()
        for name, part in list(self._parts.items()):
            if part.device != self.placement.device or self._in_use[name]:
                continue
            if name in self.adapters:
                self.evict(name)
            else:
                self._send_back(name)
        self.placement.empty_cache()

    def with_room(self, what: str, action: Callable[[], T]) -> T:
        """Run `action`; when memory runs out, once more after `release`. Raises DeviceError naming `what` after that.

        `action` must not return None.
        """
        made = unless_full(action)
        if made is None:
            self.release()
            made = unless_full(action)
        if made is None:
            raise self.out_of_memory(what)
        return made

    def out_of_memory(self, what: str) -> DeviceFullError:
        """The error for a device that has no room for `what`."""
        return DeviceFullError(
            f"{self.runtime.device} ran out of memory {what}. Close other programs that use it, start with "
            "--vram sequential, or choose a smaller size."
        )

    def snapshot(self) -> Mapping[str, Loaded]:
        """What is loaded now, for the status panel."""
        return dict(self._parts)

    def device_bytes(self) -> int:
        """Bytes of weights on the device: parts, and copies for merged LoRAs."""
        parts = sum(part.bytes for part in self._parts.values() if part.device == self.placement.device)
        return parts + (self._merger.device_bytes if self._merger is not None else 0)

    def place_for_copies(self, size: int) -> Place:
        """Where `size` more bytes of original weights lie while LoRAs are merged: only `resident` has device memory."""
        total = size + (self._merger.bytes if self._merger is not None else 0)
        on_host = self.placement.device == self.placement.host
        if on_host and total > HOST_COPIES_BYTES and self._parts["unet"].file_is_as_loaded:
            return "file"
        return "device" if self.runtime.vram == "resident" and self._make_room(size) else "host"

    def originals(self, names: Iterable[str]) -> Mapping[str, Tensor]:
        """Weights of the UNet's layers as its file has them, mapped. Raises WeightsError when it was replaced."""
        if not self._parts["unet"].file_is_as_loaded:
            raise CorruptWeightsError(
                f"{self.source('unet')} was replaced or removed while the program ran, and a part of it is needed "
                "again. Start the program anew."
            )
        path = self._parts["unet"].source
        assert path is not None
        state = load_state_dict(path)
        return {name: state[f"{name}.weight"] for name in names}

    def source(self, name: str) -> Path | None:
        """The weight file a part was read from or would be read from; None when it is missing."""
        loaded = self._parts.get(name)
        if loaded is not None:
            return loaded.source
        if name in BASE_PARTS:
            return loading.source_of(self.models, name, self.dtype)
        return loading.source_of_any(self.models, self.adapters[name].files, self.dtype)

    @contextmanager
    def _using(self, *names: str) -> Generator[None]:
        self._in_use.update(names)
        try:
            yield
        finally:
            self._in_use.subtract(names)

    def _load(self, name: str) -> Loaded:
        source = self.source(name)
        stamp = loading.stamp_of(source)
        value = self._read(name)
        if isinstance(value, nn.Module):
            value = with_fast_layout(value, self.placement.device)
        part = self._parts[name] = Loaded(value, size_of(value), self.placement.host, source, stamp)
        log.info("loaded %s", name)
        stays = self.runtime.vram == "resident" or (self.runtime.vram == "offload" and name in BASE_PARTS)
        try:
            if stays:
                with self._using(name):
                    self._bring(name)
        except BaseException:
            del self._parts[name]
            raise
        return part

    def _read(self, name: str) -> Any:
        readers: dict[str, Callable[[], Any]] = {
            "tokenizer": lambda: loading.load_tokenizer(self.models),
            "text_encoder": lambda: loading.load_text_encoder(self.models, self.dtype),
            "unet": lambda: loading.load_unet(self.models, self.dtype),
            "vae": lambda: loading.load_vae(self.models, self.dtype),
        }
        if name in readers:
            return readers[name]()
        return self.adapters[name].load(self.models, self.part("unet"), self.dtype)

    def _bring(self, name: str) -> None:
        """Onto the device, all of it or nothing. Raises DeviceError when it does not fit beside what is in use."""
        part = self._parts[name]
        if not isinstance(part.value, nn.Module):
            return
        if part.device == self.placement.device:
            self._make_room(0)
            return
        self._make_room(part.bytes)

        def move() -> bool:
            self.placement.to_device(part.value)
            return True

        self.with_room(f"for the {self.title(name)}", move)
        part.device = self.placement.device

    def _send_back(self, name: str) -> None:
        part = self._parts.get(name)
        if part is not None and isinstance(part.value, nn.Module) and part.device != self.placement.host:
            self.placement.to_host(part.value)
            part.device = self.placement.host

    def _make_room(self, needed: int) -> bool:
        """Free idle copies, then idle adapters, until `needed` more bytes keep to the budget. False if they cannot."""
        budget = self.runtime.budget_bytes
        if budget is None:
            return True
        while self.device_bytes() + needed > budget:
            if self._drop_copies():
                continue
            idle = [(part.last_used, name) for name, part in self._parts.items() if self._evictable(name)]
            if not idle:
                log.warning("the memory budget is exceeded by the parts in use")
                return False
            self.evict(min(idle)[1])
        return True

    def _evictable(self, name: str) -> bool:
        return (
            name in self.adapters
            and not self._in_use[name]
            and self._parts[name].device == self.placement.device
            and self._parts[name].bytes > 0
        )

    def _drop_copies(self) -> bool:
        return self._merger is not None and self._merger.drop()


def _by_name(adapters: tuple[Adapter, ...]) -> dict[str, Adapter]:
    table: dict[str, Adapter] = {}
    for adapter in adapters:
        if adapter.name in table:
            raise SettingsError(f"Two adapters are called {adapter.name}: {table[adapter.name]!r} and {adapter!r}.")
        if adapter.name in BASE_PARTS:
            raise SettingsError(f"An adapter cannot be called {adapter.name}: that is a base part.")
        table[adapter.name] = adapter
    return table
