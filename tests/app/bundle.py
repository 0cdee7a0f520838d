"""A complete models folder of tiny size: random diffusion parts, working face networks, SMIRK and a FLAME head."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from tests.recipe3d import PICKLE, write_flame_pickle
from tests.smirk_weights import smirk_state
from tests.tiny_faces import blank, draw_face, write_antelopev2

GREEN, YELLOW, GREY = (40, 190, 60), (190, 180, 40), (60, 60, 60)


def make_bundle(tiny_tree: Path, root: Path) -> Path:
    """Copy the tiny tree and add what reads photos. Returns the models folder."""
    shutil.copytree(tiny_tree, root)
    models = root / "models"
    write_antelopev2(models / "antelopev2")
    (models / "smirk").mkdir()
    torch.save(smirk_state(), models / "smirk" / "SMIRK_em1.pt")
    write_flame_pickle(models / "emoca" / PICKLE)
    return models


def person_photo(path: Path, colour: tuple[int, int, int] = GREEN) -> Path:
    """A picture in which the tiny detector finds one face."""
    picture = blank(256, 256)
    draw_face(picture, 128, 120, 40, colour)
    Image.fromarray(picture).save(path)
    return path


def two_people(path: Path) -> Path:
    """A picture with a large face on the left and a smaller one on the right."""
    picture = blank(256, 420)
    draw_face(picture, 110, 120, 44, GREEN)
    draw_face(picture, 310, 120, 30, YELLOW)
    Image.fromarray(picture).save(path)
    return path


def nobody(path: Path) -> Path:
    """A picture without a face."""
    Image.fromarray(np.full((200, 200, 3), 120, np.uint8)).save(path)
    return path
