"""A triangle rasteriser in plain torch, with the rules of PyTorch3D's `rasterize_meshes` to the last bit.

Rules (blur radius 0, one face per pixel, no perspective correction, float32 without fused multiply-adds):
a face counts when its signed area exceeds 1e-8 in size, whatever its winding; a pixel belongs to it when its centre
lies strictly inside, so a centre exactly on a shared edge belongs to neither face; points behind z = 0 are left out;
the smallest z wins and on equal z the lower face number.

How: faces are grouped by the size of their bounding boxes, rounded up to powers of two. The three edge functions
are sums of a row and a column term, so a whole group costs three broadcast subtractions. Only the pixels that pass
are computed exactly, and a scatter of (depth, face number) packed into one integer resolves visibility.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from emoca.errors import UsageError

__all__ = ["Backend", "Fragments", "Frame", "interpolate", "rasterize"]

Backend = Literal["torch", "pytorch3d"]
Frame = Literal["pytorch3d", "image"]

_EPSILON = 1e-8
_GROUP_PIXELS = 2**21
_FAR = torch.iinfo(torch.int64).max


class Fragments(NamedTuple):
    """What each pixel shows; background is -1 throughout.

    `pix_to_face` ([B,] H, W) int64 face number; `zbuf` ([B,] H, W) float32 depth; `bary` ([B,] H, W, 3) float32
    barycentric weights of the three corners. Row 0 is the top of the picture.
    """

    pix_to_face: Tensor
    zbuf: Tensor
    bary: Tensor


def rasterize(
    verts: Tensor,
    faces: Tensor,
    size: int | tuple[int, int],
    *,
    frame: Frame = "pytorch3d",
    backend: Backend = "torch",
) -> Fragments:
    """Find the visible triangle of every pixel.

    Args:
        verts: (V, 3) or (B, V, 3) float32; -1 to 1 across a square picture, smaller z is nearer. In a picture that
            is not square the shorter side spans -1 to 1.
        faces: (F, 3) integer corner numbers, shared by the batch.
        size: side in pixels, or (height, width).
        frame: "pytorch3d" has +x left and +y up, as `rasterize_meshes` wants it; "image" has +x right and +y down.
        backend: "pytorch3d" calls that package, where it is installed; on a CPU it takes far longer.

    Returns:
        The fragments, without batch axis when `verts` has none, on the device of `verts`.

    Raises:
        UsageError: wrong shapes, a corner number outside the mesh, or a backend that is not installed.
    """
    height, width = (size, size) if isinstance(size, int) else size
    _check(verts, faces, height, width)
    if frame == "image":
        verts = verts * verts.new_tensor([-1.0, -1.0, 1.0])
    many = verts if verts.ndim == 3 else verts[None]
    if backend == "pytorch3d":
        result = _with_pytorch3d(many, faces, height, width)
    else:
        parts = [_one_mesh(mesh, faces.to(torch.int64), height, width) for mesh in many.to(torch.float32)]
        result = Fragments(*(torch.stack(field) for field in zip(*parts, strict=True)))
    return result if verts.ndim == 3 else Fragments(*(field[0] for field in result))


def interpolate(fragments: Fragments, faces: Tensor, attributes: Tensor) -> Tensor:
    """Blend a per-vertex attribute over the visible triangles; background is 0.

    Args:
        fragments: of one mesh, without batch axis.
        faces: (F, 3) integer corner numbers.
        attributes: (V, C) float32.

    Returns:
        (H, W, C) float32.
    """
    height, width = fragments.pix_to_face.shape
    flat = fragments.pix_to_face.reshape(-1)
    covered = torch.nonzero(flat >= 0)[:, 0]
    corners = faces.to(torch.int64)[flat[covered]]
    weights = fragments.bary.reshape(-1, 3)[covered]
    value = weights[:, :1] * attributes[corners[:, 0]] + weights[:, 1:2] * attributes[corners[:, 1]]
    value += weights[:, 2:] * attributes[corners[:, 2]]
    picture = attributes.new_zeros((height * width, attributes.shape[1]))
    picture[covered] = value
    return picture.view(height, width, -1)


def _check(verts: Tensor, faces: Tensor, height: int, width: int) -> None:
    if verts.ndim not in (2, 3) or verts.shape[-1] != 3:
        raise UsageError(f"Vertices must be (V, 3) or (B, V, 3), not {tuple(verts.shape)}.")
    if faces.ndim != 2 or faces.shape[1] != 3:
        raise UsageError(f"Faces must be (F, 3), not {tuple(faces.shape)}.")
    if len(faces) and (int(faces.min()) < 0 or int(faces.max()) >= verts.shape[-2]):
        raise UsageError(f"A face names a vertex outside the mesh of {verts.shape[-2]} vertices.")
    if min(height, width) < 1:
        raise UsageError(f"The picture size must be positive, not {height} x {width}.")


def _edge(px: Tensor, py: Tensor, ax: Tensor, ay: Tensor, bx: Tensor, by: Tensor) -> Tensor:
    """Twice the signed area of (p, a, b). The order of operations decides the last bit; keep it."""
    return (px - ax) * (by - ay) - (py - ay) * (bx - ax)


class _Faces:
    """Per-face numbers of one mesh, each (F,) float32, after the faces that never count are dropped."""

    def __init__(self, verts: Tensor, faces: Tensor) -> None:
        corners = verts[faces]
        (x0, y0, z0), (x1, y1, z1), (x2, y2, z2) = (corners[:, i].unbind(1) for i in range(3))
        signed = _edge(x0, y0, x1, y1, x2, y2)
        counts = (signed.abs().double() > _EPSILON) & (corners[..., 2].amin(1).double() >= _EPSILON)
        counts &= torch.isfinite(corners).all(dim=2).all(dim=1)
        self.number = torch.nonzero(counts)[:, 0]
        self.corner = [[value[self.number] for value in c] for c in ((x0, y0, z0), (x1, y1, z1), (x2, y2, z2))]
        (x0, y0, _), (x1, y1, _), (x2, y2, _) = self.corner
        self.area = (_edge(x2, y2, x0, y0, x1, y1).double() + _EPSILON).float()
        self.low_x, self.high_x = torch.minimum(torch.minimum(x0, x1), x2), torch.maximum(torch.maximum(x0, x1), x2)
        self.low_y, self.high_y = torch.minimum(torch.minimum(y0, y1), y2), torch.maximum(torch.maximum(y0, y1), y2)


def _centres(count: int, other: int, device: torch.device) -> tuple[Tensor, float]:
    """Pixel centres along one axis, from the far end back (index 0 of the picture has the largest), and the range."""
    span = torch.tensor(2.0 * count / other if count > other else 2.0, dtype=torch.float32, device=device)
    index = torch.arange(count - 1, -1, -1, dtype=torch.float32, device=device)
    return -(span / 2) + (span * index + span / 2) / count, float(span)


def _one_mesh(verts: Tensor, faces: Tensor, height: int, width: int) -> Fragments:
    device = verts.device
    mesh = _Faces(verts, faces)
    xs, span_x = _centres(width, height, device)
    ys, span_y = _centres(height, width, device)
    nearest = torch.full((height * width,), _FAR, dtype=torch.int64, device=device)
    for face, pixel in _candidates(mesh, xs, ys, span_x, span_y):
        x, y = xs[pixel % width], ys[torch.div(pixel, width, rounding_mode="floor")]
        z, _, inside = _exact(mesh, face, x, y)
        inside &= (x >= mesh.low_x[face]) & (x <= mesh.high_x[face])
        inside &= (y >= mesh.low_y[face]) & (y <= mesh.high_y[face])
        depth = (z + 0.0).view(torch.int32).to(torch.int64)  # non-negative floats sort like their bits
        key = torch.where(inside, (depth << 32) | mesh.number[face], _FAR)
        nearest.scatter_reduce_(0, pixel, key, "amin")
    return _fragments(mesh, nearest, len(faces), xs, ys)


def _fragments(mesh: _Faces, nearest: Tensor, count: int, xs: Tensor, ys: Tensor) -> Fragments:
    """Unpack the winners and compute their weights again, by the same arithmetic."""
    height, width = len(ys), len(xs)
    covered = torch.nonzero(nearest != _FAR)[:, 0]
    number = nearest[covered] & 0xFFFFFFFF
    position = torch.zeros(max(count, 1), dtype=torch.int64, device=nearest.device)
    position[mesh.number] = torch.arange(len(mesh.number), device=nearest.device)
    x, y = xs[covered % width], ys[torch.div(covered, width, rounding_mode="floor")]
    z, weights, _ = _exact(mesh, position[number], x, y)
    pix_to_face = torch.full_like(nearest, -1)
    zbuf = torch.full((height * width,), -1.0, device=nearest.device)
    bary = torch.full((height * width, 3), -1.0, device=nearest.device)
    pix_to_face[covered], zbuf[covered], bary[covered] = number, z, torch.stack(weights, dim=1)
    return Fragments(pix_to_face.view(height, width), zbuf.view(height, width), bary.view(height, width, 3))


def _exact(mesh: _Faces, face: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, list[Tensor], Tensor]:
    """Depth, the three weights and coverage at the points (x, y), one face each."""
    corner = [[value[face] for value in c] for c in mesh.corner]
    area = mesh.area[face]
    weights: list[Tensor] = []
    for a, b in ((1, 2), (2, 0), (0, 1)):
        (ax, ay, _), (bx, by, _) = corner[a], corner[b]
        weights.append(_edge(x, y, ax, ay, bx, by) / area)
    z = weights[0] * corner[0][2] + weights[1] * corner[1][2] + weights[2] * corner[2][2]
    inside = (weights[0] > 0) & (weights[1] > 0) & (weights[2] > 0) & (z >= 0)
    return z, weights, inside


def _candidates(mesh: _Faces, xs: Tensor, ys: Tensor, span_x: float, span_y: float) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (face position, pixel number) pairs that hold every covered pixel, and few others."""
    left, columns = _pixel_range(mesh.low_x, mesh.high_x, len(xs), span_x)
    top, rows = _pixel_range(mesh.low_y, mesh.high_y, len(ys), span_y)
    visible = (columns > 0) & (rows > 0)
    group = torch.where(visible, 64 * _power_of_two(columns) + _power_of_two(rows), -1)
    for code in torch.unique(group).tolist():
        if code < 0:
            continue
        members = torch.nonzero(group == code)[:, 0]
        box = (1 << code % 64, 1 << code // 64)
        step = max(1, _GROUP_PIXELS // (box[0] * box[1]))
        for part in members.split(step):
            yield _inside_box(mesh, part, left[part], top[part], box, xs, ys)


def _pixel_range(low: Tensor, high: Tensor, count: int, span: float) -> tuple[Tensor, Tensor]:
    """First index and number of pixels whose centres may lie between `low` and `high`, with a margin for rounding."""
    first = torch.floor((span / 2 - high.double()) * (count / span) - 0.5)
    last = torch.ceil((span / 2 - low.double()) * (count / span) - 0.5)
    first, last = first.clamp(0, count), last.clamp(-1, count - 1)
    return first.to(torch.int64), (last - first + 1).to(torch.int64)


def _power_of_two(count: Tensor) -> Tensor:
    return torch.ceil(torch.log2(count.clamp(min=1).double())).to(torch.int64)


def _inside_box(
    mesh: _Faces, part: Tensor, left: Tensor, top: Tensor, box: tuple[int, int], xs: Tensor, ys: Tensor
) -> tuple[Tensor, Tensor]:
    """The pairs of one group of faces, by the signs of the edge functions over a box of (rows, columns) each."""
    row = top[:, None] + torch.arange(box[0], device=xs.device)
    column = left[:, None] + torch.arange(box[1], device=xs.device)
    y = ys[row.clamp(max=len(ys) - 1)][:, :, None]
    x = xs[column.clamp(max=len(xs) - 1)][:, None, :]
    sign = torch.sign(mesh.area[part])[:, None, None]
    found = (row < len(ys))[:, :, None] & (column < len(xs))[:, None, :]
    for a, b in ((1, 2), (2, 0), (0, 1)):
        (ax, ay, _), (bx, by, _) = ([value[part][:, None, None] for value in mesh.corner[c]] for c in (a, b))
        found &= (x - ax) * ((by - ay) * sign) > (y - ay) * ((bx - ax) * sign)
    which, r, c = torch.nonzero(found).unbind(1)
    return part[which], row[which, r] * len(xs) + column[which, c]


def _with_pytorch3d(verts: Tensor, faces: Tensor, height: int, width: int) -> Fragments:
    try:
        from pytorch3d.renderer.mesh import rasterize_meshes  # pyright: ignore
        from pytorch3d.structures import Meshes  # pyright: ignore
    except ImportError as error:
        raise UsageError(
            "The pytorch3d backend needs the pytorch3d package; see requirements_controlnet.txt."
        ) from error
    meshes = Meshes(verts.float(), faces[None].expand(len(verts), -1, -1))
    numbers, zbuf, bary, _ = rasterize_meshes(
        meshes, image_size=(height, width), blur_radius=0.0, faces_per_pixel=1, perspective_correct=False
    )
    first = torch.arange(len(verts), device=verts.device)[:, None, None] * len(faces)
    pix_to_face = numbers[..., 0]  # counted over the whole batch
    return Fragments(torch.where(pix_to_face >= 0, pix_to_face - first, -1), zbuf[..., 0], bary[..., 0, :])
