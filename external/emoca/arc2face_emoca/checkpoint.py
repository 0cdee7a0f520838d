"""Reading EMOCA's Lightning checkpoint without Lightning, and accounting for every key in it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from arc2face_emoca.errors import CorruptAssetError, IncompatibleAssetError
from arc2face_emoca.flame import EXPRESSION_SIZE, FlameGeometry
from arc2face_emoca.resnet import Encoder
from arc2face_emoca.torchfile import NoTensorsError, RefusedError, read_torch_file

__all__ = ["CODE_SIZE", "Checkpoint", "checkpoint_entries", "read_checkpoint"]

CODE_SIZE = 236
"""E_flame's outputs: 100 shape, 50 texture, 50 expression, 6 pose, 3 camera, 27 light."""

_USED = ("deca.E_flame.", "deca.E_expression.")
_KNOWN_UNUSED = (
    "deca.flame.",
    "deca.render.",
    "deca.E_detail.",
    "deca.D_detail.",
    "deca.flametex.",
    "deca.perceptual_loss.",
    "deca.uv_face_eye_mask",
    "deca.fixed_uv_dis",
    "deca.displacement_mask",
)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """What a checkpoint holds that the pose picture needs.

    `flame_encoder` (236 outputs) and `expression_encoder` (50, 53 or 56), in eval mode. `geometry`: the head, None
    when the file does not carry all of it. `faces`: (F, 3) int64 drawing order, None when it is not in the file.
    `unused`: keys that belong to parts of EMOCA the pose picture does not need. `unknown`: keys of no known part.
    """

    flame_encoder: Encoder
    expression_encoder: Encoder
    geometry: FlameGeometry | None
    faces: Tensor | None
    unused: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


def _load_entries(path: Path) -> dict[str, Tensor]:
    try:
        return read_torch_file(path, foreign=True)
    except NoTensorsError as error:
        raise IncompatibleAssetError(f"{path} holds no state_dict; it is not EMOCA's checkpoint.") from error
    except RefusedError as error:
        raise CorruptAssetError(
            f"{path} could not be read as a checkpoint, and nothing in it was executed: {error}. "
            "It may be truncated or altered; fetch it again from its authors."
        ) from error
    except OSError as error:
        raise CorruptAssetError(f"{path} could not be opened: {error.strerror or error}.") from error


def read_checkpoint(path: Path | str) -> Checkpoint:
    """Read a checkpoint in EMOCA's format (`state_dict` with keys under `deca.`).

    The encoders may be of any size (see EncoderConfig.infer); their keys must be complete, with none left over.

    Raises:
        CorruptAssetError: unreadable, truncated, or refused by torch's weights-only reader.
        IncompatibleAssetError: keys are missing or unexpected, or shapes do not fit; the message names them.
    """
    path = Path(path)
    state = _load_entries(path)
    if not any(name.startswith(_USED) for name in state):
        shown = ", ".join(list(state)[:3]) or "none at all"
        raise IncompatibleAssetError(
            f"{path} is not EMOCA's checkpoint: its keys ({shown}) do not start with deca.E_flame."
        )
    floats = {name: value.float() if value.is_floating_point() else value for name, value in state.items()}
    try:
        flame, expression = (Encoder.from_state_dict(floats, prefix) for prefix in _USED)
    except IncompatibleAssetError as error:
        raise IncompatibleAssetError(f"{path} does not fit: {error}") from error
    _check_width(path, "E_flame", flame, (CODE_SIZE,))
    _check_width(path, "E_expression", expression, (EXPRESSION_SIZE, EXPRESSION_SIZE + 3, EXPRESSION_SIZE + 6))
    others = [name for name in state if not name.startswith(_USED)]
    unused = tuple(name for name in others if name.startswith(_KNOWN_UNUSED))
    unknown = tuple(name for name in others if not name.startswith(_KNOWN_UNUSED))
    if unknown:
        _log.warning("%s: %d keys of no known part were left out, the first is %s", path, len(unknown), unknown[0])
    faces = state.get("deca.render.faces")
    return Checkpoint(
        flame_encoder=flame,
        expression_encoder=expression,
        geometry=FlameGeometry.from_buffers(state) if FlameGeometry.buffers_complete(state) else None,
        faces=None if faces is None else faces.reshape(-1, 3).to(torch.int64),
        unused=unused,
        unknown=unknown,
    )


def _check_width(path: Path, name: str, encoder: Encoder, allowed: tuple[int, ...]) -> None:
    if encoder.config.outputs not in allowed:
        expected = " or ".join(str(width) for width in allowed)
        raise IncompatibleAssetError(
            f"{path}: {name} predicts {encoder.config.outputs} numbers; {expected} were expected."
        )


def checkpoint_entries(flame: nn.Module, expression: nn.Module, geometry: FlameGeometry) -> dict[str, Tensor]:
    """The `state_dict` of a file that `read_checkpoint` reads: `torch.save({"state_dict": entries}, path)`.

    Args:
        flame: an Encoder with 236 outputs.
        expression: an Encoder with 50 outputs.
        geometry: the head that goes with them.
    """
    entries: dict[str, Tensor] = {}
    for prefix, module in zip(_USED, (flame, expression), strict=True):
        entries |= {prefix + name: value.detach().cpu() for name, value in module.state_dict().items()}
    return entries | {name: value.cpu() for name, value in geometry.to_buffers().items()}
