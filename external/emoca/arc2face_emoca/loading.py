"""From files to `Emoca`: find, convert once, check, build."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from arc2face_emoca.cache import Tensors, convert_once
from arc2face_emoca.checkpoint import read_checkpoint
from arc2face_emoca.errors import IncompatibleAssetError
from arc2face_emoca.files import AssetFiles, read_expression_flags, read_template_faces, require
from arc2face_emoca.flame import FlameGeometry
from arc2face_emoca.model import Emoca
from arc2face_emoca.raster import Backend
from arc2face_emoca.resnet import Encoder

__all__ = ["load", "load_geometry"]

_ENCODERS = ("E_flame.", "E_expression.")
_GEOMETRY = "geometry."
_CHECKPOINT_TITLE = "EMOCA's checkpoint (EMOCA_v2_lr_mse_20)"
_FLAME_TITLE = "FLAME's generic_model.pkl"
Folders = Path | str | Iterable[Path | str] | AssetFiles


def load(
    assets: Folders,
    *,
    device: torch.device | str = "cpu",
    cache_dir: Path | None = None,
    backend: Backend = "torch",
) -> Emoca:
    """Load encoders and head from the original files as downloaded.

    Args:
        assets: the folder with `EMOCA/` and `FLAME/` in it, several such folders (first find wins), the path of a
            checkpoint, or AssetFiles.
        device: where to put everything.
        cache_dir: where the converted copy lies; `emoca.default_cache_dir()` when None.
        backend: rasteriser; see `rasterize`.

    The head comes from the checkpoint when it carries all of it, else from `generic_model.pkl`. The first call
    converts both into one safetensors file; later calls read only that, until a source changes.

    Raises:
        MissingAssetError: a file is not there; says where to register and where to put it.
        CorruptAssetError: a file is unreadable or was refused by the safe readers.
        IncompatibleAssetError: a file belongs to another model.
    """
    files, shown = _locate(assets)
    checkpoint = require(files.checkpoint, _CHECKPOINT_TITLE, shown)
    sources = [path for path in (checkpoint, files.config, files.flame, files.template) if path is not None]
    state = convert_once(sources, lambda: _convert(files, checkpoint, shown), cache_dir)
    extras = state.pop("expression_extras").bool().tolist()
    encoders = [Encoder.from_state_dict(state, prefix) for prefix in _ENCODERS]
    model = Emoca(_geometry(state), *encoders, expression_extras=(extras[0], extras[1]), backend=backend)
    return model.to(device)


def load_geometry(
    assets: Folders,
    *,
    device: torch.device | str = "cpu",
    cache_dir: Path | None = None,
    backend: Backend = "torch",
) -> Emoca:
    """Load only the head: enough to draw given angles, not to read photos. Arguments and errors as for `load`.

    `generic_model.pkl` is enough. Of several folders the first with either file decides, so that a head and the
    encoders beside it stay together; there, the pickle is preferred because it is the smaller file.
    """
    files, shown = _locate(assets)
    first = files if isinstance(assets, AssetFiles) else _first_head(shown)
    if first.flame is None and files.checkpoint is not None:
        model = load(files, cache_dir=cache_dir, backend=backend)
        return Emoca(model.geometry, backend=backend).to(device)
    flame, template = require(first.flame, _FLAME_TITLE, shown), first.template
    sources = [path for path in (flame, template) if path is not None]
    state = convert_once(sources, lambda: _pack(_head_from_pickle(flame, template, None)), cache_dir)
    return Emoca(_geometry(state), backend=backend).to(device)


def _first_head(folders: list[Path | str]) -> AssetFiles:
    each = (AssetFiles.find(folder) for folder in folders)
    return next((files for files in each if files.checkpoint or files.flame), AssetFiles())


def _locate(assets: Folders) -> tuple[AssetFiles, list[Path | str]]:
    if isinstance(assets, AssetFiles):
        return assets, []
    folders = [assets] if isinstance(assets, str | Path) else list(assets)
    return AssetFiles.find(folders), folders


def _convert(files: AssetFiles, checkpoint: Path, shown: list[Path | str]) -> Tensors:
    found = read_checkpoint(checkpoint)
    geometry = found.geometry
    if geometry is None:
        flame = require(files.flame, f"The checkpoint carries no head, and {_FLAME_TITLE}", shown)
        geometry = _head_from_pickle(flame, files.template, found.faces)
    extras = read_expression_flags(files.config, found.expression_encoder.config.outputs)
    tensors: Tensors = {"expression_extras": torch.tensor(extras, dtype=torch.int64)}
    for prefix, encoder in zip(_ENCODERS, (found.flame_encoder, found.expression_encoder), strict=True):
        tensors |= {prefix + name: value for name, value in encoder.state_dict().items()}
    return tensors | _pack(geometry)


def _head_from_pickle(flame: Path, template: Path | None, drawn: Tensor | None) -> FlameGeometry:
    if drawn is None and template is not None:
        drawn = read_template_faces(template)
    return FlameGeometry.from_pickle(flame, drawn)


def _pack(geometry: FlameGeometry) -> Tensors:
    return {_GEOMETRY + name: value for name, value in vars(geometry).items() if isinstance(value, Tensor)}


def _geometry(state: dict[str, Tensor]) -> FlameGeometry:
    own = {name[len(_GEOMETRY) :]: value for name, value in state.items() if name.startswith(_GEOMETRY)}
    try:
        return FlameGeometry(**own)
    except TypeError as error:
        raise IncompatibleAssetError(f"The converted head is incomplete ({error}); delete the cache folder.") from error
