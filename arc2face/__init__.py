"""Arc2Face: new pictures of the same person.

Names are resolved on first use, so `import arc2face` pulls in neither torch nor diffusers.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import arc2face.quiet  # noqa: F401 # pyright: ignore[reportUnusedImport] - first: libraries read it at import

if TYPE_CHECKING:
    from arc2face.compat import CLIPTextModelWrapper, ReferenceAdapter, project_face_embs
    from arc2face.engine import Engine
    from arc2face.errors import Arc2FaceError
    from arc2face.faces.alignment import image_align
    from arc2face.faces.identities import IdentityReport, load_identity, save_identity
    from arc2face.faces.pasteback import paste_back
    from arc2face.pictures.animation import save_animation
    from arc2face.pictures.enlarge import enlarge, enlarge_png
    from arc2face.pictures.loading import load_rgb_u8
    from arc2face.pictures.recipes import read_recipe, request_from_recipe, save_png
    from arc2face.types import (
        Expression,
        ExpressionCondition,
        GeneratedImage,
        GenerationRequest,
        GenerationResult,
        IdentityEmbedding,
        NegativeIdentity,
        PoseCondition,
        Progress,
        ReferenceCondition,
    )

_HOMES = {
    "faces.alignment": ("image_align",),
    "compat": ("CLIPTextModelWrapper", "ReferenceAdapter", "project_face_embs"),
    "engine": ("Engine",),
    "errors": ("Arc2FaceError",),
    "faces.identities": ("IdentityReport", "load_identity", "save_identity"),
    "pictures.animation": ("save_animation",),
    "pictures.enlarge": ("enlarge", "enlarge_png"),
    "pictures.loading": ("load_rgb_u8",),
    "faces.pasteback": ("paste_back",),
    "pictures.recipes": ("read_recipe", "request_from_recipe", "save_png"),
    "types": (
        "Expression",
        "ExpressionCondition",
        "GeneratedImage",
        "GenerationRequest",
        "GenerationResult",
        "IdentityEmbedding",
        "NegativeIdentity",
        "PoseCondition",
        "Progress",
        "ReferenceCondition",
    ),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Arc2FaceError",
    "CLIPTextModelWrapper",
    "Engine",
    "Expression",
    "ExpressionCondition",
    "GeneratedImage",
    "GenerationRequest",
    "GenerationResult",
    "IdentityEmbedding",
    "IdentityReport",
    "NegativeIdentity",
    "PoseCondition",
    "Progress",
    "ReferenceAdapter",
    "ReferenceCondition",
    "enlarge",
    "enlarge_png",
    "image_align",
    "load_identity",
    "load_rgb_u8",
    "paste_back",
    "project_face_embs",
    "read_recipe",
    "request_from_recipe",
    "save_animation",
    "save_identity",
    "save_png",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'arc2face' has no attribute {name!r}")
    return getattr(import_module(f"arc2face.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
