"""Rebuilds the synthetic weights and asset files that the recorded 3D results belong to.

Only exact or correctly rounded float64 arithmetic, so the numbers are the same on every machine.
"""

from __future__ import annotations

import json
import pickle
import sys
import types
import zlib
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

import arc2face_emoca as emoca

GOLDENS = Path(__file__).parent / "data" / "goldens3d"
ENCODERS = ("E_flame", "E_expression")
CHECKPOINT = (
    "EMOCA/models/EMOCA_v2_lr_mse_20/detail/checkpoints/deca-epoch=10-val_loss/dataloader_idx_0=3.25521111.ckpt"
)
PICKLE, TEMPLATE = "FLAME/geometry/generic_model.pkl", "FLAME/geometry/head_template.obj"


@cache
def golden(name: str) -> dict[str, np.ndarray]:
    """All arrays of one recorded file."""
    with np.load(GOLDENS / f"{name}.npz") as arrays:
        return {key: arrays[key] for key in arrays.files}


def drawn(key: str, shape: Sequence[int], seed: int) -> np.ndarray:
    """One state-dict entry: uniform numbers seeded by its name, scaled by what kind of entry it is."""
    state = np.random.RandomState((zlib.crc32(key.encode()) + seed) % 2**32)
    u = (2.0 * state.random_sample(int(np.prod(shape))) - 1.0).reshape(shape)
    last = key.rsplit(".", 1)[-1]
    if last == "num_batches_tracked":
        return np.array(1000, np.int64)
    if last == "running_var":
        return (1.0 + 0.5 * u).astype(np.float32)
    if last in ("running_mean", "bias"):
        return (0.1 * u).astype(np.float32)
    if len(shape) == 1:
        gain = 0.35 if key.endswith("bn3.weight") else 0.7 if key.endswith("downsample.1.weight") else 1.0
        return (gain * (0.75 + 0.25 * u)).astype(np.float32)
    return (np.sqrt(6.0 / np.prod(shape[1:])) * u).astype(np.float32)


@cache
def encoder_entries(name: str) -> dict[str, torch.Tensor]:
    """The checkpoint entries of one full-size encoder, without the prefix."""
    seed = json.loads((GOLDENS / "meta.json").read_text())["seed"]
    keys = json.loads((GOLDENS / "emoca_keys.json").read_text())
    measured, prefix = golden("emoca_bn"), f"deca.{name}."
    wanted = {key: shape for key, shape in keys.items() if key.startswith(prefix)}
    found = {k: measured[k] if k in measured else drawn(k, shape, seed) for k, shape in wanted.items()}
    weight, bias = found[f"{prefix}layers.2.weight"] * np.float32(2), found[f"{prefix}layers.2.bias"]
    if name == "E_flame":
        for rows, gain, bias_gain in (
            (slice(200, 206), 0.25, 0.25),
            (206, 0.0625, 1.0),
            (slice(207, 209), 2**-7, 0.125),
        ):
            weight[rows] *= np.float32(gain)
            bias[rows] *= np.float32(bias_gain)
        bias[206] = 7.0  # the camera's scale, so that a face is visible
    found[f"{prefix}layers.2.weight"] = weight
    return {key[len(prefix) :]: torch.from_numpy(np.array(value)) for key, value in found.items()}


@cache
def encoder(name: str) -> emoca.Encoder:
    """One full-size encoder in eval mode."""
    return emoca.Encoder.from_state_dict(encoder_entries(name))


def small_encoder(outputs: int, seed: int = 0) -> emoca.Encoder:
    """A random encoder of the same layout with other block counts and widths."""
    torch.manual_seed(seed)
    config = emoca.EncoderConfig(8, (4, 8, 8), (1, 2, 1), (16, 24, 32), 12, outputs)
    return emoca.Encoder(config).eval()


