"""The whole path: crops to codes, codes to the normal picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from arc2face_emoca.camera import project
from arc2face_emoca.crop import CROP_SIZE
from arc2face_emoca.errors import UsageError
from arc2face_emoca.flame import EXPRESSION_SIZE, POSE_SIZE, SHAPE_SIZE, FlameGeometry, FlameLayer
from arc2face_emoca.normals import normal_picture, vertex_normals
from arc2face_emoca.raster import Backend, rasterize
from arc2face_emoca.resnet import Encoder

__all__ = ["Codes", "Decoded", "Emoca"]


class Codes(NamedTuple):
    """What the encoders read off B crops, float32.

    `shape` (B, 100), `tex` (B, 50), `exp` (B, 50; from E_expression), `pose` (B, 6): global rotation and jaw,
    axis-angle in radians, `cam` (B, 3): scale, tx, ty, `light` (B, 9, 3).
    """

    shape: Tensor
    tex: Tensor
    exp: Tensor
    pose: Tensor
    cam: Tensor
    light: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """B heads and their pictures.

    `verts` (B, V, 3) metres, world space; `normals` (B, V, 3) of those; `projected` (B, V, 3): x right, y down, -1 to
    1 across the picture, z + 10; `pix_to_face` (B, H, W) int64, -1 background; `zbuf` (B, H, W) and `bary`
    (B, H, W, 3) float32, -1 background; `normal_map` (B, H, W, 3) uint8 RGB, background 127.
    """

    verts: Tensor
    normals: Tensor
    projected: Tensor
    pix_to_face: Tensor
    zbuf: Tensor
    bary: Tensor
    normal_map: Tensor


class Emoca:
    """Encoders and head in memory. Build it with `emoca.load`, or from parts.

    `geometry` alone is enough for `decode`; `encode` needs both encoders. `expression_extras` says whether a wider
    expression head also predicts the global rotation and the jaw.
    """

    def __init__(
        self,
        geometry: FlameGeometry,
        flame_encoder: Encoder | None = None,
        expression_encoder: Encoder | None = None,
        *,
        expression_extras: tuple[bool, bool] = (False, False),
        backend: Backend = "torch",
    ) -> None:
        self.flame = FlameLayer(geometry)
        self.flame_encoder = flame_encoder
        self.expression_encoder = expression_encoder
        self.expression_extras = expression_extras
        self.backend: Backend = backend

    @property
    def geometry(self) -> FlameGeometry:
        """The head: template, bases, joints, faces."""
        return self.flame.geometry

    @property
    def device(self) -> torch.device:
        """Where everything lies."""
        return self.geometry.v_template.device

    def to(self, device: torch.device | str) -> Emoca:
        """Move everything, in place for the encoders."""
        self.flame = FlameLayer(self.geometry.to(device))
        for encoder in (self.flame_encoder, self.expression_encoder):
            if encoder is not None:
                encoder.to(device)
        return self

    @torch.inference_mode()
    def encode(self, crops: Any) -> Codes:
        """Read codes off crops.

        Args:
            crops: (B, 3, 224, 224) or (3, 224, 224) float32 RGB in 0..1, tensor or array, from `preprocess`.

        Raises:
            UsageError: wrong shape, or this object was built without encoders.
        """
        if self.flame_encoder is None or self.expression_encoder is None:
            raise UsageError("This Emoca has a head but no encoders; load a checkpoint to read photos.")
        pixels = self._tensor(crops)
        pixels = pixels[None] if pixels.ndim == 3 else pixels
        if pixels.ndim != 4 or tuple(pixels.shape[1:]) != (3, CROP_SIZE, CROP_SIZE):
            raise UsageError(f"Crops must be (B, 3, {CROP_SIZE}, {CROP_SIZE}), not {tuple(pixels.shape)}.")
        shape, tex, _, pose, cam, light = self.flame_encoder(pixels).split([100, 50, 50, 6, 3, 27], dim=1)
        predicted = self.expression_encoder(pixels)
        return Codes(shape, tex, predicted[:, :EXPRESSION_SIZE], self._pose(pose, predicted), cam, light.view(-1, 9, 3))

    def _pose(self, pose: Tensor, predicted: Tensor) -> Tensor:
        turn, jaw = self.expression_extras
        extra = predicted[:, EXPRESSION_SIZE:]
        parts = [extra[:, :3] if turn else pose[:, :3], extra[:, -3:] if jaw else pose[:, 3:]]
        return torch.cat(parts, dim=1)

    @torch.inference_mode()
    def decode(
        self, shape: Any, exp: Any, pose: Any, cam: Any, tform: Any, size: int | tuple[int, int] = 512
    ) -> Decoded:
        """Draw heads.

        Args:
            shape: (B, 100); exp: (B, 50); pose: (B, 6); cam: (B, 3); tform: (B, 3, 3) picture to crop. Tensors or
                arrays; one without batch axis counts as a batch of one.
            size: side in pixels of the picture `tform` belongs to, or (height, width).

        Raises:
            UsageError: wrong shapes.
        """
        widths = (SHAPE_SIZE, EXPRESSION_SIZE, POSE_SIZE, 3)
        names = ("shape", "exp", "pose", "cam")
        codes = [self._batch(v, (w,), n) for v, w, n in zip((shape, exp, pose, cam), widths, names, strict=True)]
        transform = self._batch(tform, (3, 3), "tform")
        if len({len(value) for value in (*codes, transform)}) != 1:
            raise UsageError("shape, exp, pose, cam and tform must have the same batch size.")
        return self.draw(self.flame(*codes[:3]), codes[3], transform, size)

    @torch.inference_mode()
    def draw(self, verts: Tensor, cam: Tensor, tform: Tensor, size: int | tuple[int, int]) -> Decoded:
        """The second half of `decode`, for (B, V, 3) vertices already posed."""
        height, width = (size, size) if isinstance(size, int) else size
        faces = self.geometry.faces
        normals = vertex_normals(verts, faces)
        projected = project(verts, cam, tform, (height, width))
        shorter = min(height, width)
        stretch = projected.new_tensor([width / shorter, height / shorter, 1.0])  # all ones for a square
        fragments = rasterize(projected * stretch, faces, (height, width), frame="image", backend=self.backend)
        pictures = [
            normal_picture(type(fragments)(*(field[i] for field in fragments)), faces, normals[i])
            for i in range(len(verts))
        ]
        return Decoded(verts, normals, projected, *fragments, torch.stack(pictures))

    def _tensor(self, values: Any) -> Tensor:
        tensor = values if isinstance(values, Tensor) else torch.from_numpy(np.array(values, np.float32))
        return tensor.to(self.device, torch.float32)

    def _batch(self, values: Any, shape: Sequence[int], name: str) -> Tensor:
        tensor = self._tensor(values)
        tensor = tensor[None] if tensor.ndim == len(shape) else tensor
        if tuple(tensor.shape[1:]) != tuple(shape) or tensor.ndim != len(shape) + 1:
            raise UsageError(f"{name} must be (B, {', '.join(map(str, shape))}), not {tuple(tensor.shape)}.")
        if not bool(torch.isfinite(tensor).all()):
            raise UsageError(f"{name} holds NaN or infinite numbers.")
        return tensor
