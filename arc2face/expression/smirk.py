"""Reading a facial expression from a photo with SMIRK.

Source: Retsinas et al., SMIRK (CVPR 2024), as the expression adapter of Arc2Face uses it: crop of 1.4 times the face
box, 224 x 224, values 0..1 without normalisation, 50 + 2 + 3 numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from arc2face.errors import ImageError, IncompatibleWeightsError, InputError, MissingWeightsError
from arc2face.expression.network import ExpressionNet, to_adapter_order
from arc2face.faces.points import mesh_box_points
from arc2face.types import Expression, Float32Array, RgbU8

CROP_SIZE = 224
CROP_FACTOR = 1.4
KEY_PREFIX = "smirk_encoder.expression_encoder."

Float64Array = NDArray[np.float64]


def crop_transform(points: ArrayLike) -> Float64Array:
    """Similarity from picture to crop, (3, 3) float64; integer coordinates are pixel centres on both sides.

    The crop is a square of int(1.4 * mean of width and height) around the bounding box of `points`, (n, 2 or more)
    x, y in pixels: MediaPipe's mesh, or `arc2face.faces.points.mesh_box_points`.

    Raises:
        InputError: no points, NaN, or a box of less than two pixels.
    """
    array = np.asarray(points, np.float64)
    if array.ndim != 2 or array.shape[0] < 2 or array.shape[1] < 2 or not np.isfinite(array[:, :2]).all():
        raise InputError("The expression crop needs finite face points of shape (n, 2); detect the face again.")
    left, top = array[:, 0].min(), array[:, 1].min()
    right, bottom = array[:, 0].max(), array[:, 1].max()
    # the order of these operations is the original's: the truncation below depends on the last bit
    side = int(((right - left) + (bottom - top)) / 2 * CROP_FACTOR)
    if side < 2:
        raise InputError("The face is too small to read an expression; use a larger or closer picture.")
    centre = (right - (right - left) / 2.0, bottom - (bottom - top) / 2.0)
    scale = (CROP_SIZE - 1) / side
    return np.array(
        [
            [scale, 0.0, -scale * (centre[0] - side / 2)],
            [0.0, scale, -scale * (centre[1] - side / 2)],
            [0.0, 0.0, 1.0],
        ]
    )


def warp_crop(rgb_u8: RgbU8, transform: Float64Array) -> Float64Array:
    """Bilinear warp without antialiasing, (224, 224, 3) float64 in 0..255, zero outside the picture.

    The order of operations repeats scikit-image's `warp`: exact integers must come out exact, because the network
    input is truncated, not rounded.
    """
    if rgb_u8.ndim != 3 or rgb_u8.shape[2] != 3:
        raise ImageError("The expression crop needs an RGB picture of shape (height, width, 3).")
    inverse = np.linalg.inv(transform)
    axis = np.arange(CROP_SIZE, dtype=np.float64)
    rows, row_part = _sample_positions(inverse[1, 1] * axis + inverse[1, 2], rgb_u8.shape[0])
    columns, column_part = _sample_positions(inverse[0, 0] * axis + inverse[0, 2], rgb_u8.shape[1])
    padded = np.pad(rgb_u8, ((1, 1), (1, 1), (0, 0))).astype(np.float64)
    across = column_part[None, :, None]
    above = (1 - across) * padded[rows[0]][:, columns[0]] + across * padded[rows[0]][:, columns[1]]
    below = (1 - across) * padded[rows[1]][:, columns[0]] + across * padded[rows[1]][:, columns[1]]
    down = row_part[:, None, None]
    return (1 - down) * above + down * below


def _sample_positions(
    coordinates: Float64Array, size: int
) -> tuple[tuple[NDArray[np.intp], NDArray[np.intp]], Float64Array]:
    """Neighbours (as indices into an axis with one zero on each side) and the weight of the second."""
    first, second = np.floor(coordinates), np.ceil(coordinates)
    low = np.clip(first, -1, size).astype(np.intp) + 1
    high = np.clip(second, -1, size).astype(np.intp) + 1
    return (low, high), coordinates - first


def crop_points(landmarks: ArrayLike) -> Float64Array:
    """Points whose bounding box is the face box: 68 landmarks get a forehead, any others are taken as they are."""
    points = np.asarray(landmarks, np.float64)
    return mesh_box_points(points[:, :2]) if points.ndim == 2 and points.shape[0] == 68 else points


def network_input_u8(rgb_u8: RgbU8, points: ArrayLike) -> NDArray[np.uint8]:
    """What the network sees: (224, 224, 3) uint8 in **B, G, R** order; `points` as in `crop_points`.

    The reversed channel order is a quirk of the original application (an RGB array goes through a BGR-to-RGB swap);
    the expression adapter was published with it, so it is kept.
    """
    warped = warp_crop(rgb_u8, crop_transform(crop_points(points)))
    # truncated like the original cast; the clip guards against rounding just above 255
    cropped_rgb = np.clip(warped, 0, 255).astype(np.uint8)
    return np.ascontiguousarray(cropped_rgb[:, :, ::-1])


class SmirkEncoder:
    """The expression encoder, in float32 on one device."""

    def __init__(self, net: ExpressionNet, device: str | torch.device = "cpu") -> None:
        self.net = net.to(device=device, dtype=torch.float32).eval().requires_grad_(False)
        self.device = torch.device(device)

    @classmethod
    def from_file(cls, path: str | Path, device: str | torch.device = "cpu") -> SmirkEncoder:
        """Read `SMIRK_em1.pt` (all of SMIRK, or only this encoder with or without the prefix) or safetensors.

        Raises:
            MissingWeightsError: no such file.
            CorruptWeightsError: unreadable, or refused by weights-only unpickling.
            IncompatibleWeightsError: keys or shapes of another network.
        """
        return cls.from_state_dict(_read_state_dict(Path(path)), device, name=Path(path).name)

    @classmethod
    def from_state_dict(
        cls, state: Mapping[str, Tensor], device: str | torch.device = "cpu", name: str = "The SMIRK state dict"
    ) -> SmirkEncoder:
        """Strict: every key of the encoder must be there, none may be left over."""
        chosen = {key.split(KEY_PREFIX, 1)[1]: value for key, value in state.items() if KEY_PREFIX in key}
        if not chosen:
            chosen = dict(state)
        net = ExpressionNet().to(torch.float32)  # whatever torch.set_default_dtype says
        _check_keys(net, chosen, name)
        net.load_state_dict(chosen, strict=True)
        return cls(net, device)

    @torch.inference_mode()
    def encode(self, crops_bgr_u8: NDArray[np.uint8]) -> Float32Array:
        """(B, 224, 224, 3) uint8 from `network_input_u8` -> (B, 55) float32 in the adapter's order."""
        if crops_bgr_u8.ndim != 4 or crops_bgr_u8.shape[1:] != (CROP_SIZE, CROP_SIZE, 3):
            raise InputError(f"The expression encoder takes crops of shape (n, 224, 224, 3), not {crops_bgr_u8.shape}.")
        batch = torch.from_numpy(np.ascontiguousarray(crops_bgr_u8)).to(self.device)
        batch = batch.permute(0, 3, 1, 2).contiguous().to(torch.float32) / 255.0
        return to_adapter_order(self.net(batch)).cpu().numpy()

    def read(self, rgb_u8: RgbU8, points: ArrayLike) -> Expression:
        """Expression of the face with these landmarks (n, 2 or more), see `crop_points`. Not limited to any range."""
        return Expression(self.encode(network_input_u8(rgb_u8, points)[None])[0])