@cache
def flame_arrays() -> Mapping[str, np.ndarray]:
    """The arrays of the synthetic `generic_model.pkl`; read-only, because every test gets the same ones."""
    raw = golden("flame_synth")
    bits = {"v_template": 20, "shapedirs": 16, "posedirs": 15, "weights": 8, "J_regressor": 10}
    arrays = {name: raw[f"{name}_q{n}"].astype(np.float64) / 2.0**n for name, n in bits.items()}
    arrays |= {"f": raw["f"].astype(np.uint32), "kintree_table": raw["kintree_table"].astype(np.uint32)}
    return types.MappingProxyType(arrays | {"J": arrays["J_regressor"] @ arrays["v_template"]})


def drawn_faces() -> torch.Tensor:
    """(F, 3) int64 in the order of the head template."""
    return torch.from_numpy(golden("flame_synth")["faces_obj"].astype(np.int64))


@cache
def geometry() -> emoca.FlameGeometry:
    """The synthetic head as a checkpoint carries it."""
    return emoca.FlameGeometry.from_arrays(flame_arrays(), drawn_faces())


@cache
def full_model() -> emoca.Emoca:
    """Both encoders at full size, and the head."""
    return emoca.Emoca(geometry(), *(encoder(name) for name in ENCODERS))


@contextmanager
def foreign_class(module: str, name: str) -> Generator[type]:
    """A class that pickles as a reference to a package that is not installed."""
    parts = module.split(".")
    names = [".".join(parts[: i + 1]) for i in range(len(parts))]
    planted = [part for part in names if part not in sys.modules]
    for part in planted:
        sys.modules[part] = types.ModuleType(part)
    made = type(name, (object,), {"__module__": module})
    setattr(sys.modules[module], name, made)
    try:
        yield made
    finally:
        for part in planted:
            del sys.modules[part]


def write_checkpoint(path: Path, entries: dict[str, torch.Tensor]) -> Path:
    """A file as Lightning 1.4.9 writes it: `callbacks` is keyed by classes of Lightning's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        foreign_class("pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint") as saver,
        foreign_class("pytorch_lightning.callbacks.early_stopping", "EarlyStopping") as stopper,
    ):
        callbacks = {saver: {"best_model_score": torch.tensor(3.25)}, stopper: {"wait_count": 0}}
        content = {"epoch": 11, "pytorch-lightning_version": "1.4.9", "state_dict": entries, "callbacks": callbacks}
        torch.save({**content, "optimizer_states": [], "lr_schedulers": []}, path)
    return path


def write_flame_pickle(path: Path, arrays: Mapping[str, np.ndarray] | None = None, protocol: int = 2) -> Path:
    """A `generic_model.pkl` with chumpy objects and a scipy matrix in it; neither package is needed."""
    arrays = dict(flame_arrays() if arrays is None else arrays)
    path.parent.mkdir(parents=True, exist_ok=True)
    with foreign_class("chumpy.ch", "Ch") as chumpy, foreign_class("scipy.sparse.csc", "csc_matrix") as csc:
        content: dict[str, Any] = {**arrays, "bs_style": "lbs", "bs_type": "lrotmin"}
        for name in ("shapedirs", "v_template"):
            content[name] = chumpy()
            vars(content[name]).update(x=arrays[name], _dirty_vars=set(), _itr=None)
        columns, rows = np.nonzero(arrays["J_regressor"].T)
        content["J_regressor"] = csc()
        vars(content["J_regressor"]).update(
            _shape=arrays["J_regressor"].shape,
            data=arrays["J_regressor"][rows, columns],
            indices=rows.astype(np.int32),
            indptr=np.searchsorted(columns, np.arange(arrays["J_regressor"].shape[1] + 1)).astype(np.int32),
            maxprint=50,
        )
        path.write_bytes(pickle.dumps(content, protocol))
    return path


def write_template(path: Path) -> Path:
    """A `head_template.obj` whose vertices are in another frame, as in the original."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"v {x:.6g} {y + 1.5:.6g} {z:.6g}" for x, y, z in flame_arrays()["v_template"]]
    lines += ["f " + " ".join(f"{corner}/{corner}" for corner in face) for face in (drawn_faces() + 1).tolist()]
    path.write_text("\n".join(lines) + "\n")
    return path
