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

from arc2face_emoca.errors import UsageError

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
    faces = faces.to(verts.device, torch.int64)
    if backend == "pytorch3d":
        result = _with_pytorch3d(many, faces, height, width)
    else:
        parts = [_one_mesh(mesh, faces, height, width) for mesh in many.to(torch.float32)]
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
    corners = faces.to(flat.device, torch.int64)[flat[covered]]
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
    """Per-face numbers of one mesh, each (N,) float32, for the N faces that count; `number` (N,) is their place."""

    def __init__(self, verts: Tensor, faces: Tensor) -> None:
        corners = verts[faces]
        (x0, y0), (x1, y1), (x2, y2) = (corners[:, i, :2].unbind(1) for i in range(3))
        counts = _edge(x0, y0, x1, y1, x2, y2).abs().double() > _EPSILON
        counts &= corners[..., 2].amin(1).double() >= _EPSILON
        counts &= torch.isfinite(corners).flatten(1).all(dim=1)
        self.number = torch.nonzero(counts)[:, 0]
        self.corners = corners[self.number]  # (N, 3, 3)
        self.low, self.high = self.corners.amin(1), self.corners.amax(1)
        (x0, y0), (x1, y1), (x2, y2) = (self.corners[:, i, :2].unbind(1) for i in range(3))
        self.area = (_edge(x2, y2, x0, y0, x1, y1).double() + _EPSILON).float()


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
    for part, left, top, box in _groups(mesh, width, height, span_x, span_y):
        pixel, key = _covered(mesh, part, left, top, box, xs, ys)
        nearest.scatter_reduce_(0, pixel, key, "amin")
    return _fragments(mesh, nearest, len(faces), xs, ys)


def _fragments(mesh: _Faces, nearest: Tensor, count: int, xs: Tensor, ys: Tensor) -> Fragments:
    """Unpack the winners and compute their weights again, by the same arithmetic."""
    height, width = len(ys), len(xs)
    covered = torch.nonzero(nearest != _FAR)[:, 0]
    number = nearest[covered] & 0xFFFFFFFF
    position = torch.zeros(max(count, 1), dtype=torch.int64, device=nearest.device)
    position[mesh.number] = torch.arange(len(mesh.number), device=nearest.device)
    face = position[number]
    x, y = xs[covered % width], ys[torch.div(covered, width, rounding_mode="floor")]
    (x0, y0, z0), (x1, y1, z1), (x2, y2, z2) = mesh.corners.flatten(1).t().index_select(1, face).view(3, 3, -1)
    area = mesh.area[face]
    weights = [_edge(x, y, *corners) / area for corners in ((x1, y1, x2, y2), (x2, y2, x0, y0), (x0, y0, x1, y1))]
    z = weights[0] * z0 + weights[1] * z1 + weights[2] * z2
    pix_to_face = torch.full_like(nearest, -1).index_copy_(0, covered, number)
    zbuf = torch.full((height * width,), -1.0, dtype=torch.float32, device=nearest.device).index_copy_(0, covered, z)
    bary = torch.full((height * width, 3), -1.0, dtype=torch.float32, device=nearest.device)
    bary.index_copy_(0, covered, torch.stack(weights, dim=1))
    return Fragments(pix_to_face.view(height, width), zbuf.view(height, width), bary.view(height, width, 3))


def _groups(
    mesh: _Faces, width: int, height: int, span_x: float, span_y: float
) -> Iterator[tuple[Tensor, Tensor, Tensor, tuple[int, int]]]:
    """Yield faces whose boxes have the same rounded-up size: positions, left and top pixels, (rows, columns)."""
    left, columns = _pixel_range(mesh.low[:, 0], mesh.high[:, 0], width, span_x)
    top, rows = _pixel_range(mesh.low[:, 1], mesh.high[:, 1], height, span_y)
    visible = (columns > 0) & (rows > 0)
    group = torch.where(visible, 64 * _power_of_two(columns) + _power_of_two(rows), -1)
    for code in torch.unique(group).tolist():
        if code < 0:
            continue
        members = torch.nonzero(group == code)[:, 0]
        box = (1 << code % 64, 1 << code // 64)
        for part in members.split(max(1, _GROUP_PIXELS // (box[0] * box[1]))):
            yield part, left[part], top[part], box


def _pixel_range(low: Tensor, high: Tensor, count: int, span: float) -> tuple[Tensor, Tensor]:
    """First index and number of pixels whose centres may lie between `low` and `high`, with a margin for rounding."""
    first = torch.floor((span / 2 - high.double()) * (count / span) - 0.5)
    last = torch.ceil((span / 2 - low.double()) * (count / span) - 0.5)
    first, last = first.clamp(0, count), last.clamp(-1, count - 1)
    return first.to(torch.int64), (last - first + 1).to(torch.int64)


def _power_of_two(count: Tensor) -> Tensor:
    return torch.ceil(torch.log2(count.clamp(min=1).double())).to(torch.int64)


def _covered(
    mesh: _Faces, part: Tensor, left: Tensor, top: Tensor, box: tuple[int, int], xs: Tensor, ys: Tensor
) -> tuple[Tensor, Tensor]:
    """Pixel numbers, and depth and face packed into one integer, of all covered pixels of a group of faces."""
    row = top[:, None] + torch.arange(box[0], device=xs.device)
    column = left[:, None] + torch.arange(box[1], device=xs.device)
    y, x = ys[row.clamp(max=len(ys) - 1)], xs[column.clamp(max=len(xs) - 1)]
    low, high = mesh.low[part], mesh.high[part]
    rows = (row < len(ys)) & (y >= low[:, 1:2]) & (y <= high[:, 1:2])
    columns = (column < len(xs)) & (x >= low[:, :1]) & (x <= high[:, :1])
    corners, area = mesh.corners[part], mesh.area[part]
    sign = torch.sign(area)  # exact, so edges keep their bits and are positive inside
    edges: list[Tensor] = []
    for a, b in ((1, 2), (2, 0), (0, 1)):
        (ax, ay), (bx, by) = corners[:, a, :2, None].unbind(1), corners[:, b, :2, None].unbind(1)
        across, along = (x - ax) * ((by - ay) * sign[:, None]), (y - ay) * ((bx - ax) * sign[:, None])
        edges.append(across[:, None, :] - along[:, :, None])
    inside = torch.minimum(torch.minimum(edges[0], edges[1]), edges[2]) > 0
    inside &= rows[:, :, None] & columns[:, None, :]
    found = torch.nonzero(inside.view(-1))[:, 0]
    face = torch.div(found, box[0] * box[1], rounding_mode="floor")
    pixel = (row[:, :, None] * len(xs) + column[:, None, :]).view(-1)[found]
    size = (area * sign)[face]
    w0, w1, w2 = (edge.view(-1)[found] / size for edge in edges)
    z0, z1, z2 = corners[..., 2].t().index_select(1, face)
    z = w0 * z0 + w1 * z1 + w2 * z2
    counts = (w0 > 0) & (w1 > 0) & (w2 > 0) & (z >= 0)
    depth = (z + 0.0).view(torch.int32).to(torch.int64)  # non-negative floats sort like their bits
    return pixel, torch.where(counts, (depth << 32) | mesh.number[part][face], _FAR)


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
