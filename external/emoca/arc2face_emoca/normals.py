"""Vertex normals, and the picture the ControlNet was trained on."""

from __future__ import annotations

import torch
from torch import Tensor

from arc2face_emoca.raster import Fragments, interpolate

__all__ = ["normal_picture", "vertex_normals"]


def vertex_normals(verts: Tensor, faces: Tensor) -> Tensor:
    """Area-weighted normals: (B, V, 3) vertices and (F, 3) faces to (B, V, 3) float32 of length at most 1."""
    first, second, third = faces.to(verts.device, torch.int64).unbind(1)
    a, b, c = verts[:, first], verts[:, second], verts[:, third]
    total = torch.zeros_like(verts)
    total.index_add_(1, second, torch.linalg.cross(c - b, a - b, dim=2))
    total.index_add_(1, third, torch.linalg.cross(a - c, b - c, dim=2))
    total.index_add_(1, first, torch.linalg.cross(b - a, c - a, dim=2))
    return total / torch.linalg.vector_norm(total, dim=2, keepdim=True).clamp(min=1e-6)


def normal_picture(fragments: Fragments, faces: Tensor, normals: Tensor) -> Tensor:
    """Draw one head's normals.

    Args:
        fragments: of one mesh, without batch axis.
        faces: (F, 3) integer corner numbers.
        normals: (V, 3) world-space vertex normals, before camera and flips.

    Returns:
        (H, W, 3) uint8: (nx, ny, nz) from -1..1 to 0..255, truncated; background 127. Interpolated normals are not
        brought back to length 1, as in the pictures the ControlNet was trained on.
    """
    picture = interpolate(fragments, faces, normals) * 0.5 + 0.5
    return (picture.clamp(0, 1) * 255).to(torch.uint8)
