"""One person, ready to be rendered: shape, colours, hair; all that does not change from moment to moment."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from arc2face_training.people import raster
from arc2face_training.people.assets import PARTS
from arc2face_training.people.columns import N_CODES, RESERVED_SEED
from arc2face_training.people.facial_hair import Surface, beard_field, grow_beard, grow_brows, make_lashes
from arc2face_training.people.genes import Genes, sample_genes
from arc2face_training.people.glasses import Eyewear, make_glasses
from arc2face_training.people.groom import Skull
from arc2face_training.people.hair import density, grow_hair, scalp_field
from arc2face_training.people.hairlight import HairGrid
from arc2face_training.people.head import HeadModel
from arc2face_training.people.landmarks import landmark_vertices
from arc2face_training.people.looks import Look, sample_look
from arc2face_training.people.noise import ramp
from arc2face_training.people.skin import fine_mask, paint

Float32 = NDArray[np.float32]
AO_SIZE = 112


class Shared:
    """What all people of a process share."""

    def __init__(self, head: HeadModel) -> None:
        self.head = head
        self.landmarks = landmark_vertices(head)
        self.surface = Surface(head)
        self.lips, self.ears = fine_mask(head, "lips"), fine_mask(head, "ears")
        self.skin = np.ascontiguousarray(head.triangles[head.parts == 0])
        drawn = ~np.isin(head.parts, [PARTS[f"helper-{s}-eyelashes-{k}"] for s in "lr" for k in (1, 2)])
        self.drawn = np.ascontiguousarray(head.triangles[drawn])
        materials = np.array([0, 1, 2, 3, 3, 4, 0, 0, 0, 0], np.int32)
        self.materials = materials[head.parts[drawn]]
        self.balls = tuple(np.unique(head.triangles[head.parts == k]) for k in (1, 2))
        self.teeth = np.unique(head.triangles[np.isin(head.parts, (3, 4))])
        self.mouth = np.unique(head.triangles[np.isin(head.parts, (3, 4, 5))])
        self.jaw_vertices = np.flatnonzero(head.weights[:, 2] > 0)
        self.head_weight = np.clip(head.weights.sum(1), 0, 1)
        body = np.zeros(len(head.rest), bool)
        body[self.skin] = True
        self.body = body
        self.lids = []
        for ball in self.balls:
            centre = head.rest[ball].mean(0)
            self.lids.append(np.flatnonzero(body & (np.linalg.norm(head.rest - centre, axis=1) < 0.24)))
        self.opening = _opening(head.rest, self.landmarks)
        self._neighbours = _averaging(self.skin, len(head.rest))

    def soften(self, normals: Float32) -> Float32:
        """Normals (W, 3) averaged over neighbours twice: what light that scatters in skin sees."""
        return self._neighbours @ (self._neighbours @ normals)


@functools.cache
def shared(head: HeadModel) -> Shared:
    """Made once per process."""
    return Shared(head)


def _averaging(triangles: NDArray[np.int32], n: int) -> sparse.csr_matrix:
    a, b = triangles[:, [0, 1, 2]].ravel(), triangles[:, [1, 2, 0]].ravel()
    rows, columns = np.concatenate([a, b, np.arange(n)]), np.concatenate([b, a, np.arange(n)])
    near = sparse.coo_matrix((np.ones(len(rows), np.float32), (rows, columns)), shape=(n, n)).tocsr()
    near.data[:] = 1
    return sparse.csr_matrix(sparse.diags((1 / np.asarray(near.sum(1)).ravel()).astype(np.float32)) @ near)


def _opening(fine: Float32, marks: NDArray[np.int64]) -> Float32:
    """(2,) height of the left and right eye."""
    p = fine[marks]
    left = p[[43, 44], 1].mean() - p[[46, 47], 1].mean()
    right = p[[37, 38], 1].mean() - p[[40, 41], 1].mean()
    return np.array([left, right], np.float32)


class Person:
    """One person. `rest` (W, 3): fine vertices; `static` (W, 11) attributes, see raster.Scene.

    `codes` (300,): identity coefficients of the FLAME head. `groups`: strands of the head and of the beard and brows.
    """

    def __init__(self, head: HeadModel, seed: int, genes: Genes | None = None, look: Look | None = None) -> None:
        rng = np.random.default_rng([seed & 0xFFFFFFFF, seed >> 32, 41])
        self.head, self.seed = head, seed
        self.genes = sample_genes(rng, head.assets) if genes is None else genes
        self.look = sample_look(rng, self.genes) if look is None else look
        own = shared(head)
        self.shared = own
        self.rest = head.shaped(self.genes)
        self._set_teeth()
        self.codes = head.codes(self.rest)
        self.flame = head.decoded(self.codes)
        self.balls, self.lid_vertices, self.jaw_vertices = own.balls, own.lids, own.jaw_vertices
        self.head_weight = own.head_weight
        self.eye_radii = tuple(
            float(np.linalg.norm(self.rest[b] - self.rest[b].mean(0), axis=1).mean()) for b in own.balls
        )
        scale = np.clip(_opening(self.rest, own.landmarks) / own.opening, 0.75, 1.7)
        self.lid_dirs = head.lid_dirs * scale[:, None, None]
        self.normals = raster.vertex_normals(self.rest, own.drawn)
        self._colour()
        self._grow(rng)
        self.moles = self._place_moles()
        self.static = self._attributes()

    def _set_teeth(self) -> None:
        """Teeth a little narrower and further in than the assets', so that no shape of the mouth is pierced by them."""
        own = self.shared.teeth
        self.rest[own] = self.rest[own] * np.array([0.88, 1, 1], np.float32) - np.array([0, 0, 0.025], np.float32)

    @property
    def is_training(self) -> bool:
        """True for seeds that training may see."""
        return self.seed % 2 == 0 and self.seed < RESERVED_SEED

    def attributes(self) -> Float32:
        """(n,) float32 description of the person; the first 100 are identity coefficients of the FLAME head."""
        g = self.genes
        more = np.array([*(3 * g.race - 1), 2 * g.male - 1, (g.age - 45) / 20, 2 * g.weight, 2 * g.muscle], np.float32)
        return np.concatenate([np.clip(self.codes[:N_CODES], -5, 5), more, self.look.attributes()]).astype(np.float32)

    def _colour(self) -> None:
        own, look = self.shared, self.look
        self.scalp = scalp_field(self.head.rest, look, own.ears)
        self.scalp[~own.body] = -0.3
        self.beard = beard_field(self.head.rest, look, own.lips, own.ears)
        self.beard[~own.body] = 0
        cover = density(self.scalp) * (0.6 if look.style in ("buzz", "fringe") else 1.0)
        stubble = self.beard * (0.8 if look.beard == "stubble" else 1.0)
        self.albedo, self.lip, self.gloss, self.inside = paint(self.head, look, cover, stubble)

    def _place_moles(self) -> Float32:
        """(8, 4): the moles on the front of the reference head."""
        rest, moles = self.head.rest, self.look.moles.copy()
        front = np.flatnonzero(self.shared.body & (rest[:, 2] > 0.5))
        for mole in moles[moles[:, 3] > 0]:
            near = front[np.argmin(((rest[front, :2] - mole[:2]) ** 2).sum(1))]
            moles[(moles == mole).all(1), :3] = rest[near]
        return moles

    def _grow(self, rng: np.random.Generator) -> None:
        own, look = self.shared, self.look
        skull = Skull(self.rest, own.body & (self.head_weight > 0.9) & (own.ears < 0.3) & (self.head.rest[:, 1] > 6.1))
        hair = grow_hair(rng, look, self.head.rest, self.rest, self.normals, own.skin, self.scalp, skull)
        beard = grow_beard(rng, look, self.rest, self.normals, own.skin, self.beard, skull)
        brows = grow_brows(rng, look, own.surface, self.rest, self.normals)
        self.brows, self.lashes = brows, make_lashes(rng, look, self.head)
        self.hair, self.hair_beard = hair, beard
        self.grid = HairGrid([group for group in (hair, beard) if group is not None], 0.55)
        self.hair_occlusion = self.grid.occlusion()

    @functools.cached_property
    def glasses(self) -> Eyewear | None:
        """The person's own glasses, or None."""
        if self.look.glasses == "none":
            return None
        return self._eyewear(self.look.glasses, 0.011 + 0.012 * (self.look.noise_seed % 7) / 6)

    @functools.cached_property
    def sunglasses(self) -> Eyewear:
        """Sunglasses that anybody may wear in some moments."""
        return self._eyewear("round" if self.look.noise_seed % 3 == 0 else "square", 0.02)

    def _eyewear(self, kind: str, thick: float) -> Eyewear:
        marks = self.rest[self.shared.landmarks]
        eyes = np.stack([self.rest[b].mean(0) for b in self.balls])
        own = self.shared.ears > 0.4
        ears = []
        for side in (1, -1):
            ear = self.rest[own & (self.rest[:, 0] * side > 0)]
            ears.append((side * np.abs(ear[:, 0]).min(), np.quantile(ear[:, 1], 0.85), np.quantile(ear[:, 2], 0.5)))
        return make_glasses(kind, eyes, marks[27], np.array(ears, np.float32), thick)

    def _attributes(self) -> Float32:
        own = self.shared
        hair = self.grid.look_up_smooth(self.hair_occlusion, self.rest + 0.04 * self.normals)
        ao = self._occlusion() * (0.35 + 0.65 * hair)
        # The mouth is closed at rest; what is seen of teeth and tongue is seen when it opens.
        ao[own.mouth] = 0.06 + 0.76 * ramp(1.05, 1.44, self.head.rest[own.mouth, 2])
        ao = np.maximum(ao, 0.30 * np.clip(self.inside, 0, 1))
        zero = np.zeros(len(self.rest), np.float32)
        static = np.concatenate(
            [self.head.rest, self.albedo, np.stack([ao, self.lip, self.gloss, self.inside, zero], 1)], 1
        )
        return np.ascontiguousarray(static, np.float32)

    def _occlusion(self) -> Float32:
        """Share of the sky that every vertex sees, from depth maps of 18 directions."""
        total, seen = np.full(len(self.rest), 1e-3, np.float32), np.full(len(self.rest), 1e-3, np.float32)
        centre, scale = np.array([0, 7.0, 0.3], np.float32), AO_SIZE / 5.2
        for direction in _sphere(18):
            x_axis, y_axis = _axes(direction)
            relative = self.rest - centre
            flat = np.stack([relative @ x_axis, relative @ y_axis, -(relative @ direction)], 1).astype(np.float32)
            flat[:, :2] = flat[:, :2] * scale + AO_SIZE / 2
            _, _, depth = raster.zbuffer(np.ascontiguousarray(flat), self.shared.drawn, AO_SIZE)
            facing = np.clip(self.normals @ direction + 0.05, 0, 1)
            pixel = np.clip(flat[:, :2].astype(int), 0, AO_SIZE - 1)
            near = depth[pixel[:, 1] * AO_SIZE + pixel[:, 0]]
            total += facing
            seen += facing * ramp(0.16, 0.06, flat[:, 2] - near)
        return np.clip(seen / total, 0.02, 1).astype(np.float32)


@functools.cache
def _sphere(n: int) -> tuple[Float32, ...]:
    k = np.arange(n) + 0.5
    y = 1 - 1.72 * k / n  # few from straight below, where there is a trunk
    angle = np.pi * (1 + 5**0.5) * k
    r = np.sqrt(np.maximum(1 - y**2, 0))
    return tuple(np.stack([r * np.cos(angle), y, r * np.sin(angle)], 1).astype(np.float32))


def _axes(direction: Float32) -> tuple[Float32, Float32]:
    up = np.array([0, 1, 0], np.float32) if abs(direction[1]) < 0.95 else np.array([1, 0, 0], np.float32)
    x = np.cross(up, direction)
    x /= np.linalg.norm(x)
    return x.astype(np.float32), np.cross(direction, x).astype(np.float32)
