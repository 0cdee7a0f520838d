"""A models folder that can do everything at tiny size: random diffusion models, tiny face networks, a head, SMIRK."""

from __future__ import annotations

import shutil
from pathlib import Path

from safetensors.torch import save_file

from tests.recipe3d import PICKLE, write_flame_pickle
from tests.smirk_weights import smirk_state
from tests.tiny_faces import write_antelopev2

TINY = Path(__file__).parent / "data" / "tiny"


def write_reading_folder(root: Path, smirk: bool = True) -> Path:
    """The folder for `Engine.open`; `smirk=False` leaves the expression reader (100 MB) out."""
    shutil.copytree(TINY, root)
    models = root / "models"
    write_antelopev2(models / "antelopev2")
    write_flame_pickle(models / "emoca" / PICKLE)
    if smirk:
        (models / "smirk").mkdir()
        save_file({k: v.contiguous() for k, v in smirk_state().items()}, models / "smirk" / "SMIRK_em1.safetensors")
    return models
