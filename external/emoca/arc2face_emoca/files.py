"""Where the licensed files lie, and what to say when they do not."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from arc2face_emoca.errors import CorruptAssetError, IncompatibleAssetError, MissingAssetError

__all__ = ["MODEL_NAME", "AssetFiles", "missing_message", "read_expression_flags", "read_template_faces"]

MODEL_NAME = "EMOCA_v2_lr_mse_20"
_MODEL = Path("EMOCA/models") / MODEL_NAME
_FLAME = Path("FLAME/geometry")
_MAX_TEXT = 64 << 20
_MAX_VERTICES = 10_000_000
_FLAGS = ("exp_deca_global_pose", "exp_deca_jaw_pose")


@dataclass(frozen=True, slots=True)
class AssetFiles:
    """The files of one installation; None where a file was not found.

    `checkpoint`: the Lightning file of the detail stage. `config`: its `cfg.yaml` (read only for unusual heads).
    `flame`: `generic_model.pkl`, needed only when the checkpoint does not carry the head. `template`:
    `head_template.obj`, used only for its face order, and only when the checkpoint does not carry that.
    """

    checkpoint: Path | None = None
    config: Path | None = None
    flame: Path | None = None
    template: Path | None = None

    @classmethod
    def find(cls, folders: Path | str | Iterable[Path | str]) -> AssetFiles:
        """Look for each file in the original asset tree under one or several folders; the first find wins.

        A path to a `.ckpt` or `.pkl` file itself is accepted in place of a folder.
        """
        many = [folders] if isinstance(folders, str | Path) else list(folders)
        found = [cls._in(Path(folder)) for folder in many]

        def first(name: str) -> Path | None:
            return next((path for files in found if (path := getattr(files, name)) is not None), None)

        return cls(first("checkpoint"), first("config"), first("flame"), first("template"))

    @classmethod
    def _in(cls, folder: Path) -> AssetFiles:
        if folder.is_file():
            is_pickle = folder.suffix == ".pkl"
            return cls(checkpoint=None if is_pickle else folder, flame=folder if is_pickle else None)
        names = {
            "config": _MODEL / "cfg.yaml",
            "flame": _FLAME / "generic_model.pkl",
            "template": _FLAME / "head_template.obj",
        }
        others = {key: folder / name for key, name in names.items() if (folder / name).is_file()}
        return cls(checkpoint=_best_checkpoint(folder / _MODEL / "detail" / "checkpoints"), **others)


def missing_message(what: str, folders: Sequence[Path | str]) -> str:
    """One paragraph: which file is missing, where to register for it, and where to put it."""
    place = str(folders[0]) if folders else "the assets folder"
    return (
        f"{what} is missing. It is licensed for non-commercial research and cannot be downloaded for you: register "
        "and accept the licences at https://flame.is.tue.mpg.de and https://emoca.is.tue.mpg.de, download "
        f"{MODEL_NAME} and the FLAME assets there, and unpack them so that {place} holds "
        f"{_MODEL.as_posix()}/detail/checkpoints/...ckpt and {_FLAME.as_posix()}/generic_model.pkl."
    )


def require(path: Path | None, what: str, folders: Sequence[Path | str]) -> Path:
    """Return `path`, or raise MissingAssetError with the full instructions."""
    if path is None:
        raise MissingAssetError(missing_message(what, folders))
    return path


def _best_checkpoint(folder: Path) -> Path | None:
    """The checkpoint with the smallest validation loss: the number after the last '=' of its name."""
    candidates = [path for path in sorted(folder.rglob("*.ckpt")) if path.is_file() and "last" not in path.name]
    return min(candidates, key=_loss, default=None)


def _loss(path: Path) -> float:
    match = re.search(r"=(-?\d+(?:\.\d+)?)(?:-v\d+)?\.ckpt$", path.name)
    return float(match[1]) if match else float("inf")


def read_template_faces(path: Path) -> Tensor:
    """Read the triangles of an OBJ file: (F, 3) int64, counted from 0. Vertex positions are ignored on purpose.

    Raises:
        CorruptAssetError: unreadable, or without triangles.
    """
    faces: list[list[int]] = []
    try:
        _check_size(path)
        with path.open(encoding="latin1") as lines:
            for line in lines:
                if line.startswith("f "):
                    faces.append([int(corner.split("/")[0]) - 1 for corner in line.split()[1:]])
    except (OSError, ValueError) as error:
        raise CorruptAssetError(f"{path} is not a readable OBJ file ({error}).") from error
    corners = {corner for face in faces for corner in face}
    if not faces or any(len(face) != 3 for face in faces) or min(corners) < 0 or max(corners) >= _MAX_VERTICES:
        raise CorruptAssetError(f"{path} does not hold a triangle mesh; use the head_template.obj of the FLAME assets.")
    return torch.tensor(faces, dtype=torch.int64)


def read_expression_flags(config: Path | None, width: int) -> tuple[bool, bool]:
    """What a wider expression head predicts besides its 50 numbers: (global rotation, jaw).

    Args:
        config: the model's `cfg.yaml`, or None.
        width: outputs of the expression head: 50, 53 or 56.

    Raises:
        IncompatibleAssetError: the width is unknown, or the file does not say what the extra numbers are.
    """
    if width == 50:
        return False, False
    flags = _detail_flags(config) if config is not None else {}
    turn, jaw = (flags.get(name, False) for name in _FLAGS)
    if width != 50 + 3 * (turn + jaw):
        raise IncompatibleAssetError(
            f"The expression head has {width} outputs; 50 were expected. The extra numbers are read only when the "
            f"model's cfg.yaml says what they are ({_FLAGS[0]}, {_FLAGS[1]}); use {MODEL_NAME}."
        )
    return turn, jaw


def _detail_flags(config: Path) -> dict[str, bool]:
    """The two flags from the `detail` block of a plain YAML file, which is the later of its two blocks."""
    flags: dict[str, bool] = {}
    block = ""
    try:
        _check_size(config)
        text = config.read_text(encoding="utf-8", errors="replace")
    except (OSError, ValueError) as error:
        raise CorruptAssetError(f"{config} cannot be read ({error}).") from error
    for line in text.splitlines():
        if line[:1].isalpha():
            block = line.split(":")[0].strip()
        name, _, value = line.strip().partition(":")
        if block == "detail" and name in _FLAGS:
            flags[name] = value.split("#")[0].strip().lower() in ("true", "yes", "on")
    return flags


def _check_size(path: Path) -> None:
    if path.stat().st_size > _MAX_TEXT:
        raise ValueError(f"it is larger than {_MAX_TEXT >> 20} MB")
