"""The weak-perspective camera, and the way from the encoder's crop back to the whole picture."""

from __future__ import annotations

import torch
from torch import Tensor

from arc2face_emoca.crop import CROP_SIZE

__all__ = ["DEPTH_OFFSET", "project"]

DEPTH_OFFSET = 10.0


def project(verts: Tensor, cam: Tensor, tform: Tensor, size: tuple[int, int]) -> Tensor:
    """Project head vertices into a picture.

    Args:
        verts: (B, V, 3) float32, metres, y up, z towards the viewer.
        cam: (B, 3): scale s, tx, ty; x and y become s (x + tx) and s (y + ty), z becomes s z.
        tform: (B, 3, 3) picture pixels to crop pixels, as `preprocess` gives it.
        size: height and width of the picture in pixels.

    Returns:
        (B, V, 3): x right and y down, -1 to 1 across the picture; z + 10, smaller is nearer.
    """
    scale = cam[:, None, :1]
    moved = scale * torch.cat([verts[..., :2] + cam[:, None, 1:], verts[..., 2:]], dim=2)
    x, y, z = moved[..., 0], -moved[..., 1], -moved[..., 2]
    crop = torch.stack([(x * 0.5 + 0.5) * CROP_SIZE, (y * 0.5 + 0.5) * CROP_SIZE, torch.ones_like(x)], dim=2)
    pixels = torch.bmm(crop, torch.inverse(tform).transpose(1, 2))
    height, width = size
    return torch.stack([pixels[..., 0] / width * 2 - 1, pixels[..., 1] / height * 2 - 1, z + DEPTH_OFFSET], dim=2)
