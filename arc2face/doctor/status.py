"""What is loaded, what is on disk, what is missing: the rows of the Models panel and of `arc2face doctor`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from arc2face.diffusion.registry import BASE_PARTS, ModelRegistry
from arc2face.readers import FACE_FOLDER, Perception
from arc2face.types import ComponentStatus
from arc2face.weights.store import sha256_of
from arc2face.weights.table import WEIGHTS, WeightFile, files_of

_READERS = {
    "detector": ("Face detector (SCRFD)", f"{FACE_FOLDER}/scrfd_10g_bnkps.onnx", "identity"),
    "recogniser": ("Face recogniser (ArcFace)", f"{FACE_FOLDER}/arcface.onnx", "identity"),
    "landmarks": ("Face landmarks (68 points)", f"{FACE_FOLDER}/1k3d68.onnx", "identity"),
    "smirk": ("Expression reader (SMIRK)", "smirk/SMIRK_em1.pt", "expression"),
}
_FEATURE_OF_BASE = "identity"


def rows(registry: ModelRegistry, perception: Perception) -> list[ComponentStatus]:
    """One row per part, base parts first."""
    with_files = (name for name, adapter in registry.adapters.items() if adapter.files)
    table = [_row_of_part(registry, name) for name in (*BASE_PARTS, *with_files)]
    busy = perception.loaded
    for name, (title, path, feature) in _READERS.items():
        source = registry.models.find(path)
        state = "on disk" if source is not None else "missing"
        state = "cpu" if name in busy and source is not None else state
        table.append(_row(name, title, state, source, path, feature, "fp32"))
    if registry.models.kind == "full":
        return table
    # Our own files, whatever the table of the original weights says.
    return [replace(row, licence="" if row.state == "missing" else "mit") for row in table]


def missing(registry: ModelRegistry, feature: str) -> list[str]:
    """Relative paths a feature still lacks. Raises KeyError for an unknown feature."""
    needed = (file for file in files_of(feature) if file.needed)
    return [file.path for file in needed if registry.models.find(file.path, *file.alternatives) is None]


def hashes(registry: ModelRegistry, adapters: Iterable[str]) -> dict[str, str]:
    """sha256 of the weight files behind a request, by part."""
    sources = {name: registry.source(name) for name in ("unet", "text_encoder", "vae", *adapters)}
    return {name: sha256_of(path) for name, path in sources.items() if path is not None}


def _row_of_part(registry: ModelRegistry, name: str) -> ComponentStatus:
    part = registry.snapshot().get(name)
    source = registry.source(name)
    adapter = registry.adapters.get(name)
    path = adapter.files[0] if adapter is not None else str(source or name)
    feature = adapter.feature if adapter is not None else _FEATURE_OF_BASE
    state = "missing" if source is None else "on disk"
    if part is not None:
        state = part.device if part.device == registry.runtime.device else "host memory"
    size = part.bytes if part is not None else 0
    return _row(name, registry.title(name), state, source, path, feature, registry.runtime.dtype, size)


def _row(
    name: str, title: str, state: str, source: Path | None, path: str, feature: str, dtype: str, size: int = 0
) -> ComponentStatus:
    licence = next((file.licence for file in WEIGHTS if _same_file(file, path, source)), "")
    return ComponentStatus(
        name=name,
        title=title,
        state=state,
        source=str(source or path),
        sha256=sha256_of(source) if source is not None and source.is_file() and state not in ("on disk",) else "",
        licence=licence,
        dtype=dtype if state not in ("missing", "on disk") else "",
        bytes=size or (source.stat().st_size if source is not None and source.is_file() else 0),
        remedy=f"arc2face download {feature}" if state == "missing" else "",
    )


def _same_file(file: WeightFile, path: str, source: Path | None) -> bool:
    spellings = {file.path, *file.alternatives}
    return path in spellings or (source is not None and any(source.as_posix().endswith(s) for s in spellings))
