"""What is loaded, what is on disk, what is missing: the rows of the Models panel and of `arc2face doctor`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from arc2face.diffusion.loading import PART_KEYS
from arc2face.diffusion.registry import BASE_PARTS, ModelRegistry
from arc2face.doctor.component import ComponentStatus
from arc2face.readers import Perception
from arc2face.weights.folder import feature_of
from arc2face.weights.store import bytes_of, checkpoint_sha256
from arc2face.weights.table import WEIGHTS, by_key

_READERS = {
    "detector": ("Face detector (SCRFD)", "detector"),
    "recogniser": ("Face recogniser (ArcFace)", "arcface"),
    "landmarks": ("Face landmarks (68 points)", "landmarks"),
    "smirk": ("Expression reader (SMIRK)", "smirk"),
    "head-reader": ("Head reader (EMOCA)", "emoca"),
    "head": ("Head model (FLAME)", "flame"),
}
"""Reader -> its title and the key of its file in the weights table."""


def rows(registry: ModelRegistry, perception: Perception) -> list[ComponentStatus]:
    """One row per part, base parts first, and one for the fast path."""
    with_files = (name for name, adapter in registry.adapters.items() if adapter.files)
    table = [_row_of_part(registry, name) for name in (*BASE_PARTS, *with_files)]
    readers = [_row_of_reader(registry, perception, name) for name in _READERS]
    fast = ComponentStatus("fast_path", "Fast path", registry.fast.status, bytes=registry.fast.bytes)
    return [*table, *readers, fast]


def missing(registry: ModelRegistry, feature: str) -> list[str]:
    """Relative paths a feature still lacks. Raises KeyError for an unknown feature."""
    return registry.models.missing_for(feature)


def hashes(registry: ModelRegistry, adapters: Iterable[str]) -> dict[str, str]:
    """sha256 of the weight files behind a request, by part."""
    sources = {name: registry.source(name) for name in ("unet", "text_encoder", "vae", *adapters)}
    return {name: checkpoint_sha256(path) for name, path in sources.items() if path is not None}


@dataclass(frozen=True, slots=True)
class _Part:
    """What a row is made of. `path`: the published one, shown when the file is missing."""

    name: str
    title: str
    path: str
    feature: str
    licence: str
    source: Path | None


def _row_of_part(registry: ModelRegistry, name: str) -> ComponentStatus:
    adapter = registry.adapters.get(name)
    if adapter is None:
        file = by_key(PART_KEYS[name])
        path, feature, licence = file.path, feature_of(file.key), file.licence
    else:
        known = next((file for file in WEIGHTS if adapter.files[0] in file.spellings), None)
        path, licence = (known.path, known.licence) if known else (adapter.files[0], "")
        feature = adapter.feature
    found = _Part(name, registry.title(name), path, feature, licence, registry.source(name))
    loaded = registry.snapshot().get(name)
    if loaded is None:
        return _row(registry, found, "", registry.runtime.dtype)
    state = loaded.device if loaded.device == registry.runtime.device else "host memory"
    return _row(registry, found, state, registry.runtime.dtype, loaded.bytes)


def _row_of_reader(registry: ModelRegistry, perception: Perception, name: str) -> ComponentStatus:
    title, key = _READERS[name]
    file = by_key(key)
    source = registry.models.locate(key)
    if source is None and name == "head":  # a checkpoint of the head reader carries a head, too
        source = registry.models.locate("emoca")
    found = _Part(name, title, file.path, feature_of(key), file.licence, source)
    loaded = ("pose" if name.startswith("head") else name) in perception.loaded
    return _row(registry, found, "cpu" if loaded and source is not None else "", "fp32")


def _row(registry: ModelRegistry, part: _Part, state: str, dtype: str, size: int = 0) -> ComponentStatus:
    """`state`: where the part is in memory, empty when it is not loaded."""
    source = part.source if part.source is not None and part.source.is_file() else None
    ours = registry.models.kind != "full"  # our own files, whatever the table of the original weights says
    return ComponentStatus(
        name=part.name,
        title=part.title,
        state=state or ("on disk" if source is not None else "missing"),
        source=str(source or part.path),
        sha256=checkpoint_sha256(source) if source is not None and state else "",
        licence=("" if source is None else "mit") if ours else part.licence,
        dtype=dtype if state else "",
        bytes=size or (bytes_of(source) if source is not None else 0),
        remedy="" if source is not None or state else f"arc2face download {part.feature}",
    )
