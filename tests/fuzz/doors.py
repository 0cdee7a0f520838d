"""The doors that files and numbers of strangers come through, as the library, the page and the command line use them.

A door either takes its input or refuses it with an error of our trees; everything else that happens is a fault.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tests.fuzz import mutate, requests, seeds

CORPUS = seeds.DATA / "cases"


@dataclass(frozen=True, slots=True)
class Door:
    """`enter`: gives a file to the door. `write`: writes valid files. `change`: spoils one, its container kept whole.

    `names`: how the names of its files in the corpus begin.
    """

    name: str
    names: tuple[str, ...]
    write: seeds.Write
    enter: Callable[[Path], object]
    change: mutate.Change


def changed(door: Door, rng: random.Random, data: bytes, others: list[bytes]) -> bytes:
    """One input made from a valid file."""
    change = door.change if rng.random() < 0.6 else lambda rng, data: mutate.blind(rng, data, others)
    return change(rng, data)[: mutate.MAX_BYTES]


def kind_of(path: Path) -> str:
    """`x.bundle.json` is a bundle.json: what follows the first dot says what the file stands for."""
    return path.name.partition(".")[2]


def _picture(path: Path) -> None:
    from arc2face.pictures.loading import as_rgb_u8, load_rgb_u8

    rgb = load_rgb_u8(path)
    assert rgb.ndim == 3 and rgb.shape[2] == 3 and rgb.dtype.name == "uint8" and rgb.flags.c_contiguous
    if rgb.size < 1 << 20:
        assert (as_rgb_u8(path.read_bytes()) == rgb).all()


def _identity(path: Path) -> None:
    import numpy as np

    from arc2face.faces.identities import load_identity

    identity, warnings = load_identity(path, "b" * 64)
    assert identity.vector.shape == (512,) and np.isfinite(np.linalg.norm(identity.vector))
    json.dumps([identity.recogniser_sha256, identity.photos, *warnings], ensure_ascii=False).encode()


def _recipe(path: Path) -> None:
    from arc2face.pictures.recipes import read_recipe, request_from_recipe

    if path.suffix == ".json":
        try:
            recipe = json.loads(path.read_bytes())
        except (ValueError, RecursionError):
            return
    else:
        recipe = read_recipe(path)
        json.dumps(recipe, ensure_ascii=False).encode()
    request = request_from_recipe(recipe)
    assert isinstance(request.identity.recogniser_sha256, str | None) and isinstance(request.identity.photos, int)


def _expression(path: Path) -> None:
    import numpy as np

    from arc2face.expression.values import load_expression

    assert np.isfinite(load_expression(path).values).all()


def _from_dict(path: Path) -> None:
    from arc2face.expression.values import from_dict, to_dict

    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return
    from_dict(to_dict(from_dict(value)))


def _models(path: Path) -> None:
    import torch

    from arc2face.diffusion import loading
    from arc2face.weights.folder import ModelsFolder

    kind = kind_of(path)
    place = _tree() / seeds.MODEL_FILES[kind]
    shutil.copy(path, place)
    folder = ModelsFolder(_tree() / "models", (_tree() / "stable-diffusion-v1-5",))
    load: dict[str, Callable[[], object]] = {
        "bundle.json": lambda: folder.kind,
        "unet.json": lambda: (loading.picture_side(folder), loading.load_unet(folder, torch.float32)),
        "encoder.json": lambda: loading.load_text_encoder(folder, torch.float32),
        "controlnet.json": lambda: loading.load_controlnet(folder, torch.float32),
        "vae.json": lambda: loading.load_vae(folder, torch.float32),
        "scheduler.json": lambda: _schedulers(loading.load_scheduler_config(folder)),
    }
    try:
        load.get(kind, lambda: loading.load_tokenizer(folder))()
    finally:
        shutil.copy(seeds.TINY / seeds.MODEL_FILES[kind], place)


def _schedulers(config: dict[str, Any]) -> None:
    from arc2face.diffusion.schedulers import make_scheduler
    from arc2face.settings import SCHEDULERS

    for name in SCHEDULERS:
        make_scheduler(name, config, 6, "cpu")


@cache
def _tree() -> Path:
    """A private copy of the tiny tree."""
    return Path(shutil.copytree(seeds.TINY, Path(os.environ["ARC2FACE_CACHE"]).parent / "tree"))


def _checkpoint(path: Path) -> None:
    from arc2face.weights.store import load_state_dict

    if path.name.endswith(".index.json") and not (path.parent / "part.safetensors").exists():
        import torch
        from safetensors.torch import save_file

        parts = {"a.weight": torch.zeros(3, 4), "a.bias": torch.zeros(3)}
        save_file(parts, path.parent / "part.safetensors")
    for name, tensor in load_state_dict(path).items():
        name.encode()
        tensor.sum()


def _flame(path: Path) -> None:
    import arc2face_emoca as emoca

    emoca.read_plain_pickle(path)
    emoca.FlameGeometry.from_pickle(path)


def _emoca(path: Path) -> None:
    import arc2face_emoca as emoca

    emoca.read_checkpoint(path)


def _smirk(path: Path) -> None:
    from arc2face.expression.smirk import SmirkEncoder

    SmirkEncoder.from_file(path)


def _onnx(path: Path) -> None:
    from arc2face.faces.analyser import FaceAnalyser
    from tests.tiny_faces import blank, draw_face

    kind = kind_of(path).partition(".")[0]
    files = {name: path if name == kind else _networks() / f"tiny.{name}.onnx" for name in _NETWORKS}
    analyser = FaceAnalyser(*(files[name] for name in _NETWORKS))
    picture = blank(128, 128)
    draw_face(picture, 64, 60, 24)
    for face in analyser.detect(picture)[:1]:
        analyser.analyse(picture, face, landmarks=True)


_NETWORKS = ("detector", "recogniser", "landmarks")


@cache
def _networks() -> Path:
    folder = Path(os.environ["ARC2FACE_CACHE"]).parent / "networks"
    folder.mkdir()
    seeds.networks(folder)
    return folder


_zip_npy = mutate.change_zip(mutate.change_npy)
_zip_pickle = mutate.change_zip(mutate.change_pickle)


def _picture_change(rng: random.Random, data: bytes) -> bytes:
    return (mutate.change_png if data.startswith(b"\x89PNG") else mutate.change_jpeg)(rng, data)


def _identity_change(rng: random.Random, data: bytes) -> bytes:
    return (_zip_npy if data.startswith(b"PK") else mutate.change_npy)(rng, data)


def _recipe_change(rng: random.Random, data: bytes) -> bytes:
    return (mutate.change_png if data.startswith(b"\x89PNG") else mutate.change_json)(rng, data)


def _checkpoint_change(rng: random.Random, data: bytes) -> bytes:
    if data.startswith(b"PK"):
        return _zip_pickle(rng, data)
    if data.startswith(b"{"):
        return mutate.change_json(rng, data)
    return (mutate.change_pickle if data.startswith(b"\x80") else mutate.change_safetensors)(rng, data)


_PICTURES = ("picture--", "person", "noeoi", "rot90", "jpeg-", "rgb16")
_CHECKPOINTS = ("checkpoint--", "bin--", "safetensors--")
DOORS: dict[str, Door] = {
    door.name: door
    for door in (
        Door("picture", _PICTURES, seeds.pictures, _picture, _picture_change),
        Door("identity", ("identity",), seeds.identities, _identity, _identity_change),
        Door("recipe", ("recipe", "read_recipe", "request_from_recipe"), seeds.recipes, _recipe, _recipe_change),
        Door("expression", ("expression--",), seeds.expressions, _expression, mutate.change_json),
        Door("values", ("values--",), seeds.expressions, _from_dict, mutate.change_json),
        Door("models", ("models--",), seeds.models, _models, mutate.change_json),
        Door("checkpoint", _CHECKPOINTS, seeds.checkpoints, _checkpoint, _checkpoint_change),
        Door("flame", ("flame",), seeds.flame_pickles, _flame, mutate.change_pickle),
        Door("emoca", ("emoca",), seeds.emoca_checkpoints, _emoca, _checkpoint_change),
        Door("smirk", ("smirk",), seeds.smirk_weights, _smirk, _checkpoint_change),
        Door("onnx", ("onnx--",), seeds.networks, _onnx, mutate.change_onnx),
        Door("api", ("api--",), requests.write, requests.enter, requests.change),
    )
}  # fmt: skip
"""By name."""
HEAVY = ("models", "emoca", "smirk", "onnx", "api")
"""Doors behind which whole networks are loaded or run, up to a tenth of a second per input."""


def door_of(case: Path) -> Door:
    """The door that a file of the corpus belongs to, by the beginning of its name."""
    return next(door for door in DOORS.values() if case.name.startswith(door.names))
