"""One step of Catmull-Clark subdivision as a sparse matrix."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Int32 = NDArray[np.int32]


@dataclass(frozen=True)
class Subdivision:
    """`matrix` (W, V) sparse float32: cage to fine vertices. `quads` (4 Q, 4) and `parents` (4 Q,) cage quads."""

    matrix: sparse.csr_matrix
    quads: Int32
    parents: Int32

    @property
    def triangles(self) -> Int32:
        """(8 Q, 3): both halves of every fine quad; rows 2k and 2k + 1 belong to fine quad k."""
        q = self.quads
        return np.ascontiguousarray(np.stack([q[:, [0, 1, 2]], q[:, [0, 2, 3]]], 1).reshape(-1, 3), np.int32)


def catmull_clark(quads: Int32, n: int) -> Subdivision:
    """Subdivide `quads` (Q, 4) over `n` vertices. Fine vertices: the n old ones, Q face points, then edge points."""
    count = len(quads)
    pairs = np.sort(np.stack([quads, np.roll(quads, -1, 1)], 2).reshape(-1, 2), 1)
    edges, edge_of = np.unique(pairs, axis=0, return_inverse=True)
    edge_of = edge_of.reshape(count, 4)
    face_points = _matrix(np.repeat(np.arange(count), 4), quads.ravel(), 0.25, (count, n))
    ends = _matrix(np.repeat(np.arange(len(edges)), 2), edges.ravel(), 0.5, (len(edges), n))
    beside = _matrix(edge_of.ravel(), np.repeat(np.arange(count), 4), 1.0, (len(edges), count))
    sides = np.asarray(beside.sum(1)).ravel()
    inner = (sides == 2).astype(float)
    edge_points = sparse.diags(1 - 0.5 * inner) @ ends + sparse.diags(0.25 * inner) @ (beside @ face_points)
    vertex_points = _vertex_points(quads, n, edges, inner, face_points, ends)
    corner = np.stack([quads, n + count + edge_of, np.tile(n + np.arange(count)[:, None], (1, 4)),
                       n + count + np.roll(edge_of, 1, 1)], 2)  # fmt: skip
    matrix = sparse.csr_matrix(sparse.vstack([vertex_points, face_points, edge_points]), dtype=np.float32)
    return Subdivision(matrix, corner.reshape(-1, 4).astype(np.int32), np.repeat(np.arange(count, dtype=np.int32), 4))


def _vertex_points(
    quads: Int32,
    n: int,
    edges: NDArray[np.integer],
    inner: NDArray[np.float64],
    face_points: sparse.csr_matrix,
    ends: sparse.csr_matrix,
) -> sparse.csr_matrix:
    count, m = len(quads), len(edges)
    in_face = _matrix(quads.ravel(), np.repeat(np.arange(count), 4), 1.0, (n, count))
    in_edge = _matrix(edges.ravel(), np.repeat(np.arange(m), 2), 1.0, (n, m))
    on_rim = _matrix(edges.ravel(), np.repeat(np.arange(m), 2), np.repeat(1 - inner, 2), (n, m))
    rim_edges = np.asarray(on_rim.sum(1)).ravel()
    valence = np.maximum(np.asarray(in_face.sum(1)).ravel(), 1)
    edge_valence = np.maximum(np.asarray(in_edge.sum(1)).ravel(), 1)
    smooth = (rim_edges == 0).astype(float)
    alone = (np.asarray(in_edge.sum(1)).ravel() == 0).astype(float)
    keep = smooth * (valence - 3) / valence + 0.5 * (1 - smooth)
    inside = sparse.diags(smooth / valence**2) @ (in_face @ face_points)
    inside = inside + sparse.diags(2 * smooth / valence / edge_valence) @ (in_edge @ ends)
    rim = sparse.diags(0.5 * (1 - smooth) / np.maximum(rim_edges, 1)) @ (on_rim @ ends)
    points = sparse.diags(np.where(alone > 0, 1.0, keep)) + sparse.diags(1 - alone) @ inside + rim
    return sparse.csr_matrix(points)


def _matrix(
    rows: NDArray[np.integer], columns: NDArray[np.integer], values: float | NDArray[np.float64], shape: tuple[int, int]
) -> sparse.csr_matrix:
    data = np.full(len(rows), values) if np.isscalar(values) else np.asarray(values)
    out = sparse.coo_matrix((data, (rows, columns)), shape=shape).tocsr()
    out.eliminate_zeros()
    return out