def read_expression(rgb_u8: RgbU8, landmarks: ArrayLike, encoder: SmirkEncoder) -> Expression:
    """Expression of one face: (H, W, 3) uint8 RGB and its landmarks, MediaPipe's mesh (478, 2 or 3) or (68, 2)."""
    return encoder.read(rgb_u8, landmarks)


def _read_state_dict(path: Path) -> Mapping[str, Tensor]:
    if not path.is_file():
        raise MissingWeightsError(
            f"The expression encoder {path.name} is missing. Fetch it with: arc2face download expression"
        )
    from arc2face.weights.store import load_state_dict

    return load_state_dict(path)


def _check_keys(net: ExpressionNet, state: Mapping[str, Tensor], name: str) -> None:
    expected = {key: tuple(value.shape) for key, value in net.state_dict().items()}
    missing = sorted(expected.keys() - state.keys())
    surplus = sorted(state.keys() - expected.keys())
    shapes = sorted(key for key in expected.keys() & state.keys() if tuple(state[key].shape) != expected[key])
    if not (missing or surplus or shapes):
        return
    parts = [
        f"{len(keys)} {label} (first: {keys[0]})"
        for label, keys in (("missing", missing), ("unknown", surplus), ("of another shape", shapes))
        if keys
    ]
    raise IncompatibleWeightsError(
        f"{name} is not SMIRK's expression encoder: {'; '.join(parts)}. Fetch it with: arc2face download expression"
    )
